"""A worker answers from the device that was asked for, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.contracts import Backend, Device, Target
from harness.errors import WorkerError
from harness.selftest import toys
from harness.selftest.figures import DEVICE_TRIALS
from harness.selftest.part import Figure, Given, Part
from harness.workers.process import Worker

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
"""(asked for, what the runtime says)"""
TIMEOUT_S = 60.0

Trial = tuple[Backend, Path, Device]


def run(given: Given) -> Iterator[Figure]:
    """Half of the liars are toys, the other half ONNX Runtime asked for a CUDA device that it cannot see."""
    graph = given.scratch / toys.REAL
    _identity(graph)
    half = DEVICE_TRIALS // 2
    claims = [(Path(said), asked) for asked, said in (CLAIMS * half)[:half]]
    real = toys.toy("onnxruntime", toys.onnx_on)
    lies: list[Trial] = [(toys.toy("liar", toys.lying), said, asked) for said, asked in claims]
    lies += [(real, graph, "cuda")] * (DEVICE_TRIALS - half)
    with _no_cuda():
        refused = [told for told in map(_refusal, lies) if told and "the runtime runs on" in told]
        yield Figure(label="wrong device refused", k=len(refused), n=len(lies), at_least=len(lies), note=refused[-1])
        truths: list[Trial] = [(toys.toy("truthful", toys.truthful), Path("any"), "cpu")] * half
        truths += [(real, graph, "cpu")] * (DEVICE_TRIALS - half)
        yield _accepted("right device accepted", truths, control=False)
        believed: list[Trial] = [(toys.toy("believing", toys.believing), path, asked) for _, path, asked in lies]
        yield _accepted("device copied from the request: wrong one accepted", believed, control=True)


def _accepted(label: str, trials: Sequence[Trial], *, control: bool) -> Figure:
    told = [_refusal(trial) for trial in trials]
    first = next((text for text in told if text), "")
    return Figure(label=label, k=told.count(None), n=len(trials), at_least=len(trials), control=control, note=first)


def _refusal(trial: Trial) -> str | None:
    """What a worker was refused for, if it was."""
    backend, artifact, device = trial
    try:
        with Worker(backend, artifact, Target(device, 1), TIMEOUT_S):
            return None
    except WorkerError as error:
        return str(error).splitlines()[0]


@contextmanager
def _no_cuda() -> Iterator[None]:
    """Workers inherit it, so that asking for CUDA is a lie on every machine."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _identity(folder: Path) -> None:
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["logits"])], "identity", values[:1], values[1:])
    folder.mkdir()
    save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")


PART = Part(
    name="device-truth",
    claim=f"a worker whose runtime is elsewhere than asked is refused, {DEVICE_TRIALS} of {DEVICE_TRIALS}",
    run=run,
)
