"""Kinds of task. A kind is one value; its functions import transformers only when they run."""

from harness.kinds.feature_extraction import feature_extraction
from harness.kinds.fill_mask import fill_mask
from harness.kinds.generation import summarization, translation
from harness.kinds.image_classification import image_classification
from harness.kinds.question_answering import question_answering
from harness.kinds.text_classification import text_classification
from harness.kinds.token_classification import token_classification

__all__ = [
    "feature_extraction",
    "fill_mask",
    "image_classification",
    "question_answering",
    "summarization",
    "text_classification",
    "token_classification",
    "translation",
]
