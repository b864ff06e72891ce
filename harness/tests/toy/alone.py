"""A suite with its backend in its own file, and its native model in a folder beside it."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.contracts.sources import Native, Package
from harness.kinds import text_classification
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases


def sentences(file: Path) -> Iterator[dict[str, str]]:
    with file.open(newline="") as lines:
        yield from csv.DictReader(lines)


def build(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    from safetensors.numpy import load_file

    np.savez(out / "weights.npz", **load_file(source / "model.safetensors"))
    return {"form": "npz"}


def session(weights: Arrays, target: Target) -> Session:
    def run(arrays: Arrays) -> Arrays:
        mask = arrays["attention_mask"].astype(np.float32)[:, :, None]
        mean = (weights["embedding.weight"][arrays["input_ids"]] * mask).sum(axis=1) / mask.sum(axis=1)
        return {"logits": mean @ weights["classifier.weight"].T + weights["classifier.bias"]}

    return Session(run=run, device=target.device, settings={"numpy": np.__version__})


def load(artifact: Path, target: Target) -> Session:
    return session(dict(np.load(artifact / "weights.npz")), target)


def load_reference(artifact: Path, target: Target) -> Session:
    from safetensors.numpy import load_file

    return session(load_file(artifact / "model.safetensors"), target)


TASK = Task(
    name="alone",
    kind=text_classification,
    dataset=Package(
        "toydata",
        "toydata/rows.csv",
        sha256="95dc680d17a3fa1de55365d1e91f21085a1005366212c5bb02508005c6c93043",
        read=sentences,
    ),
    inputs=("text",),
    label="topic",
    metric="f1-macro",
    test=48,
    validation=24,
    calibration=12,
)
BAG = Model(
    name="bag",
    source=Native("models/bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
)
object.__setattr__(PYTORCH, "load", load_reference)  # no worker of this suite needs seconds to import torch
NPZ = Backend(name="npz", build=build, load=load, devices=("cpu",))


@pytest.mark.parametrize("case", cases(TASK, {BAG: Gate(min_score=0.9, max_drop=0.1)}, [PYTORCH, NPZ]), ids=str)
def test_alone(case: Case, bench: Bench) -> None:
    bench(case)
