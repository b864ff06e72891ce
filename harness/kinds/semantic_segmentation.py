"""Semantic segmentation: a label for every pixel of an image.

Images and batches are those of image classification, resized as for object detection. A backend answers with `logits`
of shape (batch, labels, height, width), which are brought to the image's own size before the likeliest label counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import UNTAUGHT, Arrays, EncodedRows, Example
from harness.contracts.sources import Row, Source
from harness.kinds import common
from harness.kinds.image_classification import image_classification
from harness.kinds.object_detection import check_processor

DECODE = "post_process_semantic_segmentation"
"""Method of image processors that turns a model's outputs into a label for every pixel."""


def _load_processor(folder: Path) -> Any:
    return check_processor(str(folder), image_classification.load_processor(folder), DECODE)


def _new_processor(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    assert image_classification.new_processor
    return check_processor(str(source), image_classification.new_processor(source, rows, inputs), DECODE)


def _masks(encoded: EncodedRows) -> Iterator[NDArray[np.int64]]:
    """Yield the label of every pixel of each image, UNTAUGHT where it counts for nothing; images are not loaded."""
    rows = encoded.rows
    for row in rows.select_columns("label") if hasattr(rows, "select_columns") else rows:
        yield np.asarray(row["label"]["mask"], np.int64)


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return masks of the size of the inputs, by the nearest pixel."""
    from PIL import Image

    targets = []
    for (example,), mask in zip(encoded.examples, _masks(encoded), strict=True):
        height, width = np.asarray(example["pixel_values"]).shape[1:]
        resized = Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        targets.append([{"labels": np.asarray(resized).astype(np.int64)}])
    return targets


def _keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
    return {"logits": common.output(outputs, "logits")}


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    """Return (label answered, label expected, pixels) of each pair of labels in an image: its confusion matrix."""
    import torch

    answers = []
    for mask, arrays in zip(_masks(encoded), outputs, strict=True):
        logits = SimpleNamespace(logits=torch.from_numpy(common.output(arrays, "logits")))
        (answer,) = getattr(encoded.processor, DECODE)(logits, target_sizes=[mask.shape])
        answers.append(_confusion(answer.numpy(), mask))
    return answers


def _truths(encoded: EncodedRows) -> list[Any]:
    return [_confusion(mask, mask) for mask in _masks(encoded)]


def _confusion(answer: NDArray[np.int64], mask: NDArray[np.int64]) -> list[list[int]]:
    pairs = np.stack([answer, mask], axis=-1)[mask != UNTAUGHT]
    labels, pixels = np.unique(pairs, axis=0, return_counts=True)
    return [[*pair, count] for pair, count in zip(labels.tolist(), pixels.tolist(), strict=True)]


semantic_segmentation = replace(
    image_classification,
    name="semantic-segmentation",
    auto_class="AutoModelForSemanticSegmentation",
    metrics=("mean-iou", "pixel-accuracy"),
    label="mask",
    load_processor=_load_processor,
    new_processor=_new_processor,
    targets=_targets,
    reduce=_keep_logits,
    predict=_predict,
    truths=_truths,
    native_arguments=None,
)
