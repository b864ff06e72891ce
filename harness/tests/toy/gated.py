"""A suite whose reference takes its time, so that verdicts are the same on any machine."""

import time
from pathlib import Path

import numpy as np
import pytest
from own import NUMPY
from toydata import TASK

from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays
from harness.contracts.sources import Native
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, cases

SLOW = Model(
    name="slow",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=64,
)
MODELS = {SLOW: Gate(min_score=0.9, max_drop=0.1, min_speedup=1.5)}


def load_slow(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        time.sleep(0.004)
        return session.run(arrays)

    return session._replace(run=run)


def load_quick(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        time.sleep(0.001)
        return session.run(arrays)

    return session._replace(run=run)


def load_biased(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        time.sleep(0.001)
        return {"logits": session.run(arrays)["logits"] + np.float32([100, 0, 0])}

    return session._replace(run=run)


# No worker of this suite needs seconds to import torch.
object.__setattr__(PYTORCH, "load", load_slow)
QUICK = Backend(name="quick", load=load_quick, devices=("cpu",))
BIASED = Backend(name="biased", load=load_biased, lossy=True, devices=("cpu",))


@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, QUICK, BIASED]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
