"""Kinds of task. A kind is one value; its functions import transformers only when they run."""

from harness.kinds.answering import question_answering
from harness.kinds.embedding import feature_extraction
from harness.kinds.generation import summarization, translation
from harness.kinds.image import image_classification
from harness.kinds.masked import fill_mask
from harness.kinds.text import text_classification
from harness.kinds.words import token_classification

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
