"""ONNX Runtime's TensorRT provider on the float export; the compile phase builds an engine for the GPU at hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import onnxruntime
from harness.backends.cuda import PROVIDERS, TENSORRT
from harness.backends.onnx_export import is_generating
from harness.contracts.backend import Backend, Device, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported

MAX_TOKENS = 512
"""Longest text that an engine is built for, where the model takes as many tokens."""


def unavailable(device: Device) -> str | None:
    """Return why TensorRT cannot run: it needs ONNX Runtime for GPUs and NVIDIA's libraries."""
    if (reason := onnxruntime.unavailable(device)) is not None:
        return reason
    return None if find_spec("tensorrt") else "TensorRT is not installed; run: python -m pip install tensorrt"


def copy_export(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Copy the float export; an engine belongs to one GPU and is built where it runs."""
    if is_generating(source):
        raise Unsupported("TensorRT needs one graph with lengths known in advance; a model that generates has neither")
    shutil.copytree(source, out, dirs_exist_ok=True)
    return {}


def load(artifact: Path, target: Target) -> Session:
    """Return a session whose first provider is TensorRT; RuntimeError if ONNX Runtime fell back to another one."""
    import tensorrt

    provider = (TENSORRT, {"trt_fp16_enable": "0", "trt_engine_cache_enable": "0"})
    session = onnxruntime.load_on([provider, *PROVIDERS[target.device]], artifact, target)
    if not session.settings["providers"].startswith(TENSORRT):
        raise RuntimeError(f"ONNX Runtime runs on {session.settings['providers']} instead of TensorRT")
    return session._replace(
        settings=session.settings | {"tensorrt": tensorrt.__version__},
        compile=partial(build_engine, session.run, max_tokens(artifact)),
    )


def build_engine(run: Callable[[Arrays], object], tokens: int, arrays: Arrays) -> None:
    """Build the engine for 1 to `tokens` tokens: a new length would rebuild it inside a window."""
    for batch in _extreme_lengths(arrays, tokens):
        run(batch)


def _extreme_lengths(arrays: Arrays, tokens: int) -> Iterator[Arrays]:
    """Yield the batch, and for text also its first token alone and its rows repeated up to `tokens`."""
    yield arrays
    if all(array.ndim == 2 and array.dtype.kind in "iu" for array in arrays.values()):
        for length in (1, tokens):
            yield {
                name: np.ascontiguousarray(np.tile(array, (1, -(-length // array.shape[1])))[:, :length])
                for name, array in arrays.items()
            }


def max_tokens(artifact: Path) -> int:
    """Return the longest text to build for: a power of two, because some models use up positions for padding."""
    file = artifact / "config.json"
    config: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        return MAX_TOKENS
    return min(MAX_TOKENS, 1 << positions.bit_length() - 1)


ONNXRUNTIME_TENSORRT = Backend(
    name="onnxruntime-tensorrt",
    source=onnxruntime.ONNXRUNTIME,
    build=copy_export,
    load=load,
    imports=("tensorrt", "onnxruntime"),
    devices=("cuda",),
    unavailable=unavailable,
)
