"""Backends: one value each. What differs between runtimes lies here and nowhere else."""

from harness.backends.onnxruntime import ONNXRUNTIME, ONNXRUNTIME_INT8, ONNXRUNTIME_O2
from harness.backends.pytorch import PYTORCH
from harness.backends.releases import onnxruntime_at
from harness.backends.transformers5 import ONNXRUNTIME_TF5, ONNXRUNTIME_TF5_INT8

DEFAULT_BACKENDS = (PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8)

__all__ = [
    "DEFAULT_BACKENDS",
    "ONNXRUNTIME",
    "ONNXRUNTIME_INT8",
    "ONNXRUNTIME_O2",
    "ONNXRUNTIME_TF5",
    "ONNXRUNTIME_TF5_INT8",
    "PYTORCH",
    "onnxruntime_at",
]
