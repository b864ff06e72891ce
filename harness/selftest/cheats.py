"""Workers on the wrong device, and workers that do not do their work, are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from harness.contracts.backend import CONTROL, REFERENCE, Backend, Device, Target
from harness.contracts.kind import Arrays
from harness.data.inputs import split_rows
from harness.errors import WorkerError
from harness.evaluation.parity import check_timed
from harness.evaluation.predictions import Scored
from harness.measure.checks import PAIRS
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.selftest import figures, toys
from harness.selftest.figures import DEVICE_TRIALS, WORKER_TIMEOUT_S
from harness.selftest.part import Figure, Workspace, every, part

CLAIMS: tuple[tuple[Device, str], ...] = (
    ("cuda", "cpu"),
    ("cuda", "CUDA"),
    ("cuda", "cuda:0"),
    ("cuda", "mps"),
    ("cuda", "gpu"),
    ("cpu", "cuda"),
    ("cpu", "CPU"),
    ("cpu", "cpu:0"),
    ("cpu", "meta"),
    ("cpu", "CPUExecutionProvider"),
)
"""Device requested, device reported."""
Trial = tuple[Backend, Path, Device]
HONEST = {REFERENCE: toys.honest, CONTROL: toys.honest, "honest": toys.honest}
CHEATING = {"early return": toys.early, "cached answer": toys.cached, "stale output": toys.stale}
LAUNCHES = 2
ROWS = 4 * PAIRS
"""Enough rows of one shape for the probe."""
TOO_FEW = 4
"""Rows with which the probe reports that it could not check."""


@part("device-truth", f"a worker on another device than requested is refused, {DEVICE_TRIALS} of {DEVICE_TRIALS}")
def device_truth(workspace: Workspace) -> Iterator[Figure]:
    """Half of the liars are toys; the other half is ONNX Runtime, asked for a CUDA device that is hidden from it."""
    graph = workspace.scratch / "real"
    _save_identity(graph)
    half = DEVICE_TRIALS // 2
    liar, truthful, believing, real = (
        Backend(name=load.__name__, load=load) for load in (toys.lying, toys.truthful, toys.believing, toys.onnxruntime)
    )
    lies: list[Trial] = [(liar, Path(reported), requested) for requested, reported in (CLAIMS * half)[:half]]
    lies += [(real, graph, "cuda")] * (DEVICE_TRIALS - half)
    truths: list[Trial] = [(truthful, Path("any"), "cpu")] * half
    truths += [(real, graph, "cpu")] * (DEVICE_TRIALS - half)
    with _hidden_cuda():
        reasons = _refusals(lies)
        refused = ("the runtime runs on" in reason for reason in reasons)
        yield every("wrong device refused", refused, note=next(filter(None, reversed(reasons)), ""))
        reasons = _refusals(truths)
        accepted = (not reason for reason in reasons)
        yield every("right device accepted", accepted, note=next(filter(None, reasons), ""))
        reasons = _refusals([(believing, artifact, device) for _, artifact, device in lies])
        label = "device copied from the request: wrong one accepted"
        accepted = (not reason for reason in reasons)
        yield every(label, accepted, control=True, note=next(filter(None, reasons), ""))


def _refusals(trials: Sequence[Trial]) -> list[str]:
    """Launch each worker; return why it was refused, or an empty string."""
    reasons = []
    for backend, artifact, device in trials:
        try:
            with Worker(backend, artifact, Target(device, 1), WORKER_TIMEOUT_S):
                reasons.append("")
        except WorkerError as error:
            reasons.append(str(error).splitlines()[0])
    return reasons


@contextmanager
def _hidden_cuda() -> Iterator[None]:
    """Hide CUDA devices from workers, so that none is there on any machine."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


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
    yield every("cheating arms refused", (name in refused for name in CHEATING), note=note)
    yield every("honest arms accepted", (name not in refused for name in HONEST if name != REFERENCE))
    refused, unprobed = _measure(workspace, TOO_FEW, checked=False)
    label = "answers unchecked, batches too few to probe: cheating arms accepted"
    accepted = (name not in refused for name in CHEATING)
    yield every(label, accepted, control=True, note="; ".join(unprobed))


def _measure(workspace: Workspace, rows: int, *, checked: bool) -> tuple[dict[str, str], list[str]]:
    """Return the reason of every refusal, and notes on what could not be probed."""
    right = toys.answer(_arrays(list(range(ROWS))))
    scored = Scored(single=split_rows(right, [1] * ROWS), padded=[], predictions=[], score=None, others={})

    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        if checked:
            check_timed(name, scored, rows, outputs)

    measurement = measure(
        [
            Arm(name, Backend(name=name.replace(" ", "-"), load=load), Path("any"))
            for name, load in (HONEST | CHEATING).items()
        ],
        [WorkloadInputs(1, 0, lambda number: [number % rows], _arrays)],
        Settings(
            Target("cpu", 1), launches=LAUNCHES, looks=(LAUNCHES * figures.CHEAT_ROUNDS,), timeout_s=WORKER_TIMEOUT_S
        ),
        check,
        lambda samples: False,
        workspace.progress,
    )
    return {name: str(error) for name, error in measurement.failed.items()}, measurement.unprobed


def _arrays(rows: list[int]) -> Arrays:
    return {"x": np.array(rows, dtype=np.float32)[:, None] + 1}
