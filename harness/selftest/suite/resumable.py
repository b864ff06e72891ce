"""Four comparisons whose workers need no torch. The self-test kills their sessions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mortal import MODELS, TASK, load  # type: ignore[import-not-found]  # copied beside this file

from harness.backends import PYTORCH
from harness.contracts.backend import Backend
from harness.measure import rounds
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, cases

COMPARISONS = 4
BEGUN = Path(__file__).with_name("begun.txt")
GATES = dict(list(MODELS.items())[:1])
# Importing torch would take the reference seconds, and any reference will do here.
object.__setattr__(PYTORCH, "load", load)
BACKENDS = [PYTORCH, Backend(name="numpy", load=load, devices=("cpu",))]
CASES = [
    case
    for number in range(COMPARISONS)
    for case in cases(replace(TASK, name=f"comparison-{number}"), GATES, BACKENDS)
]  # fmt: skip

_measure = rounds.measure


def counted(arms: Any, *others: Any) -> Any:
    """Measure, and note the task first: a killed session leaves no result that names it."""
    with BEGUN.open("a") as file:
        file.write(f"{arms[0].artifact.parent.parent.name}\n")
    return _measure(arms, *others)


rounds.measure = counted  # type: ignore[assignment]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_resumable(case: Case, bench: Bench) -> None:
    """Meet a gate that every honest run passes."""
    bench(case)
