"""The profile of one answer, the operations in it, and the peak of this machine, in a process like a worker's."""

from __future__ import annotations

import math
import os
import re
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd

from harness import checkpoint
from harness.backends.onnx_quantization import INTEGER
from harness.contracts.backend import PROFILE, Session, Target
from harness.contracts.kind import Arrays
from harness.errors import HarnessError
from harness.measure.client import worker_environment

PRODUCTS = re.compile("MatMul|Gemm|FullyConnected|[Cc]onv(?!ert)|[Aa]ttention|LSTM|GRU|RNN|mm$|_linear|_rnn")
"""Operators that consist of matrix products, by the names of ONNX Runtime, OpenVINO and PyTorch."""
PROFILED_S = 3.0
"""Seconds of answers in a profile, after as many that warm up."""
MOST_ANSWERS = 1000
"""Most answers in a profile: ONNX Runtime keeps a million events and drops further ones without a word."""
SIDE = 1024
"""Rows and columns of the matrices whose product shows the machine's peak."""
PRODUCT_OF_BYTES = f"""<ir_version: 9, opset_import: ["" : 17]> product (uint8[{SIDE}, {SIDE}] a) => (int32[{SIDE}, {SIDE}] c) {{
    shape = Constant <value_ints = [{SIDE}, {SIDE}]> ()
    b = ConstantOfShape <value = int8[1] {{3}}> (shape)
    c = MatMulInteger (a, b)
}}"""  # noqa: E501


class Profile(NamedTuple):
    """One answer, on average over many."""

    seconds: float
    """From host arrays to host arrays while the profiler is on."""
    operators: dict[str, tuple[float, float]]
    """Operator → (calls, seconds), without those that it calls."""


@contextmanager
def in_worker_environment(target: Target) -> Iterator[Callable[..., Any]]:
    """Yield a function that calls another one in a fresh process, whose threads number and wait as a worker's."""
    environment = worker_environment(target.threads, target.spinning)
    with patch.dict(os.environ, environment, clear=True), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def take(
    load: Callable[[Path, Target], Session], artifact: Path, target: Target, arrays: Arrays
) -> tuple[Profile, float, dict[str, str]]:
    """Return the profile of an answer, its seconds without a profiler, and the settings of the session."""
    session = load(artifact, target)
    if session.compile:
        session.compile(arrays)
    once = min(timeit.repeat(lambda: session.run(arrays), number=1, repeat=3))
    calls = min(MOST_ANSWERS, math.ceil(PROFILED_S / once))
    _, plain_s = timeit.repeat(lambda: session.run(arrays), number=calls, repeat=2)
    with TemporaryDirectory() as folder:
        profiled = load(artifact, target._replace(options={**target.options, PROFILE: folder}))
        if profiled.operators is not None:
            profile = _by_runtime(profiled, arrays, calls)
        elif "torch" in session.settings:
            profile = _by_torch(session, arrays, calls)
        else:
            runtimes = "ONNX Runtime, OpenVINO or PyTorch"
            raise HarnessError(f"this backend has no profile; choose one of shipbench's on {runtimes}")
    return profile, plain_s / calls, session.settings


def _by_runtime(session: Session, arrays: Arrays, calls: int) -> Profile:
    """Return the means over the later half of the answers."""
    assert session.operators is not None
    _, seconds = timeit.repeat(lambda: session.run(arrays), number=calls, repeat=2)
    if len(answers := session.operators()) != 2 * calls:
        problem = f"{len(answers)} of {2 * calls} answers are in the runtime's profile, whose buffer is full"
        raise HarnessError(f"{problem}; choose a larger --batch, of which it takes fewer")
    entries = pd.DataFrame(chain(*answers[calls:]), columns=["operator", "s"]).groupby("operator")["s"]
    return Profile(seconds / calls, {str(name): (len(took) / calls, took.sum() / calls) for name, took in entries})


def _by_torch(session: Session, arrays: Arrays, calls: int) -> Profile:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        seconds = timeit.timeit(lambda: session.run(arrays), number=calls) / calls
    events = profiler.key_averages()
    return Profile(seconds, {e.key: (e.count / calls, e.self_cpu_time_total / 1e6 / calls) for e in events})


def product_format(profile: Profile, settings: dict[str, str]) -> str | None:
    """Return the format in which most of the time of matrix products is spent; None without any."""
    products = {name: seconds for name, (_, seconds) in profile.operators.items() if PRODUCTS.search(name)}
    longest = max(products, key=lambda name: products[name], default=None)
    if longest is None:
        return None
    if INTEGER.search(longest) or longest.endswith((" i8", " u8", "int_mm")) or "int8" in settings:
        return "int8"
    return "bfloat16" if longest.endswith(" bf16") or settings.get("precision") == "bfloat16" else "float32"


def count_operations(folder: Path, arrays: Arrays) -> tuple[int, str]:
    """Return the operations in the products of a checkpoint on these inputs, and its modules with uncounted ones."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def attention(query: list[int], keys: list[int], values: list[int], *_: object, **__: object) -> int:
        return 2 * math.prod(query[:3]) * keys[2] * (query[3] + values[3])

    model: Any = checkpoint.load(folder)
    of_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}  # which PyTorch does not count
    with FlopCounterMode(display=False, custom_mapping=of_cpu) as counter:
        checkpoint.make_run(model, "cpu")(arrays)
    uncounted = {type(part).__name__ for part in model.modules() if isinstance(part, torch.nn.RNNBase)}
    return counter.get_total_flops(), ", ".join(sorted(uncounted))


def peak(form: str, threads: int) -> float:
    """Return the operations a second of a large product: in int8 by ONNX Runtime, else by PyTorch."""
    import onnx
    import onnxruntime
    import torch

    multiply: Callable[[], object]
    if form == "int8":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        graph = onnx.parser.parse_model(PRODUCT_OF_BYTES).SerializeToString()
        left = {"a": np.full((SIDE, SIDE), 200, dtype=np.uint8)}
        multiply = partial(onnxruntime.InferenceSession(graph, options).run, None, left)
    else:
        torch.set_num_threads(threads)
        values = torch.randn(SIDE, SIDE).to(getattr(torch, form))
        multiply = partial(torch.mm, values, values)
    return 2 * SIDE**3 / min(timeit.repeat(multiply, number=1, repeat=50))
