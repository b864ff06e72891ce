"""Beans: is the leaf healthy, and if not, which disease has it? Needs the Hub."""

import pytest

from harness import Gate, Hub, Model, Recipe, Task, cases

TASK = Task(
    name="beans",
    kind="image-classification",
    dataset=Hub("AI-Lab-Makerere/beans", revision="27aa014ce09b193e1a6f58112d4a66e0eddb69c5"),
    inputs=("image",),
    label="labels",
    metric="accuracy",
    calibration=100,
)
VIT = Model(
    name="vit-base-patch16-224-in21k",
    source=Hub("google/vit-base-patch16-224-in21k", revision="b4569560a39a0f1af58e3ddaf17facf20ab919b0"),
    recipe=Recipe(epochs=4, learning_rate=2e-4, batch_size=8),
)
# Provisional, not run here yet: this recipe is published with 0.9609, and 128 rows prove no drop under 2.4 points.
MODELS = {VIT: Gate(min_score=0.9, max_drop=0.025)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_beans(case, bench):
    bench(case)
