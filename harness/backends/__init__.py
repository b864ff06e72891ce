"""Backends: one value each. What differs between runtimes lies here and nowhere else."""

from harness.backends.onnxruntime import (
    ONNXRUNTIME,
    ONNXRUNTIME_FP16,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_INT8_GUARDED,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_O2,
    ONNXRUNTIME_O2_INT8,
    onnxruntime_at,
)
from harness.backends.openvino import OPENVINO, OPENVINO_BF16
from harness.backends.pytorch import PYTORCH, PYTORCH_BF16, PYTORCH_FP16
from harness.backends.tensorrt import ONNXRUNTIME_TENSORRT
from harness.backends.torch_compile import PYTORCH_COMPILE
from harness.backends.torchao import PYTORCH_INT8
from harness.backends.transformers5 import ONNXRUNTIME_TF5, ONNXRUNTIME_TF5_INT8
from harness.backends.variants import by_length, tuned

DEFAULT_BACKENDS = (PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8, PYTORCH_FP16, ONNXRUNTIME_FP16)

MORE_BACKENDS = (
    PYTORCH_COMPILE,
    PYTORCH_BF16,
    PYTORCH_INT8,
    ONNXRUNTIME_O2_INT8,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_GUARDED,
    ONNXRUNTIME_TENSORRT,
    ONNXRUNTIME_TF5,
    ONNXRUNTIME_TF5_INT8,
    OPENVINO,
    OPENVINO_BF16,
    *map(by_length, (PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, ONNXRUNTIME_INT8)),
)
"""Measured where `--ship-backends` names them."""

__all__ = [
    "DEFAULT_BACKENDS",
    "MORE_BACKENDS",
    "ONNXRUNTIME",
    "ONNXRUNTIME_FP16",
    "ONNXRUNTIME_INT8",
    "ONNXRUNTIME_INT8_GUARDED",
    "ONNXRUNTIME_INT8_PERCENTILE",
    "ONNXRUNTIME_INT8_STATIC",
    "ONNXRUNTIME_O2",
    "ONNXRUNTIME_O2_INT8",
    "ONNXRUNTIME_TENSORRT",
    "ONNXRUNTIME_TF5",
    "ONNXRUNTIME_TF5_INT8",
    "OPENVINO",
    "OPENVINO_BF16",
    "PYTORCH",
    "PYTORCH_BF16",
    "PYTORCH_COMPILE",
    "PYTORCH_FP16",
    "PYTORCH_INT8",
    "by_length",
    "onnxruntime_at",
    "tuned",
]
