"""Backends: one value each. What differs between runtimes lies here and nowhere else."""

from harness.backends.onnxruntime import (
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_INT8_GUARDED,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_O2,
    ONNXRUNTIME_O2_INT8,
)
from harness.backends.pytorch import PYTORCH
from harness.padding import by_length

DEFAULT_BACKENDS = (PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8)
MORE_BACKENDS = (
    ONNXRUNTIME_O2_INT8,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_GUARDED,
    *map(by_length, DEFAULT_BACKENDS),
)
"""Measured where `--ship-backends` names them."""

__all__ = [
    "DEFAULT_BACKENDS",
    "MORE_BACKENDS",
    "ONNXRUNTIME",
    "ONNXRUNTIME_INT8",
    "ONNXRUNTIME_INT8_GUARDED",
    "ONNXRUNTIME_INT8_PERCENTILE",
    "ONNXRUNTIME_INT8_STATIC",
    "ONNXRUNTIME_O2",
    "ONNXRUNTIME_O2_INT8",
    "PYTORCH",
]
