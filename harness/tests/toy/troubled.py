"""A suite in which much goes wrong, and some things do not."""

import pytest
import trouble
from needy import NEEDY
from own import NUMPY
from toydata import TASK

from harness.backends import PYTORCH
from harness.contracts.sources import Native
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, cases

BAG = Model(
    name="bag",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=64,
)
DIVERGING = Model(
    name="diverging",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", learning_rate=1e30, batch_size=16),
)
ASLEEP = Model(
    name="asleep",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", learning_rate=1e-12, batch_size=16),
)
object.__setattr__(PYTORCH, "load", NUMPY.load)  # no worker of this suite needs seconds to import torch
GATE = Gate(min_score=0.9, max_drop=0.1)
BACKENDS = [
    PYTORCH,
    NUMPY,
    NEEDY,
    trouble.KILLED,
    trouble.KILLED_LATER,
    trouble.HANGING,
    trouble.RAISING,
    trouble.ELSEWHERE,
    trouble.UNDEFINED,
    trouble.UNBUILT,
    trouble.BIASED,
    # What is built from a broken export comes before it, as pytest-randomly may have it.
    trouble.SHIFTED_INT8,
    trouble.SHIFTED_INT4,
    trouble.SHIFTED,
]
CASES = cases(TASK, {BAG: GATE}, BACKENDS) + cases(TASK, {DIVERGING: GATE, ASLEEP: GATE}, [PYTORCH, NUMPY])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
