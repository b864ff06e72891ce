"""shipbench: which backend may this fine-tuned model ship on?

Everything a suite needs is importable from here, and importing it costs neither torch nor transformers.
"""

from harness.backends import (
    DEFAULT_BACKENDS,
    MORE_BACKENDS,
    ONNXRUNTIME,
    ONNXRUNTIME_FP16,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_INT8_GUARDED,
    ONNXRUNTIME_INT8_PERCENTILE,
    ONNXRUNTIME_INT8_STATIC,
    ONNXRUNTIME_O2,
    ONNXRUNTIME_O2_INT8,
    ONNXRUNTIME_TENSORRT,
    ONNXRUNTIME_TF5,
    ONNXRUNTIME_TF5_INT8,
    OPENVINO,
    OPENVINO_BF16,
    PYTORCH,
    PYTORCH_BF16,
    PYTORCH_COMPILE,
    PYTORCH_FP16,
    PYTORCH_INT8,
    onnxruntime_at,
)
from harness.bench import Bench
from harness.case import Case, cases
from harness.contracts import Arrays, Backend, Session, Target
from harness.errors import HarnessError, Incomparable, Unsupported, WorkerError
from harness.interpreter import Python
from harness.kind import Kind
from harness.kinds import (
    feature_extraction,
    fill_mask,
    image_classification,
    question_answering,
    summarization,
    text_classification,
    token_classification,
    translation,
)
from harness.padding import by_length
from harness.sources import Folder, Hub, Local, Native, Package, Row, Scratch
from harness.spec import Gate, Model, Recipe, Task
from harness.tuned import tuned

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
    "Arrays",
    "Backend",
    "Bench",
    "Case",
    "Folder",
    "Gate",
    "HarnessError",
    "Hub",
    "Incomparable",
    "Kind",
    "Local",
    "Model",
    "Native",
    "Package",
    "Python",
    "Recipe",
    "Row",
    "Scratch",
    "Session",
    "Target",
    "Task",
    "Unsupported",
    "WorkerError",
    "by_length",
    "cases",
    "feature_extraction",
    "fill_mask",
    "image_classification",
    "onnxruntime_at",
    "question_answering",
    "summarization",
    "text_classification",
    "token_classification",
    "translation",
    "tuned",
]
