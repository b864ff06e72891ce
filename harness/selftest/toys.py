"""Toy backends of the self-test. Workers find them by this file's path; numpy alone is imported with it.

What a toy is told, it reads in the name of its artifact, a path that need not exist.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.contracts import Arrays, Backend, Session, Target

PID = "pid"
"""File in which a mortal toy leaves the number of its process."""
REAL = "real"
"""The artifact name that stands for ONNX Runtime itself, asked with a graph that lies beside."""


def product(size: int, loops: int = 1) -> Callable[[Arrays], Arrays]:
    """Some work on all threads: `loops` products of two square float32 matrices."""
    weights = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)

    def run(arrays: Arrays) -> Arrays:
        for _ in range(loops):
            found = weights @ weights
        return {"logits": found[:1, :4] + arrays["x"]}

    return run


def truthful(artifact: Path, target: Target) -> Session:
    """Runs on the CPU and says so."""
    return Session(run=lambda arrays: {"logits": arrays["x"]}, device="cpu", settings={"numpy": np.__version__})


def lying(artifact: Path, target: Target) -> Session:
    """Says that it runs where its artifact's name says."""
    return truthful(artifact, target)._replace(device=artifact.name)


def onnx_on(artifact: Path, target: Target) -> Session:
    """The project's own ONNX Runtime backend."""
    from harness.backends.onnxruntime import load

    return load(artifact, target)


def believing(artifact: Path, target: Target) -> Session:
    """The safety switched off: whatever the runtime says, the device of the request is copied."""
    found = onnx_on(artifact, target) if (artifact / "model.onnx").exists() else lying(artifact, target)
    return found._replace(device=target.device)


def working(artifact: Path, target: Target) -> Session:
    """Works for as long as a matrix product takes whose size is the artifact's name."""
    return Session(run=product(int(artifact.name)), device="cpu", settings={"numpy": np.__version__})


def multiplying(artifact: Path, target: Target) -> Session:
    """The same work in torch, whose idle OpenMP threads sleep or spin as the target says."""
    import torch

    torch.set_num_threads(target.threads)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(int(artifact.name),) * 2).astype(np.float32))

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            found = weights @ weights
        return {"logits": found[:1, :4].numpy() + arrays["x"]}

    return Session(run=run, device="cpu", settings={"torch": torch.__version__})


def sleeping(artifact: Path, target: Target) -> Session:
    """Takes as many milliseconds a call as its artifact's name says, and no processor."""

    def run(arrays: Arrays) -> Arrays:
        time.sleep(int(artifact.name) / 1e3)
        return {"logits": arrays["x"]}

    return Session(run=run, device="cpu", settings={})


def mortal(artifact: Path, target: Target) -> Session:
    """Like `sleeping`, and leaves its process number in its artifact's folder."""
    (artifact / "pid.new").write_text(str(os.getpid()))
    (artifact / "pid.new").rename(artifact / PID)
    return sleeping(artifact, target)


def toy(name: str, load: Callable[[Path, Target], Session]) -> Backend:
    """A backend of this name, for the CPU and whatever else it claims."""
    return Backend(name=name, load=load)
