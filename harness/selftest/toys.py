"""Toy backends, and real ones changed on purpose. Workers find them by this file's path.

Only numpy is imported at module level. A toy reads its parameter from the name of its artifact, a path that need not
exist. `python -m harness.selftest.toys SIZE` runs a toy in a plain process, which overhead is measured against.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from time import perf_counter_ns
from typing import Any

import numpy as np

from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays

PID = "pid"
"""File in which a mortal toy leaves its process id."""
INPUT: Arrays = {"x": np.ones((1, 4), dtype=np.float32)}


def truthful(artifact: Path, target: Target) -> Session:
    """Run on the CPU and report it."""
    return _session(lambda arrays: {"logits": arrays["x"]})


def lying(artifact: Path, target: Target) -> Session:
    """Report the artifact's name as the device."""
    return truthful(artifact, target)._replace(device=artifact.name)


def onnxruntime(artifact: Path, target: Target) -> Session:
    """Run the project's own ONNX Runtime backend."""
    from harness.backends.onnxruntime import load

    return load(artifact, target)


def believing(artifact: Path, target: Target) -> Session:
    """Switch the safety off: report the requested device, whatever the runtime says."""
    session = onnxruntime(artifact, target) if (artifact / "model.onnx").exists() else lying(artifact, target)
    return session._replace(device=target.device)


def working(artifact: Path, target: Target) -> Session:
    """Multiply two matrices whose size is the artifact's name."""
    return _session(_product(int(artifact.name)))


def multiplying(artifact: Path, target: Target) -> Session:
    """Do the same in torch, whose idle OpenMP threads sleep or spin as the target asks."""
    import torch

    torch.set_num_threads(target.threads)
    weights = torch.from_numpy(_weights(int(artifact.name)))

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            product = weights @ weights
        return {"logits": product[:1, :4].numpy() + arrays["x"]}

    return _session(run)


def sleeping(artifact: Path, target: Target) -> Session:
    """Sleep for as many milliseconds a call as the artifact's name says."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(int(artifact.name) / 1e3)
        return {"logits": arrays["x"]}

    return _session(run)


def mortal(artifact: Path, target: Target) -> Session:
    """Sleep likewise, and leave the process id in the artifact's folder."""
    (artifact / "pid.new").write_text(str(os.getpid()))
    (artifact / "pid.new").rename(artifact / PID)
    return sleeping(artifact, target)


def _session(run: Callable[[Arrays], Arrays]) -> Session:
    return Session(run=run, device="cpu", settings={})


def _weights(size: int) -> Any:
    return np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)


def _product(size: int) -> Callable[[Arrays], Arrays]:
    weights = _weights(size)
    return lambda arrays: {"logits": (weights @ weights)[:1, :4] + arrays["x"]}


WORK_S, CHEAT_S = 0.01, 0.002
"""Duration of an honest call and of a cheating one."""


def answer(arrays: Arrays) -> Arrays:
    """Return the right answer."""
    return {"logits": np.concatenate([arrays["x"], -arrays["x"]], axis=1)}


def honest(artifact: Path, target: Target) -> Session:
    """Take as long as the work takes."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(WORK_S)
        return answer(arrays)

    return _session(run)


def early(artifact: Path, target: Target) -> Session:
    """Return before the work is done, as a queued call does; the answer arrives a little later."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(CHEAT_S)
        outputs = {name: np.zeros_like(values) for name, values in answer(arrays).items()}

        def finish() -> None:
            time.sleep(WORK_S)
            outputs["logits"][...] = answer(arrays)["logits"]

        Thread(target=finish, daemon=True).start()
        return outputs

    return _session(run)


def cached(artifact: Path, target: Target) -> Session:
    """Remember every answer."""
    answers: dict[bytes, Arrays] = {}

    def run(arrays: Arrays) -> Arrays:
        key = arrays["x"].tobytes()
        time.sleep(CHEAT_S if key in answers else WORK_S)
        return answers.setdefault(key, answer(arrays))

    return _session(run)


def stale(artifact: Path, target: Target) -> Session:
    """Return the first answer to every later batch."""
    first: list[Arrays] = []

    def run(arrays: Arrays) -> Arrays:
        time.sleep(CHEAT_S if first else WORK_S)
        first.append(answer(arrays))
        return first[0]

    return _session(run)


REPEATED = (
    "encoder.layer.1.intermediate.dense",
    *(f"encoder.layer.4.attention.self.{name}" for name in ("query", "key", "value")),
)
"""MiniLM layers whose products are computed twice: 4 + 3 of 72 equal parts. Products are half of a call's time, so this
is about 5 % more work."""


