"""A suite of models that the seed makes or breaks."""

from dataclasses import replace

import pytest
from own import NUMPY
from toydata import TASK

from harness.backends import PYTORCH
from harness.contracts.sources import Native
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, cases

MOODY = Model(
    name="moody",
    source=Native("moody.py:Moody"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=64,
)
DULL = replace(MOODY, name="dull", recipe=replace(MOODY.recipe, seed=3))
object.__setattr__(PYTORCH, "load", NUMPY.load)  # no worker of this suite needs seconds to import torch
MODELS = {MOODY: Gate(min_score=0.9, max_drop=0.1), DULL: Gate(min_score=0.8, max_drop=0.1)}


@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, NUMPY]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
