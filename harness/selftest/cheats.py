"""Workers on the wrong device, and workers that do not do their work, are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np

from harness.contracts.backend import CONTROL, REFERENCE, Backend, Device, Target
from harness.contracts.kind import Arrays
from harness.data.inputs import split_rows
from harness.errors import WorkerError
from harness.evaluation.answers import check_timed
from harness.evaluation.predictions import Evaluation
from harness.evaluation.probes import PAIRS, check_memoization
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.selftest import figures, toys
from harness.selftest.figures import WORKER_TIMEOUT_S, Figure, Workspace, count, part

Trial = tuple[toys.Load, Path, Device]
FALSE_REPORTS: dict[Device, Sequence[str]] = {
    "cuda": ("cpu", "CUDA", "cuda:0", "mps", "gpu"),
    "cpu": ("cuda", "CPU", "cpu:0", "meta", "CPUExecutionProvider"),
}
"""Device requested → devices reported."""
CHEATING = {"early return": toys.early, "cached answer": toys.cached, "stale output": toys.stale}
HONEST = dict.fromkeys((REFERENCE, CONTROL, "honest"), toys.honest)
LAUNCHES = 2
ROWS = 4 * PAIRS
"""Enough rows of one shape for the probe."""
TOO_FEW = 4
"""Rows with which the probe reports that it could not check."""


@part("device-truth", "a worker on another device than requested is refused, 20 of 20")
def device_truth(workspace: Workspace) -> Iterator[Figure]:
    """Launch workers that lie: toys, and ONNX Runtime asked for a CUDA device that is hidden from it."""
    graph = workspace.scratch / "real"
    _save_identity(graph)
    half = figures.DEVICE_TRIALS // 2
    lies: list[Trial] = [(toys.lying, Path(name), device) for device, names in FALSE_REPORTS.items() for name in names]
    lies += [(toys.onnxruntime, graph, "cuda")] * half
    truths: list[Trial] = [(toys.truthful, Path("any"), "cpu")] * half
    truths += [(toys.onnxruntime, graph, "cpu")] * half
    believed: list[Trial] = [(toys.believing, path, device) for _, path, device in lies]
    with patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": ""}):  # also on a machine that has some
        reasons = [_refusal(*trial) for trial in lies]
        yield count("wrong device refused", ("the runtime runs on" in r for r in reasons), note=reasons[-1])
        yield _accepted("right device accepted", [_refusal(*trial) for trial in truths])
        label = "device copied from the request: wrong one accepted"
        yield _accepted(label, [_refusal(*trial) for trial in believed], control=True)


def _accepted(label: str, reasons: Sequence[str], *, control: bool = False) -> Figure:
    return count(label, (not r for r in reasons), control=control, note=next(filter(None, reasons), ""))


def _refusal(load: toys.Load, artifact: Path, device: Device) -> str:
    """Launch a worker; return why it was refused, or an empty string."""
    try:
        with Worker(Backend(name=load.__name__, load=load), artifact, Target(device, 1), WORKER_TIMEOUT_S):
            return ""
    except WorkerError as error:
        return str(error).splitlines()[0]


def _save_identity(folder: Path) -> None:
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["logits"])], "identity", values[:1], values[1:])
    folder.mkdir()
    save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")


@part("cheats", "an early return, a cached answer and a stale output are refused, 3 of 3")
def cheats(workspace: Workspace) -> Iterator[Figure]:
    """Measure all cheats beside an honest arm, then again with every check off."""
    refused, _ = _measure(workspace, ROWS, checked=True)
    note = "; ".join(f"{name}: {' '.join(reason.split())}" for name, reason in refused.items())
    yield count("cheating arms refused", (name in refused for name in CHEATING), note=note)
    yield count("honest arms accepted", (name not in refused for name in HONEST if name != REFERENCE))
    refused, unchecked = _measure(workspace, TOO_FEW, checked=False)
    label = "answers unchecked, batches too few to probe: cheating arms accepted"
    yield count(label, (name not in refused for name in CHEATING), control=True, note="; ".join(unchecked))


def _measure(workspace: Workspace, rows: int, *, checked: bool) -> tuple[dict[str, str], list[str]]:
    """Return the reason of every refusal, when probed and in rounds, and notes on what could not be probed."""
    answers = split_rows(toys.answer(_arrays(list(range(ROWS)))), [1] * ROWS)
    right = Evaluation(single=answers, padded=[], predictions=[], score=None, other_scores={})

    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        if checked:
            check_timed(name, right, rows, outputs)

    arms = [
        Arm(name, Backend(name=name.replace(" ", "-"), load=load), Path("any"))
        for name, load in (HONEST | CHEATING).items()
    ]
    refused, unchecked = {}, []
    for arm in arms:
        try:
            unchecked.append(_probe(arm, rows))
        except WorkerError as error:
            refused[arm.name] = str(error)
    load = WorkloadInputs(1, 0, lambda number: [number % rows], _arrays)
    looks = (LAUNCHES * figures.CHEAT_ROUNDS,)
    settings = Settings(Target("cpu", 1), launches=LAUNCHES, looks=looks, timeout_s=WORKER_TIMEOUT_S)
    measurement = measure(arms, [load], settings, check, lambda samples: False, workspace.progress)
    refused |= {name: str(error) for name, error in measurement.failed.items()}
    return refused, list(dict.fromkeys(filter(None, unchecked)))


def _probe(arm: Arm, rows: int) -> str:
    """Probe a worker for remembered answers; return why that was impossible, or an empty string."""
    with Worker(arm.backend, arm.artifact, Target("cpu", 1), WORKER_TIMEOUT_S, arm.name) as worker:

        def time_ns(row: int) -> int:
            worker.put(_arrays([row]))
            return worker.run().elapsed_ns

        return check_memoization(arm.name, [()] * rows, time_ns)


def _arrays(rows: list[int]) -> Arrays:
    return {"x": np.array(rows, dtype=np.float32)[:, None] + 1}
