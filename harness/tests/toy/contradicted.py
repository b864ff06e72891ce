"""A suite of backends most of which go wrong."""

import pytest
from contrary import BACKENDS
from toydata import TASK

from harness.contracts.sources import Native
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, cases

BAG = Model(
    name="bag",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=64,
)
GATE = Gate(min_score=0.9, max_drop=0.1)


@pytest.mark.parametrize("case", cases(TASK, {BAG: GATE}, BACKENDS), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
