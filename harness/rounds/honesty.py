"""Whether an arm computes what it answers: one that remembers is faster on rows it has seen than on new ones."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from harness.errors import WorkerError
from harness.rounds.crew import Crew
from harness.rounds.samples import Load
from harness.statistics.stats import median_interval

PAIRS = 16
CONFIDENCE = 0.998
"""15 of 16 pairs must show it: an honest arm on a noisy machine is not refused."""
SEEN_BEFORE = 1.10
"""Honest calls of rows of one shape differ by a thousandth; by this much only if work was left out."""
SEARCHED = 200
"""Rounds whose batches are looked through for equal shapes."""


def probe(crew: Crew, load: Load, seed: int) -> None:
    """Time batches of one shape when new and when just seen; an arm that is too fast at the latter leaves."""
    alike = _alike(load)
    if len(alike) < PAIRS:
        crew.found.unprobed.append(
            f"not checked for remembered answers: of {SEARCHED} batches only {len(alike)} different ones share a "
            f"shape, and it takes {PAIRS}"
        )
        return
    for name in list(crew.workers):
        with crew.guard(name):
            _probe(crew, name, load, alike[-PAIRS:], random.Random(f"{seed} {name}"))


def _probe(crew: Crew, name: str, load: Load, batches: Sequence[list[int]], dice: random.Random) -> None:
    ratios = []
    for rows in batches:
        new_ns = _time_ns(crew, name, load, rows)
        # Once or twice more: some runtimes are slower at every other call, which a strict turn would take for memory.
        seen_ns = [_time_ns(crew, name, load, rows) for _ in range(dice.choice((1, 2)))]
        ratios.append(math.log(new_ns / median(seen_ns)))
    found = median_interval(ratios, CONFIDENCE)
    if found.low > math.log(SEEN_BEFORE):
        raise WorkerError(
            f"{name}: answers rows that it has just seen {math.exp(found.estimate):.1f} times as fast as new ones of "
            "the same shape; it remembers answers, so its time says nothing"
        )


def _time_ns(crew: Crew, name: str, load: Load, rows: list[int]) -> int:
    crew.answer([name], rows, load.arrays(rows), 1)
    if name not in crew.workers:
        raise crew.found.failed[name]
    answer = crew.last[name]
    return answer.ended_ns - answer.began_ns


def _alike(load: Load) -> list[list[int]]:
    """The largest set of different batches of one shape."""
    groups: dict[tuple[Any, ...], dict[tuple[int, ...], list[int]]] = defaultdict(dict)
    for number in range(SEARCHED):
        rows = load.rows(number)
        # A text's length is part of its type.
        shapes = tuple((array.shape, array.dtype) for array in load.arrays(rows).values())
        groups[shapes][tuple(rows)] = rows
    return list(max(groups.values(), key=len).values())
