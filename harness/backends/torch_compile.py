"""PyTorch compiled: `torch.compile(dynamic=True)` over the checkpoint's model. The checkpoint is its artifact."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from harness import checkpoint
from harness.backends.pytorch import set_common
from harness.contracts.backend import Backend, Device, Session, Target
from harness.contracts.kind import Arrays
from harness.errors import Unsupported


def compiler() -> str | None:
    """Path of the C++ compiler that kernels are made with: CXX where it is set, else g++ or clang++; None without."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if sys.platform == "darwin":
        wanted.reverse()
    return next((found for name in wanted if (found := shutil.which(name))), None)


def unavailable(device: Device) -> str | None:
    """On a CPU kernels are C++ with Python's headers, on CUDA they are Triton's."""
    if device == "cuda":
        return None if find_spec("triton") else "torch.compile needs triton for CUDA; run: python -m pip install triton"
    if compiler() is None:
        named = os.environ.get("CXX")
        missing = f"CXX={named} is not there" if named else "neither g++ nor clang++ is there"
        return f"torch.compile needs a C++ compiler: {missing}; install one, on Debian: apt install g++"
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        return f"torch.compile needs Python's headers: there is no {headers / 'Python.h'}; install them (python3-dev)"
    return None


def load(artifact: Path, target: Target) -> Session:
    """The checkpoint's model in eval mode; `compile` makes its graphs, and no call after that makes another."""
    settings = set_common(target)
    return session(checkpoint.load(artifact).to(target.device), target, settings)


def session(model: Any, target: Target, settings: dict[str, str]) -> Session:
    """A model compiled at the first batch, and its settings beside these; Unsupported for one that generates.

    Inductor's cache is a new folder for each worker, gone once the graphs are made, so that the phase on record is
    what a machine pays that never saw the model: 37 s for MiniLM on two cores. With one cache for all, the figure would
    tell which worker came first. Every launch of a comparison pays it, outside all rounds.
    """
    import torch

    if checkpoint.generates(model):
        raise Unsupported(
            f"{type(model).__name__} generates: its cache grows token by token, and torch.compile would make graphs "
            "in the middle of an answer"
        )
    answer = checkpoint.answering(torch.compile(model, dynamic=True), target.device)
    # A graph made inside the window would take seconds. What has a shape of no class that was prepared, a text of one
    # single token for instance, is answered eagerly instead.
    prepared = torch.compiler.set_stance("eager_on_recompile")(answer)
    ready = False

    def compile_(arrays: Arrays) -> None:
        nonlocal ready
        _compile(answer, arrays)
        ready = True

    def run(arrays: Arrays) -> Arrays:
        if not ready:
            raise RuntimeError("nothing is compiled yet, and everything would be answered eagerly: call compile first")
        return prepared(arrays)  # type: ignore[no-any-return]

    return Session(
        run=run,
        device=next(model.parameters()).device.type,
        settings={
            **settings,
            "compile": "inductor dynamic=True, 2 graphs: one row, several",
            "cxx": compiler() or "none",
            "cache": "none: every worker compiles anew",
        },
        compile=compile_,
    )


def _compile(answer: Callable[[Arrays], Arrays], arrays: Arrays) -> None:
    """Make the graph of a single row, which torch.compile specialises, and that of all other numbers of rows.

    Raises torch's own error where these would not do for another number of rows, and another length of text.
    """
    import torch

    several = rows_unlike(arrays)
    with _no_cache():
        for rows in (1, several):
            answer(_repeated(arrays, rows))
    with torch.compiler.set_stance("fail_on_recompile"):
        for rows in (1, several + 1):
            answer(_shorter(_repeated(arrays, rows)))


def rows_unlike(arrays: Arrays) -> int:
    """A number of rows, more than one, that is no other size of a batch: torch.compile takes equal sizes for one."""
    others = {size - cut for array in arrays.values() for size in array.shape[1:] for cut in (0, 1)}
    return next(rows for rows in count(2) if not {rows, rows + 1} & others)


def _repeated(arrays: Arrays, rows: int) -> Arrays:
    """The first row, so often. Copied whole: a view's strides would be one more thing that graphs are made for."""
    return {name: np.repeat(array[:1], rows, axis=0) for name, array in arrays.items()}


def _shorter(arrays: Arrays) -> Arrays:
    """A batch of texts but for its last token; any other batch as it is."""
    shapes = {array.shape for array in arrays.values()}
    texts = len(shapes) == 1 and all(array.ndim == 2 and array.dtype.kind in "iub" for array in arrays.values())
    long = texts and next(iter(shapes))[1] > 2
    return {name: array[:, :-1].copy() for name, array in arrays.items()} if long else arrays


@contextmanager
def _no_cache() -> Iterator[None]:
    """Inductor with an empty cache, which is removed in the end, and the compiler of `compiler()`."""
    from torch._inductor import config
    from torch._inductor.async_compile import shutdown_compile_workers
    from torch._inductor.utils import fresh_cache

    with fresh_cache(), config.patch({"cpp.cxx": (None, compiler() or "g++")}):
        try:
            yield
        finally:
            shutdown_compile_workers()  # else idle processes would stay beside the rounds


PYTORCH_COMPILE = Backend(name="pytorch-compile", load=load, imports=("torch",), unavailable=unavailable)
