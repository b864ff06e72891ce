"""MRPC: do two sentences mean the same? Needs the Hub."""

import pytest

from harness import Gate, Hub, Model, Recipe, Task, cases

TASK = Task(
    name="mrpc",
    kind="text-classification",
    dataset=Hub("nyu-mll/glue", "mrpc", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"),
    inputs=("sentence1", "sentence2"),
    label="label",
    metric="accuracy",
    also=("f1",),
    calibration=120,
)
DISTILROBERTA = Model(
    name="distilroberta-base",
    source=Hub("distilbert/distilroberta-base", revision="fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b"),
    recipe=Recipe(epochs=3, learning_rate=5e-5, batch_size=16),
)
# Provisional, not run here yet: 0.866 is published for GLUE's test rows.
MODELS = {DISTILROBERTA: Gate(min_score=0.8, max_drop=0.01)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_mrpc(case, bench):
    bench(case)
