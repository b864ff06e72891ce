"""shipbench: which backend may this fine-tuned model ship on?

Everything a suite needs is importable from here, and importing it costs neither torch nor transformers.
"""

from harness.backends import (
    DEFAULT_BACKENDS,
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_O2,
    OPENVINO,
    PYTORCH,
    PYTORCH_BF16,
    PYTORCH_COMPILE,
    PYTORCH_INT8,
)
from harness.bench import Bench
from harness.contracts import Arrays, Backend, Kind, Session, Target
from harness.errors import HarnessError, Incomparable, Unsupported, WorkerError
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
from harness.sources import Folder, Hub, Local, Native, Package, Row, Scratch
from harness.spec import Case, Gate, Model, Recipe, Task, cases

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
    "Recipe",
    "Row",
    "Scratch",
    "Session",
    "Target",
    "Task",
    "Unsupported",
    "WorkerError",
    "cases",
    "feature_extraction",
    "fill_mask",
    "image_classification",
    "question_answering",
    "summarization",
    "text_classification",
    "token_classification",
    "translation",
]
