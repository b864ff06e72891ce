"""Two tasks of the same rows, each with a native model and a backend of the suite's own."""

from dataclasses import replace

import pytest
from own import NUMPY
from passing import MODELS
from toydata import TASK

from harness.backends import PYTORCH
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, cases

CASES = [case for name in ("left", "right") for case in cases(replace(TASK, name=name), MODELS, [PYTORCH, NUMPY])]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
