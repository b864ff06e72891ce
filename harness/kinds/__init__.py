"""Kinds of task. A kind is one value; its functions import transformers only when they run."""

from harness.kinds.image import image_classification
from harness.kinds.text import text_classification

__all__ = ["image_classification", "text_classification"]
