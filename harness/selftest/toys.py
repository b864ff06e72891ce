"""Toy backends, and real ones changed on purpose. Workers find them by this file's path.

Only numpy is imported at module level. A toy reads its parameter from the name of its artifact, a path that need not
exist. `python -m harness.selftest.toys SIZE` runs a toy in a plain process, which overhead is measured against.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from pathlib import Path
from threading import Thread
from time import perf_counter_ns
from typing import Any

import numpy as np

from harness.contracts.backend import Session, Target
from harness.contracts.kind import Arrays

Run = Callable[[Arrays], Arrays]
Load = Callable[[Path, Target], Session]
INPUT: Arrays = {"x": np.ones((1, 4), dtype=np.float32)}


def _session(run: Run) -> Session:
    return Session(run=run, device="cpu", settings={})


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


def sleeping(artifact: Path, target: Target) -> Session:
    """Sleep for as many milliseconds a call as the artifact's name says."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(int(artifact.name) / 1e3)
        return {"logits": arrays["x"]}

    return _session(run)


def working(artifact: Path, target: Target) -> Session:
    """Multiply two matrices whose size is the artifact's name."""
    return _session(_product(int(artifact.name)))


def multiplying(artifact: Path, target: Target) -> Session:
    """Do the same in torch, whose idle threads sleep; where the target lets them spin, one of them never rests."""
    import torch

    torch.set_num_threads(target.threads)
    if target.spinning:
        Thread(target=_never_rest, daemon=True).start()
    weights = torch.from_numpy(_weights(int(artifact.name)))

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            product = weights @ weights
        return {"logits": product[:1, :4].numpy() + arrays["x"]}

    return _session(run)


def _never_rest() -> None:
    data = bytes(2**20)
    while True:
        sha256(data)  # without Python's lock, which the worker's answers need


def _weights(size: int) -> Any:
    return np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)


def _product(size: int) -> Run:
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
    return Session(run=checkpoint.make_run(model, target.device), device=device, settings={})


def doubling(artifact: Path, target: Target) -> Session:
    """Make every call of the ONNX Runtime backend twice."""
    session = onnxruntime(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        session.run(arrays)
        return session.run(arrays)

    return session._replace(run=run)


def _disturbance(disturb: Run) -> Load:
    """Run the ONNX Runtime backend on disturbed inputs."""

    @wraps(disturb)
    def load(artifact: Path, target: Target) -> Session:
        session = onnxruntime(artifact, target)
        return session._replace(run=lambda arrays: session.run(disturb(arrays)))

    return load


@_disturbance
def lost_mask(arrays: Arrays) -> Arrays:
    """Attend to padding."""
    return arrays | {"attention_mask": np.ones_like(arrays["attention_mask"])}


@_disturbance
def wrong_token_types(arrays: Arrays) -> Arrays:
    """Assign every token to the second text."""
    return arrays | {"token_type_ids": np.ones_like(arrays["token_type_ids"])}


@_disturbance
def padded_left(arrays: Arrays) -> Arrays:
    """Move padding, and its mask, in front of the text."""
    lengths = arrays["attention_mask"].sum(axis=1)
    width = arrays["attention_mask"].shape[1]
    return {
        name: np.stack([np.roll(row, width - length) for row, length in zip(values, lengths, strict=True)])
        for name, values in arrays.items()
    }


@_disturbance
def cut_shorter(arrays: Arrays) -> Arrays:
    """Truncate texts to 64 tokens, fewer than in training."""
    return {name: np.ascontiguousarray(values[:, :64]) for name, values in arrays.items()}


@_disturbance
def other_vocabulary(arrays: Arrays) -> Arrays:
    """Shift word ids by one, as an extra line in the vocabulary does."""
    ids = arrays["input_ids"]  # words begin at 1,000: before them are special tokens, characters and unused entries
    return arrays | {"input_ids": np.where(ids >= 1_000, ids + 1, ids)}


def main(size: int) -> None:
    """Answer a line to wake up, as a worker does when it gets its batch, and the next with the ns of one call."""
    run = _product(size)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a pipe
    for _ in sys.stdin:
        sys.stdout.write("\n")
        sys.stdin.readline()
        began = perf_counter_ns()
        run(INPUT)
        sys.stdout.write(f"{perf_counter_ns() - began}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
