"""Two tasks of the same rows, each with two native models, a backend of the suite's own, and so finals."""

from dataclasses import replace

import pytest
from own import NUMPY
from passing import BAG, MODELS
from toydata import TASK

from harness.backends import PYTORCH
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, cases

TWO = MODELS | {replace(BAG, name="sack"): MODELS[BAG]}
TASKS = [replace(TASK, name=name) for name in ("left", "right")]


@pytest.mark.parametrize("case", [c for task in TASKS for c in cases(task, TWO, [PYTORCH, NUMPY])], ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
