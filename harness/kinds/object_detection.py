"""Object detection: named boxes in an image.

Images and batches are those of image classification. Every image is resized to the one size that the model's image
processor states, whatever its proportions, and boxes go back to the size that it had. A backend answers with `logits`
of shape (batch, queries, labels) and `pred_boxes`, shape (batch, queries, 4): centre, width and height as shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, row_labels
from harness.contracts.sources import Row, Source
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.image_classification import image_classification

OUTPUTS = ("logits", "pred_boxes")
DECODE = "post_process_object_detection"
"""Method of image processors that turns a model's outputs into boxes, as its architecture needs it."""


def check_processor(place: str, processor: Any, decode: str = "") -> Any:
    """Return the image processor; HarnessError unless it gives all images one size, and has the method `decode`."""
    size = getattr(processor, "size", None) or {}
    if getattr(processor, "do_resize", True) and not (size.get("height") and size.get("width")):
        raise HarnessError(
            f"{place}: the image processor keeps the proportions of images (size={dict(size)}), so that they cannot "
            'share a batch; set size={"height": …, "width": …} there, to which images are stretched'
        )
    if decode and not hasattr(processor, decode):
        raise HarnessError(
            f"{place}: {type(processor).__name__} has no {decode}; give the image processor of a detection model"
        )
    return processor


def _load_processor(folder: Path) -> Any:
    return check_processor(str(folder), image_classification.load_processor(folder), DECODE)


def _new_processor(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    assert image_classification.new_processor
    return check_processor(str(source), image_classification.new_processor(source, rows, inputs), DECODE)


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return (label, centre, width, height) of each box one after the other; crowds are not taught."""
    targets = []
    for row in row_labels(encoded):
        height, width = row["size"]
        taught = [
            [label, (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
            for label, crowd, (x0, y0, x1, y1) in zip(row["labels"], row["crowd"], row["boxes"], strict=True)
            if not crowd
        ]
        targets.append([{"labels": np.array(taught, dtype=np.float32).ravel()}])
    return targets


def _batch_targets(targets: list[Example]) -> dict[str, Any]:
    """Return the boxes of each image as Transformers' heads take them."""
    tables = [np.asarray(target["labels"], np.float32).reshape(-1, 5) for target in targets]
    return {"labels": [{"class_labels": one[:, 0].astype(np.int64), "boxes": one[:, 1:]} for one in tables]}


def _keep_boxes(batch: Arrays, outputs: Arrays) -> Arrays:
    return {name: common.output(outputs, name) for name in OUTPUTS}


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    """Return (label, score, x0, y0, x1, y1) of each box, in pixels of the image as it was."""
    import torch

    answers = []
    for row, arrays in zip(row_labels(encoded), outputs, strict=True):
        tensors = SimpleNamespace(**{name: torch.from_numpy(common.output(arrays, name)) for name in OUTPUTS})
        decode = getattr(encoded.processor, DECODE)
        (found,) = decode(tensors, threshold=0.0, target_sizes=[tuple(row["size"])])
        parts = (found[name].tolist() for name in ("labels", "scores", "boxes"))
        answers.append([[label, score, *box] for label, score, box in zip(*parts, strict=True)])
    return answers


def _truths(encoded: EncodedRows) -> list[Any]:
    """Return (label, crowd, x0, y0, x1, y1) of each box."""
    return [
        [[label, int(crowd), *box] for label, crowd, box in zip(row["labels"], row["crowd"], row["boxes"], strict=True)]
        for row in row_labels(encoded)
    ]


object_detection = replace(
    image_classification,
    name="object-detection",
    auto_class="AutoModelForObjectDetection",
    metrics=("map", "map-50"),
    label="boxes",
    load_processor=_load_processor,
    new_processor=_new_processor,
    targets=_targets,
    batch_targets=_batch_targets,
    reduce=_keep_boxes,
    predict=_predict,
    truths=_truths,
    native_arguments=None,
)
