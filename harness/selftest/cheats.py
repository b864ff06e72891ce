"""An arm that does not do the work it is timed for is refused by the rounds of every session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from harness.accuracy.answers import Scored
from harness.accuracy.parity import check_timed
from harness.contracts import CONTROL, REFERENCE, Arrays, Session, Target
from harness.dataset.inputs import split_rows
from harness.rounds.crew import Check
from harness.rounds.honesty import PAIRS
from harness.rounds.measure import measure
from harness.rounds.samples import Arm, Load, Settings
from harness.selftest import cheating
from harness.selftest.figures import CHEAT_ROUNDS, CHEATS
from harness.selftest.part import Figure, Given, Part
from harness.selftest.toys import toy

LOADS: dict[str, Callable[[Path, Target], Session]] = {
    REFERENCE: cheating.honest,
    CONTROL: cheating.honest,
    "honest": cheating.honest,
    "early return": cheating.early,
    "cached answer": cheating.cached,
    "stale output": cheating.stale,
}
CHEATING = ("early return", "cached answer", "stale output")
STARTS = 2
TIMEOUT_S = 60.0
ROWS = 4 * PAIRS
"""Enough of one shape for the probe; with as few as ONE, it says that it could not look."""
ONE = 4


def run(given: Given) -> Iterator[Figure]:
    """All cheats in one measurement, beside an honest arm; then the same with every check off."""
    refused, notes = _measured(given, ROWS, partial(_check, _scored()))
    told = "; ".join(f"{name}: {' '.join(text.split())}" for name, text in refused.items())
    caught = [name for name in CHEATING if name in refused]
    yield Figure(label="cheating arms refused", k=len(caught), n=CHEATS, at_least=CHEATS, note=told)
    honest = [name for name in LOADS if name not in (REFERENCE, *CHEATING)]
    accepted = [name for name in honest if name not in refused]
    yield Figure(label="honest arms accepted", k=len(accepted), n=len(honest), at_least=len(honest))
    refused, notes = _measured(given, ONE, lambda name, rows, outputs: None)
    passing = [name for name in CHEATING if name not in refused]
    yield Figure(
        label="answers unchecked, batches too few to probe: cheating arms accepted",
        k=len(passing),
        n=CHEATS,
        at_least=CHEATS,
        control=True,
        note="; ".join(notes),
    )


def _measured(given: Given, rows: int, check: Check) -> tuple[dict[str, str], list[str]]:
    """(arm → why it was refused, what could not be checked)."""
    found = measure(
        [Arm(name, toy(name.replace(" ", "-"), load), Path("any")) for name, load in LOADS.items()],
        [Load(1, 0, lambda number: [number % rows], _arrays)],
        Settings(Target("cpu", 1), starts=STARTS, looks=(STARTS * CHEAT_ROUNDS,), timeout_s=TIMEOUT_S),
        check,
        lambda samples: False,
        given.progress,
    )
    return {name: str(error) for name, error in found.failed.items()}, found.unprobed


def _arrays(rows: list[int]) -> Arrays:
    return {"x": np.array(rows, dtype=np.float32)[:, None] + 1}


def _scored() -> Scored:
    """What an honest arm answered when it was scored."""
    every = cheating.answer(_arrays(list(range(ROWS))))
    return Scored(single=split_rows(every, [1] * ROWS), padded=[], predictions=[], score=None, others={})


def _check(scored: Scored, name: str, rows: list[int], outputs: Arrays) -> None:
    """As a session checks."""
    check_timed(name, scored, rows, outputs)


PART = Part(
    name="cheats",
    claim=f"an early return, a cached answer and a stale output are refused, {CHEATS} of {CHEATS}",
    run=run,
)
