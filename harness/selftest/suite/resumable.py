"""A suite of four comparisons without torch in their workers, quick to run, whose sessions the self-test kills."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mortal import MODELS, TASK, load  # type: ignore[import-not-found]  # lies beside this in a session

from harness import PYTORCH, Backend, Bench, Case, cases
from harness.rounds import measure

COMPARISONS = 4
BEGUN = Path(__file__).with_name("begun.txt")
GATES = dict(list(MODELS.items())[:1])
# The reference takes seconds to import torch, and what is shown here needs no particular reference.
object.__setattr__(PYTORCH, "load", load)
BACKENDS = [PYTORCH, Backend(name="numpy", load=load, devices=("cpu",))]
CASES = [
    case
    for number in range(COMPARISONS)
    for case in cases(replace(TASK, name=f"comparison-{number}"), GATES, BACKENDS)
]  # fmt: skip

_measure = measure.measure


def counted(arms: Any, *others: Any) -> Any:
    """Rounds, of which it is noted for which task they were begun: no result tells of those that were killed."""
    with BEGUN.open("a") as file:
        file.write(f"{arms[0].artifact.parent.parent.name}\n")
    return _measure(arms, *others)


measure.measure = counted  # type: ignore[assignment]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_resumable(case: Case, bench: Bench) -> None:
    """Meets a gate that no honest run fails."""
    bench(case).meets(GATES[case.model])
