"""scikit-learn's digits laid out on canvases: where are they?

One label: in the same time from random weights, ten labels are found as well but not told apart.
A scan stands on several canvases, of any part: the score says nothing about new handwriting.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_digits import scans

from harness import Gate, Model, Package, Recipe, Scratch, Task, cases

pytest.importorskip("pycocotools", reason='needs pycocotools: pip install -e ".[full]"')
pytestmark = pytest.mark.full

CANVASES, SIDE, SCALE = 1_500, 64, 2
INK = 32
"""Grey value from which a pixel belongs to a digit."""


def canvases(file: Path) -> Iterator[dict[str, Any]]:
    """Yield one row a canvas: one to three digits that do not overlap, each with the box around its ink."""
    digits = [row["image"].repeat(SCALE, 0).repeat(SCALE, 1) for row in scans(file)]
    rng = np.random.default_rng(0)
    for _ in range(CANVASES):
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        objects: dict[str, list[Any]] = {"bbox": [], "category": []}
        for _ in range(rng.integers(1, 4)):
            image = digits[rng.integers(len(digits))]
            y, x = rng.integers(0, SIDE - len(image), 2)
            place = canvas[y : y + len(image), x : x + len(image)]
            if not place.any():
                place[:] = image
                rows, columns = np.nonzero(image >= INK)
                corner = [x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1]
                objects["bbox"].append([int(number) for number in corner])
                objects["category"].append("digit")
        yield {"image": canvas, "objects": objects}


TASK = Task(
    name="digit-boxes",
    kind="object-detection",
    dataset=Package(
        "scikit-learn",
        "sklearn/datasets/data/digits.csv.gz",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        read=canvases,
    ),
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
