"""MRPC: do two sentences say the same? Needs the Hub."""

import pytest

from harness.contracts.sources import Hub
from harness.kinds import text_classification
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases

TASK = Task(
    name="mrpc",
    kind=text_classification,
    dataset=Hub("nyu-mll/glue", "mrpc", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"),
    inputs=("sentence1", "sentence2"),
    label="label",
    metric="accuracy",
    also=("f1",),
    test=None,
    validation=None,
    calibration=120,
)
DISTILROBERTA = Model(
    name="distilroberta-base",
    source=Hub("distilbert/distilroberta-base", revision="fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b"),
    recipe=Recipe(epochs=3, learning_rate=5e-5, batch_size=16),
)
# Provisional, not run here yet: on GLUE's test rows 0.866 is published.
MODELS = {DISTILROBERTA: Gate(min_score=0.8, max_drop=0.01)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_mrpc(case: Case, bench: Bench) -> None:
    bench(case)
