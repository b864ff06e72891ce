"""Kinds of task: how rows become tensors, tensors predictions, predictions a score."""

from harness.contracts.kind import Kind
from harness.kinds.audio_classification import audio_classification as audio_classification
from harness.kinds.classification import multi_label_classification as multi_label_classification
from harness.kinds.classification import text_classification as text_classification
from harness.kinds.feature_extraction import feature_extraction as feature_extraction
from harness.kinds.fill_mask import fill_mask as fill_mask
from harness.kinds.generation import summarization as summarization
from harness.kinds.generation import translation as translation
from harness.kinds.image_classification import image_classification as image_classification
from harness.kinds.image_to_text import image_to_text as image_to_text
from harness.kinds.language_modeling import language_modeling as language_modeling
from harness.kinds.multiple_choice import multiple_choice as multiple_choice
from harness.kinds.object_detection import object_detection as object_detection
from harness.kinds.question_answering import question_answering as question_answering
from harness.kinds.regression import text_regression as text_regression
from harness.kinds.semantic_segmentation import semantic_segmentation as semantic_segmentation
from harness.kinds.speech_recognition import automatic_speech_recognition as automatic_speech_recognition
from harness.kinds.speech_recognition import ctc_speech_recognition as ctc_speech_recognition
from harness.kinds.tabular import tabular_classification as tabular_classification
from harness.kinds.tabular import tabular_regression as tabular_regression
from harness.kinds.text_generation import chat_completion as chat_completion
from harness.kinds.text_generation import text_generation as text_generation
from harness.kinds.token_classification import token_classification as token_classification
from harness.kinds.zero_shot import zero_shot_classification as zero_shot_classification
from harness.kinds.zero_shot_image import zero_shot_image_classification as zero_shot_image_classification

KINDS: dict[str, Kind] = {kind.name: kind for kind in list(vars().values()) if isinstance(kind, Kind)}
"""Every kind imported above, by Hugging Face's name for the task, as `Task(kind=…)` takes it."""
