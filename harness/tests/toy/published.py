"""Models worth publishing: a native one of texts, some of them too long, and a tiny ViT from random weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toydata import TASK

from harness.backends import ONNXRUNTIME, ONNXRUNTIME_INT8, PYTORCH
from harness.contracts.sources import Native, Package, Scratch
from harness.kinds import image_classification
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases


def scans(file: Path) -> Iterator[dict[str, Any]]:
    for line in np.loadtxt(file, delimiter=",", dtype=np.int64):
        yield {"image": (line[:64].reshape(8, 8) * 255 // 16).astype(np.uint8), "digit": f"a {line[64]}"}


DIGITS = Task(
    name="digits",
    kind=image_classification,
    dataset=Package(
        "scikit-learn",
        "sklearn/datasets/data/digits.csv.gz",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        read=scans,
    ),
    inputs=("image",),
    label="digit",
    metric="accuracy",
    test=300,
    validation=60,
    calibration=60,
)
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
VIT = Model(
    name="vit",
    source=Scratch(
        config={"model_type": "vit", **TINY, "image_size": 8, "patch_size": 2, "num_channels": 1},
        processor={
            "image_processor_type": "ViTImageProcessor",
            "do_resize": False,
            "image_mean": [0.5],
            "image_std": [0.5],
        },
    ),
    recipe=Recipe(epochs=6, learning_rate=3e-3, batch_size=32, keep="last"),
)
BAG = Model(
    name="bag",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=16,
)
BACKENDS = [PYTORCH, ONNXRUNTIME, ONNXRUNTIME_INT8]
GATE = Gate(min_score=0.1, max_drop=0.3)
CASES = cases(TASK, {BAG: GATE}, BACKENDS) + cases(DIGITS, {VIT: GATE}, BACKENDS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
