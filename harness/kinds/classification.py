"""Text and image classification: one label a text, a pair of texts, or an image.

Images are arrays of shape (height, width) or (height, width, channels), uint8. Batches hold `input_ids`, … of shape
(batch, length), int64, or `pixel_values` of shape (batch, channels, height, width), float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, row_labels
from harness.contracts.sources import Row, Scratch, Source
from harness.errors import HarnessError
from harness.kinds import common


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    return [[{"labels": label}] for label in row_labels(encoded)]


def _keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
    """Return `logits` without the further outputs of some models, an encoder's states for instance."""
    return {"logits": outputs["logits"]} if "logits" in outputs else outputs


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[int]:
    """Return the index of the largest of `logits`, shape (1, labels) a row; a tie goes to the first."""
    logits = np.concatenate([common.output(row, "logits") for row in outputs])
    return logits.argmax(axis=-1).tolist()  # type: ignore[no-any-return]


text_classification = Kind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    metrics=("accuracy", "f1", "f1-macro", "off-by-one-accuracy"),
    most_inputs=2,
    load_processor=common.load_tokenizer,
    new_processor=common.new_tokenizer,
    encode=common.encode,
    collate=common.collate,
    targets=_targets,
    reduce=_keep_logits,
    predict=_predict,
    native_arguments=common.native_arguments,
)


def _load_processor(folder: Path) -> Any:
    import transformers

    file = folder / "preprocessor_config.json"
    try:
        # The class by name, because AutoImageProcessor insists on torchvision's variants where they exist.
        return getattr(transformers, json.loads(file.read_text())["image_processor_type"]).from_pretrained(folder)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise HarnessError(f"{file}: no usable image processor: {error}") from error


def _new_processor(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    """Return the processor that a Scratch declares; for a native module one that keeps the size of the first image."""
    import transformers

    if isinstance(source, Scratch):
        settings = dict(source.processor)
        name = settings.pop("image_processor_type", "")
        processor = getattr(transformers, name, None)
        if processor is None:
            raise HarnessError(f"Scratch(processor=…): transformers has no image_processor_type {name!r}")
        return processor(**settings)
    height, width = np.asarray(rows[0][inputs[0]]).shape[:2]
    return transformers.ViTImageProcessor(do_resize=True, size={"height": height, "width": width})


def _encode_images(processor: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[Any]:
    images = [np.asarray(row[inputs[0]], dtype=np.uint8) for row in rows]
    images = [image[:, :, None] if image.ndim == 2 else image for image in images]
    pixels = processor(images, return_tensors="np", input_data_format="channels_last")["pixel_values"]
    return [[{"pixel_values": image.astype(np.float32)}] for image in pixels]


def _collate_images(processor: Any, examples: list[Example]) -> Arrays:
    return {"pixel_values": np.stack([np.asarray(row["pixel_values"], dtype=np.float32) for row in examples])}


image_classification = replace(
    text_classification,
    name="image-classification",
    auto_class="AutoModelForImageClassification",
    load_processor=_load_processor,
    new_processor=_new_processor,
    encode=_encode_images,
    collate=_collate_images,
    axes=("batch",),
)
