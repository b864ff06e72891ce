"""Backends: one value each. What differs between runtimes lies here and nowhere else."""

from harness.backends.onnxruntime import ONNXRUNTIME, ONNXRUNTIME_INT8, ONNXRUNTIME_O2
from harness.backends.openvino import OPENVINO
from harness.backends.pytorch import PYTORCH
from harness.backends.torch_bf16 import PYTORCH_BF16
from harness.backends.torch_compile import PYTORCH_COMPILE
from harness.backends.torch_int8 import PYTORCH_INT8

DEFAULT_BACKENDS = (PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8)

__all__ = [
    "DEFAULT_BACKENDS",
    "ONNXRUNTIME",
    "ONNXRUNTIME_INT8",
    "ONNXRUNTIME_O2",
    "OPENVINO",
    "PYTORCH",
    "PYTORCH_BF16",
    "PYTORCH_COMPILE",
    "PYTORCH_INT8",
]
