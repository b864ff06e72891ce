"""PyTorch compiled with `torch.compile(dynamic=True)`, in float32 and in dynamic int8 through torchao.

The artifact of both is the checkpoint itself.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from harness import checkpoint
from harness.backends.pytorch import configure
from harness.contracts.backend import Backend, Device, Session, Target
from harness.contracts.kind import Arrays
from harness.errors import Unsupported
from harness.util.machine import missing_module

MIN_INT8_SHARE = 0.01
"""Share of a model's weights that linear layers must hold: with the head alone in int8, the model is not int8."""


def compiler() -> str | None:
    """Return the path of the C++ compiler for kernels: CXX if it is set, else g++ or clang++; None without one."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    return next((path for name in names if (path := shutil.which(name))), None)


def unavailable(device: Device) -> str | None:
    """Return why torch.compile cannot run: on a CPU kernels need C++ and Python's headers, on CUDA Triton."""
    if device == "cuda":
        return missing_module("triton", "triton")
    if compiler() is None:
        variable = os.environ.get("CXX")
        missing = f"CXX={variable} does not exist" if variable else "neither g++ nor clang++ is installed"
        return f"torch.compile needs a C++ compiler: {missing}; install one, on Debian: apt install g++"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"torch.compile needs Python's headers: {header} does not exist; install them (python3-dev)"
    return None


def unavailable_in_int8(device: Device) -> str | None:
    """Return why int8 cannot run: it needs torchao and all that torch.compile needs."""
    return missing_module("torchao", '-e ".[torchao]"') or unavailable(device)


def load(artifact: Path, target: Target) -> Session:
    """Return the checkpoint's model; `compile` makes its graphs, and no later call makes another."""
    settings = configure(target)
    return _compiled_session(checkpoint.load(artifact).to(target.device), target, settings)


def load_int8(artifact: Path, target: Target) -> Session:
    """Return the model with linear layers in int8; every call scales activations by row.

    Quantised here, because it takes a tenth of a second and torchao's format on disk is a prototype.
    Compiled, because eagerly the scales alone take longer than the products save: MiniLM, one row of 96 tokens, 35.5 ms
    eagerly, 9.3 compiled, 18.6 in float32. Unsupported for a model with few weights in linear layers.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import should_reduce_range

    settings = configure(target)
    model = checkpoint.load(artifact).to(target.device)
    layers = int8_layers(model)
    reduce_range = should_reduce_range(torch.device(target.device))
    # torchao's inductor settings are meant for Triton, and allow rounding in products that stay in float32.
    quantize_(model, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, reduce_range=reduce_range))
    return _compiled_session(model, target, {**settings, "torchao": version("torchao"), "int8": layers})


def int8_layers(model: Any) -> str:
    """Return how many layers and weights torchao quantises; Unsupported if they are too small a share."""
    import torch

    total = sum(weight.numel() for weight in model.parameters())
    linear = [layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    summary = f"{len(linear)} linear layers, {sum(linear):,} of {total:,} weights"
    if sum(linear) < MIN_INT8_SHARE * total:
        raise Unsupported(f"torchao quantises only linear layers: {summary}")
    return summary


def _compiled_session(model: Any, target: Target, settings: dict[str, str]) -> Session:
    """Return a session that compiles the model for its first batch; Unsupported for a model that generates.

    Every worker has an Inductor cache of its own, removed once the graphs are made. So the recorded phase is what a
    machine pays that has never seen the model (37 s for MiniLM on two cores), whichever worker comes first. Every
    launch of a comparison pays it, outside all rounds.
    """
    import torch

    if checkpoint.generates(model):
        raise Unsupported(f"{type(model).__name__} generates text: torch.compile would compile inside an answer")
    answer = checkpoint.make_run(torch.compile(model, dynamic=True), target.device)
    # Making a graph inside a window would take seconds. A shape that no graph fits, such as a text of a single token,
    # is answered eagerly instead.
    compiled = torch.compiler.set_stance("eager_on_recompile")(answer)
    ready = False

    def compile_(arrays: Arrays) -> None:
        nonlocal ready
        _compile(answer, arrays)
        ready = True

    def run(arrays: Arrays) -> Arrays:
        if not ready:
            raise RuntimeError("nothing is compiled yet, so every answer would be eager: call compile first")
        return compiled(arrays)  # type: ignore[no-any-return]

    settings |= {
        "compile": "inductor dynamic=True, 2 graphs: one row, several",
        "cxx": compiler() or "none",
        "cache": "none: every worker compiles anew",
    }
    return Session(run=run, device=next(model.parameters()).device.type, settings=settings, compile=compile_)


def _compile(answer: Callable[[Arrays], Arrays], arrays: Arrays) -> None:
    """Make the graph for a single row, which torch.compile specialises, and the graph for all other numbers of rows.

    Raises torch's own error if the graphs do not fit another number of rows, or another length of text.
    """
    import torch

    several = distinct_rows(arrays)
    with _empty_cache():
        for rows in (1, several):
            answer(_repeat_first(arrays, rows))
    with torch.compiler.set_stance("fail_on_recompile"):
        for rows in (1, several + 1):
            answer(_shorten(_repeat_first(arrays, rows)))


def distinct_rows(arrays: Arrays) -> int:
    """Return a number of rows above one that equals no other dimension: torch.compile would tie equal sizes."""
    sizes = {size - cut for array in _repeat_first(arrays, 1).values() for size in array.shape for cut in (0, 1)}
    return next(rows for rows in count(2) if not {rows, rows + 1} & sizes)


def _repeat_first(arrays: Arrays, rows: int) -> Arrays:
    """Repeat the first row, as a copy: graphs would specialise on the strides of a view. What all rows share stays."""
    entries = len(next(iter(arrays.values())))
    return {name: np.repeat(a[:1], rows, axis=0) if len(a) == entries else a for name, a in arrays.items()}


def _shorten(arrays: Arrays) -> Arrays:
    """Cut the last token off a batch of texts; return any other batch as it is."""
    shapes = {array.shape for array in arrays.values()}
    texts = len(shapes) == 1 and all(array.ndim == 2 and array.dtype.kind in "iub" for array in arrays.values())
    long = texts and next(iter(shapes))[1] > 2
    return {name: array[:, :-1].copy() for name, array in arrays.items()} if long else arrays


@contextmanager
def _empty_cache() -> Iterator[None]:
    """Give Inductor an empty cache, removed at the end, and the compiler of `compiler()`."""
    from torch._inductor import config
    from torch._inductor.async_compile import shutdown_compile_workers
    from torch._inductor.utils import fresh_cache

    with fresh_cache(), config.patch({"cpp.cxx": (None, compiler() or "g++")}):
        try:
            yield
        finally:
            shutdown_compile_workers()  # no idle processes during the rounds


PYTORCH_COMPILE = Backend(name="pytorch-compile", load=load, imports=("torch",), unavailable=unavailable)

PYTORCH_INT8 = Backend(
    name="pytorch-int8",
    load=load_int8,
    imports=("torch", "torchao.quantization"),
    lossy=True,
    devices=("cpu",),
    unavailable=unavailable_in_int8,
)
