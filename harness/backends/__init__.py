"""Backends: one value each. What differs between runtimes lies here and nowhere else."""

from harness.backends.onnx_half import ONNXRUNTIME_FP16
from harness.backends.onnxruntime import ONNXRUNTIME, ONNXRUNTIME_INT8, ONNXRUNTIME_O2
from harness.backends.pytorch import PYTORCH
from harness.backends.pytorch_half import PYTORCH_FP16
from harness.backends.tensorrt import ONNXRUNTIME_TENSORRT

DEFAULT_BACKENDS = (
    PYTORCH,
    ONNXRUNTIME,
    ONNXRUNTIME_O2,
    ONNXRUNTIME_INT8,
    PYTORCH_FP16,
    ONNXRUNTIME_FP16,
    ONNXRUNTIME_TENSORRT,
)

__all__ = [
    "DEFAULT_BACKENDS",
    "ONNXRUNTIME",
    "ONNXRUNTIME_FP16",
    "ONNXRUNTIME_INT8",
    "ONNXRUNTIME_O2",
    "ONNXRUNTIME_TENSORRT",
    "PYTORCH",
    "PYTORCH_FP16",
]
