"""scikit-learn's digits: which digit is on the 8 x 8 scan?"""

import pytest
from scans import scans, scikit_digits

from harness import Gate, Model, Recipe, Scratch, Task, cases

TASK = Task(
    name="digits",
    kind="image-classification",
    dataset=scikit_digits(scans),
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
        epochs=40,
        learning_rate=2e-3,
        batch_size=64,
        weight_decay=0.05,
        # From random weights the last epoch is the best; 100 validation rows are too few to choose an earlier one.
        keep="last",
    ),
)
# As `shipbench gates` proposes: with 10 seeds it scored 0.941 to 0.960.
MODELS = {TINY_VIT: Gate(min_score=0.925, max_drop=0.01)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_digits(case, bench):
    bench(case)
