"""Backends: one value each. What differs between runtimes lies here and nowhere else."""

from harness.backends.onnxruntime import ONNXRUNTIME, ONNXRUNTIME_INT8, ONNXRUNTIME_O2
from harness.backends.pytorch import PYTORCH

DEFAULT_BACKENDS = (PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8)

__all__ = ["DEFAULT_BACKENDS", "ONNXRUNTIME", "ONNXRUNTIME_INT8", "ONNXRUNTIME_O2", "PYTORCH"]
