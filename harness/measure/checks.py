"""Whether an arm computes what it answers: one that remembers is faster on rows it has seen than on new ones.

ALSO: Whether an arm keeps memory for every answer: its worker would run out of it."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from harness.errors import WorkerError
from harness.measure.samples import WorkloadInputs
from harness.measure.worker_pool import WorkerPool
from harness.stats.intervals import median_interval

PAIRS = 16

CONFIDENCE = 0.998
"""15 of 16 pairs must show it: an honest arm on a noisy machine is not refused."""

SEEN_BEFORE = 1.10
"""Honest calls of rows of one shape differ by a thousandth; by this much only if work was left out."""

SEARCHED = 200
"""Rounds whose batches are looked through for equal shapes."""


def check_memoization(crew: WorkerPool, load: WorkloadInputs, seed: int) -> None:
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


def _probe(
    crew: WorkerPool, name: str, load: WorkloadInputs, batches: Sequence[list[int]], dice: random.Random
) -> None:
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


def _time_ns(crew: WorkerPool, name: str, load: WorkloadInputs, rows: list[int]) -> int:
    crew.answer([name], rows, load.arrays(rows), 1)
    if name not in crew.workers:
        raise crew.found.failed[name]
    answer = crew.last[name]
    return answer.ended_ns - answer.began_ns


def _alike(load: WorkloadInputs) -> list[list[int]]:
    """The largest set of different batches of one shape."""
    groups: dict[tuple[Any, ...], dict[tuple[int, ...], list[int]]] = defaultdict(dict)
    for number in range(SEARCHED):
        rows = load.rows(number)
        # A text's length is part of its type.
        shapes = tuple((array.shape, array.dtype) for array in load.arrays(rows).values())
        groups[shapes][tuple(rows)] = rows
    return list(max(groups.values(), key=len).values())


LEAK_PARTS = 8
"""Readings after the first; the later half of them is judged, for allocators settle."""

MOST_CALLS_A_PART, FEWEST_CALLS_A_PART = 8, 2
"""Calls in each part."""

ANSWERING_S = 1.0
"""The calls of all parts last about so long, where so few are enough."""

LONGEST_S = 10.0
"""An arm that needs more for the fewest calls is not looked at; nor one that would be silent for half its timeout."""

LEAK_BYTES = 64 * 1024
"""A call. Of MiniLM, a ViT, an LSTM, a bag and a writer, on eight backends, every one stood still in one of the judged
parts at least; the LSTM on PyTorch went up and down by 368 KiB a call, the others rose by 34 in one part at most."""


def check_leaks(crew: WorkerPool, load: WorkloadInputs, call_ns: Mapping[str, float], timeout_s: float) -> None:
    """Ask every arm, which took so long for a call, the same rows again and again; one that grows each time leaves."""
    batch = load.arrays(load.rows(0))
    longest_s = min(LONGEST_S, timeout_s / 2)
    silent = False
    for name in list(crew.workers):
        calls = planned(call_ns[name], longest_s)
        if calls == 0:
            crew.found.unprobed.append(
                f"{name}: not checked for a leak: {LEAK_PARTS * FEWEST_CALLS_A_PART} calls would take "
                f"{LEAK_PARTS * FEWEST_CALLS_A_PART * call_ns[name] / 1e9:.0f} s, more than {longest_s:g}"
            )
            continue
        with crew.guard(name):
            crew.workers[name].put(batch)
            held = crew.workers[name].repeat(LEAK_PARTS, calls)
            silent = silent or not held
            _check(name, held, calls)
    if silent:
        crew.found.unprobed.append("not checked for leaks: this system does not tell what memory a process holds")


def planned(call_ns: float, longest_s: float) -> int:
    """Calls in each part; none for an arm that needs longer for the fewest."""
    if LEAK_PARTS * FEWEST_CALLS_A_PART * call_ns > longest_s * 1e9:
        return 0
    return max(FEWEST_CALLS_A_PART, min(MOST_CALLS_A_PART, int(ANSWERING_S * 1e9 / LEAK_PARTS / call_ns)))


def leaked(held: Sequence[int], calls: int) -> float:
    """Bytes a call by which a process grew over the later half of these readings, with so many calls between two.

    0 unless each reading of that half is above all before it by LEAK_BYTES a call: what goes up and down has settled.
    """
    first = len(held) // 2
    rises = [held[at] - max(held[:at]) for at in range(first + 1, len(held))]
    if not rises or min(rises) < LEAK_BYTES * calls:
        return 0.0
    return (held[-1] - held[first]) / (len(rises) * calls)


def _check(name: str, held: Sequence[int], calls: int) -> None:
    """WorkerError for readings that grow."""
    grown = leaked(held, calls)
    if grown:
        raise WorkerError(
            f"{name}: it leaks memory: asked the same rows {LEAK_PARTS * calls} times, its worker grew from "
            f"{held[0] / 1e6:.0f} to {held[-1] / 1e6:.0f} MB, at last by {grown / 1e6:.2g} MB a call"
        )
