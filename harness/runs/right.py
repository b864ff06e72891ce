"""Whether the rows that are right have changed between stored runs and today's: a pure function of both, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

from harness.runs.drift import Word
from harness.statistics.stats import Interval, rows_lost


@dataclass(frozen=True)
class Change:
    """What happened to the rows that are right."""

    gained: Interval
    """Share of all rows, against the stored run that differs least; each end a one-sided 95 % bound."""
    word: Word
    why: str


def change(stored: Collection[str], today: Collection[str], allowed: float) -> Change:
    """Hold today's answers against stored ones, each a 1 or 0 a row, of the same rows; neither may be empty.

    A change of more than the share `allowed` is proven against every stored run's answers: a lucky run is no measure.
    """
    word: Word = "undecided"
    why = f"these rows neither prove a change beyond {100 * allowed:g} points nor exclude it"
    lost = [_lost(one, other) for one, other in product(stored, today)]
    if all(found.low > allowed for found in lost):
        word, why = "regressed", f"more than the {100 * allowed:g} points allowed"
    elif all(found.high < -allowed for found in lost):
        word, why = "improved", f"by more than {100 * allowed:g} points"
    elif all(-allowed <= found.low and found.high <= allowed for found in lost):
        word, why = "unchanged", f"a change beyond {100 * allowed:g} points is excluded"
    least = min(lost, key=lambda found: (abs(found.estimate), found.low))
    return Change(Interval(0.0 - least.estimate, 0.0 - least.high, 0.0 - least.low), word, why)


def _lost(stored: str, today: str) -> Interval:
    pairs = Counter(zip(stored, today, strict=True))
    return rows_lost(pairs["1", "0"], pairs["0", "1"], len(stored))
