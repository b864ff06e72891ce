"""scikit-learn's digits: which digit is on the 8 x 8 scan?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contracts.sources import Package, Scratch
from harness.kinds import image_classification
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases


def scans(file: Path) -> Iterator[dict[str, Any]]:
    """One line a scan: 64 grey values from 0 to 16, then the digit."""
    for line in np.loadtxt(file, delimiter=",", dtype=np.int64):
        yield {"image": (line[:64].reshape(8, 8) * 255 // 16).astype(np.uint8), "digit": str(line[64])}


TASK = Task(
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
    test=700,
    validation=100,
    calibration=97,
)
TINY_VIT = Model(
    name="tiny-ViT",
    source=Scratch(
        config={
            "model_type": "vit",
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "hidden_dropout_prob": 0.1,
            "image_size": 8,
            "patch_size": 2,
            "num_channels": 1,
        },
        processor={
            "image_processor_type": "ViTImageProcessor",
            "do_resize": False,
            "image_mean": [0.5],
            "image_std": [0.5],
        },
    ),
    recipe=Recipe(
        epochs=60,
        learning_rate=1e-3,
        batch_size=32,
        weight_decay=0.05,
        # From random weights the last epoch is the best one; 100 rows are too few to choose an earlier one by.
        keep="last",
    ),
)
# From 10 seeds, as `python -m harness floors` proposes: 0.951 to 0.973 were reached.
MODELS = {TINY_VIT: Gate(min_score=0.93, max_drop=0.01)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_digits(case: Case, bench: Bench) -> None:
    bench(case)
