"""ONNX Runtime's TensorRT provider on the float export: an engine is built for this GPU in the compile phase."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
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

LONGEST = 512
"""Tokens that an engine is built for, where the model takes as many."""


def unavailable(device: Device) -> str | None:
    """It takes ONNX Runtime for GPUs, and NVIDIA's libraries beside it."""
    if (reason := onnxruntime.unavailable(device)) is not None:
        return reason
    return None if find_spec("tensorrt") else "TensorRT is not installed; run: python -m pip install tensorrt"


def take(source: Path, out: Path, kind: Kind) -> dict[str, str]:
    """The float export as it is; its engine belongs to one GPU and is built where it runs."""
    if is_generating(source):
        raise Unsupported("TensorRT gets one graph whose lengths are known ahead; generated text has neither")
    shutil.copytree(source, out, dirs_exist_ok=True)
    return {}


def load(artifact: Path, target: Target) -> Session:
    """A session whose first provider is TensorRT; RuntimeError where ONNX Runtime fell back to another one."""
    import tensorrt

    own = (TENSORRT, {"trt_fp16_enable": "0", "trt_engine_cache_enable": "0"})
    session = onnxruntime.load_on([own, *PROVIDERS[target.device]], artifact, target)
    if not session.settings["providers"].startswith(TENSORRT):
        raise RuntimeError(f"asked for TensorRT, the runtime runs on {session.settings['providers']}")
    return session._replace(
        settings=session.settings | {"tensorrt": tensorrt.__version__}, compile=engine(session.run, longest(artifact))
    )


def engine(run: Callable[[Arrays], object], tokens: int) -> Callable[[Arrays], None]:
    """Builds it for one token to `tokens`, since lengths that it has not seen would build it anew inside a window."""

    def compile_for(arrays: Arrays) -> None:
        for shaped in lengths(arrays, tokens):
            run(shaped)

    return compile_for


def lengths(arrays: Arrays, tokens: int) -> Iterator[Arrays]:
    """The batch itself, and where it is text, its first token and its rows repeated up to `tokens`."""
    yield arrays
    if all(array.ndim == 2 and array.dtype.kind in "iu" for array in arrays.values()):
        for length in (1, tokens):
            yield {
                name: np.ascontiguousarray(np.tile(array, (1, -(-length // array.shape[1])))[:, :length])
                for name, array in arrays.items()
            }


def longest(artifact: Path) -> int:
    """Tokens, a power of two that the model has positions for: some count theirs from the padding's number on."""
    file = artifact / "config.json"
    settings: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    positions = settings.get("max_position_embeddings")
    return min(LONGEST, 1 << positions.bit_length() - 1) if isinstance(positions, int) and positions > 0 else LONGEST


ONNXRUNTIME_TENSORRT = Backend(
    name="onnxruntime-tensorrt",
    source=onnxruntime.ONNXRUNTIME,
    build=take,
    load=load,
    imports=("tensorrt", "onnxruntime"),
    devices=("cuda",),
    unavailable=unavailable,
)
