"""scikit-learn's digits laid out on canvases: where are they?

One label: in the same time from random weights, ten labels are found as well but not told apart.
A scan stands on several canvases, of any part: the score says nothing about new handwriting.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans import canvases, scikit_digits

from harness import Gate, Model, Recipe, Scratch, Task, cases

pytest.importorskip("pycocotools", reason='needs pycocotools: pip install -e ".[full]"')
pytestmark = pytest.mark.full

SIDE = 64


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield one row a canvas: each digit with the box around its ink."""
    for canvas, digits in canvases(file, SIDE, margin=1):
        boxes = []
        for digit in digits:
            y, x = np.nonzero(digit.ink)
            corner = digit.x + x.min(), digit.y + y.min(), digit.x + x.max() + 1, digit.y + y.max() + 1
            boxes.append([int(number) for number in corner])
        yield {"image": canvas, "objects": {"bbox": boxes, "category": ["digit"] * len(boxes)}}


TASK = Task(
    name="digit-boxes",
    kind="object-detection",
    dataset=scikit_digits(rows),
    inputs=("image",),
    label="objects",
    metric="map",
    also=("map-50",),
    boxes="xyxy",
    test=500,
    validation=100,
    calibration=100,
)
WIDTHS = [16, 32, 64, 64]
TINY = Model(
    name="tiny-RT-DETR",
    source=Scratch(
        config={
            "model_type": "rt_detr",
            "backbone_config": {
                "model_type": "rt_detr_resnet",
                "embedding_size": WIDTHS[0],
                "hidden_sizes": WIDTHS,
                "depths": [1, 1, 1, 1],
                "layer_type": "basic",
                "out_features": ["stage2", "stage3", "stage4"],
            },
            "encoder_in_channels": WIDTHS[1:],
            "decoder_in_channels": [64, 64, 64],
            "encoder_hidden_dim": 64,
            "d_model": 64,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "decoder_layers": 2,
            "hidden_expansion": 0.5,
            "num_queries": 20,
            "num_denoising": 0,
            "freeze_backbone_batch_norms": False,
            "dropout": 0.0,
        },
        processor={
            "image_processor_type": "RTDetrImageProcessor",
            "size": {"height": SIDE, "width": SIDE},
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    ),
    recipe=Recipe(epochs=20, learning_rate=1e-3, batch_size=16, keep="last"),
)
MODELS = {TINY: Gate(min_score=0.5, max_drop=0.05)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_digit_boxes(case, bench):
    bench(case)
