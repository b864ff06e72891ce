"""ONNX Runtime's TensorRT provider on the float export; the compile phase builds an engine for the GPU at hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import onnxruntime
from harness.backends.onnx_graphs import is_generating
from harness.contracts.backend import Backend, Device, Session, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import Unsupported
from harness.util.machine import missing_module

MAX_TOKENS = 512
"""Longest text that an engine is built for, where the model takes as many tokens."""


def unavailable(device: Device) -> str | None:
    """Return why TensorRT cannot run: it needs ONNX Runtime for GPUs and NVIDIA's libraries."""
    return onnxruntime.unavailable(device) or missing_module("tensorrt", "tensorrt")


def copy_export(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """Copy the float export; an engine belongs to one GPU and is built where it runs."""
    if is_generating(source):
        raise Unsupported("TensorRT needs one graph with lengths known in advance; a model that generates has neither")
    shutil.copytree(source, out, dirs_exist_ok=True)
    return {}


def load(artifact: Path, target: Target) -> Session:
    """Return a session whose first provider is TensorRT; RuntimeError if ONNX Runtime fell back to another one."""
    import tensorrt

    provider = ("TensorrtExecutionProvider", {"trt_fp16_enable": "0", "trt_engine_cache_enable": "0"})
    session = onnxruntime.load_on([provider, onnxruntime.PROVIDERS[target.device]], artifact, target)
    if not session.settings["providers"].startswith(provider[0]):
        raise RuntimeError(f"ONNX Runtime runs on {session.settings['providers']} instead of TensorRT")
    return session._replace(
        settings=session.settings | {"tensorrt": tensorrt.__version__},
        compile=partial(build_engine, session.run, max_tokens(artifact)),
    )


def build_engine(run: Callable[[Arrays], object], tokens: int, arrays: Arrays) -> None:
    """Build the engine for 1 to `tokens` tokens: a new length would rebuild it inside a window."""
    run(arrays)
    if all(array.ndim == 2 and array.dtype.kind in "iu" for array in arrays.values()):
        for length in (1, tokens):
            run(
                {
                    name: np.pad(array[:, :length], ((0, 0), (0, max(0, length - array.shape[1]))), mode="wrap")
                    for name, array in arrays.items()
                }
            )


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