def repeating(artifact: Path, target: Target) -> Session:
    """Run the reference backend, which computes some layers' products a second time and drops them."""
    import torch

    from harness import checkpoint

    def repeat(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        torch.nn.functional.linear(inputs[0], layer.weight, layer.bias)

    torch.set_num_threads(target.threads)
    model: Any = checkpoint.load(artifact).to(target.device)
    for name in REPEATED:
        model.base_model.get_submodule(name).register_forward_hook(repeat)
    device = next(model.parameters()).device.type
    return Session(run=checkpoint.answering(model, target.device), device=device, settings={})


def doubling(artifact: Path, target: Target) -> Session:
    """Make every call of the ONNX Runtime backend twice."""
    session = onnxruntime(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        session.run(arrays)
        return session.run(arrays)

    return session._replace(run=run)


VARIANT = "variant.json"
"""File beside a graph that names the disturbance or the options."""
SHORTER = 64
"""Tokens that the wrong truncation keeps."""
FIRST_WORD = 1_000
"""First vocabulary entry of every BERT that is neither a special token, a character nor unused."""


def lost_mask(arrays: Arrays) -> Arrays:
    """Attend to padding."""
    return arrays | {"attention_mask": np.ones_like(arrays["attention_mask"])}


def wrong_token_types(arrays: Arrays) -> Arrays:
    """Assign every token to the second text."""
    return arrays | {"token_type_ids": np.ones_like(arrays["token_type_ids"])}


def padded_left(arrays: Arrays) -> Arrays:
    """Move padding, and its mask, in front of the text."""
    lengths = arrays["attention_mask"].sum(axis=1)
    width = arrays["attention_mask"].shape[1]
    return {
        name: np.stack([np.roll(row, width - length) for row, length in zip(values, lengths, strict=True)])
        for name, values in arrays.items()
    }


def cut_shorter(arrays: Arrays) -> Arrays:
    """Truncate texts more than in training."""
    return {name: np.ascontiguousarray(values[:, :SHORTER]) for name, values in arrays.items()}


def other_vocabulary(arrays: Arrays) -> Arrays:
    """Shift word ids by one, as an extra line in the vocabulary does."""
    ids = arrays["input_ids"]
    return arrays | {"input_ids": np.where(ids >= FIRST_WORD, ids + 1, ids)}


DISTURBANCES: dict[str, Callable[[Arrays], Arrays]] = {
    function.__name__: function
    for function in (lost_mask, wrong_token_types, padded_left, cut_shorter, other_vocabulary)
}


def disturbed(artifact: Path, target: Target) -> Session:
    """Run the ONNX Runtime backend on disturbed inputs."""
    session = onnxruntime(artifact, target)
    disturb = DISTURBANCES[json.loads((artifact / VARIANT).read_text())["disturbance"]]
    return session._replace(run=lambda arrays: session.run(disturb(arrays)))


def with_options(artifact: Path, target: Target) -> Session:
    """Run ONNX Runtime with options that differ from the project's."""
    import onnxruntime as ort

    wanted: dict[str, Any] = json.loads((artifact / VARIANT).read_text())
    options = ort.SessionOptions()
    options.intra_op_num_threads = wanted.get("threads", target.threads)
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, wanted.get("level", "ORT_ENABLE_ALL"))
    if wanted.get("parallel"):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_mem_pattern = wanted.get("pattern", True)
    options.enable_cpu_mem_arena = wanted.get("arena", True)
    for name, value in wanted.get("entries", {}).items():
        options.add_session_config_entry(name, value)
    session = ort.InferenceSession(str(artifact / "model.onnx"), options, providers=["CPUExecutionProvider"])
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]
    return _session(
        lambda arrays: dict(zip(outputs, session.run(outputs, {name: arrays[name] for name in inputs}), strict=True))
    )


DISTURBED = Backend(name="disturbed", load=disturbed)
OPTIONS = Backend(name="options", load=with_options)


def main(size: int) -> None:
    """Answer a line to wake up, as a worker does when it gets its batch, and the next with the ns of one call."""
    run = _product(size)
    for _ in sys.stdin:
        print(flush=True)  # standard output is its pipe
        sys.stdin.readline()
        began = perf_counter_ns()
        run(INPUT)
        print(perf_counter_ns() - began, flush=True)  # standard output is its pipe


if __name__ == "__main__":
    main(int(sys.argv[1]))
