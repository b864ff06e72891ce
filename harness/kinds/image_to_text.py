"""Image to text: what a picture shows or what is written in it, by an encoder-decoder that writes it, as TrOCR does.

Images and `pixel_values` are those of image classification, answers those of translation.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.contracts.kind import EncodedRows, Example, row_labels
from harness.kinds import common
from harness.kinds.generation import translation
from harness.kinds.image_classification import image_classification

MODEL_TYPE = "vision-encoder-decoder"
"""Type of the models that read nothing but a picture, and whose decoder Optimum exports with its cache."""


def _load_processor(folder: Path) -> common.Paired:
    return common.Paired(image_classification.load_processor(folder), common.load_tokenizer(folder))


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return the tokens of each text, cut at `max_length`, and the one that ends it, which not all tokenizers write."""
    tokenizer, texts = encoded.processor.tokenizer, [str(label) for label in row_labels(encoded)]
    rows = tokenizer(texts, truncation=True, max_length=encoded.max_length)["input_ids"]
    end = tokenizer.eos_token_id
    return [[{"labels": ids if end is None or ids[-1:] == [end] else [*ids, end]}] for ids in rows]


image_to_text = replace(
    translation,
    name="image-to-text",
    auto_class="AutoModelForImageTextToText",
    export="image-to-text-with-past",
    metrics=("rougeL", "chrf", "bleu", "rouge1", "rouge2", "cer", "wer", "exact-match"),
    media="image",
    load_processor=_load_processor,
    encode=image_classification.encode,
    collate=image_classification.collate,
    targets=_targets,
    axes=("batch",),
    optional_weights=("encoder.pooler.",),
)
