"""Checks before the first rounds: arms that remember answers or leak memory are refused."""

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
"""Different batches of one shape, each timed when new and when just seen."""

CONFIDENCE = 0.998
"""15 of 16 pairs must agree, so that an honest arm on a noisy machine is not refused."""

SEEN_BEFORE = 1.10
"""Honest calls on rows of one shape differ by a thousandth; by this much only if work was left out."""

SEARCHED_ROUNDS = 200
"""Rounds whose batches are searched for equal shapes."""

LEAK_PARTS = 8
"""Memory readings after the first; the later half is judged, since allocators settle."""

MAX_CALLS, MIN_CALLS = 8, 2
"""Calls between two readings."""

CALLING_S = 1.0
"""Intended duration of all calls, if that many are enough."""

MAX_CALLING_S = 10.0
"""An arm whose fewest calls take longer is not checked, nor one that would be silent for half its timeout."""

LEAK_BYTES = 64 * 1024
"""Growth per call. MiniLM, a ViT, an LSTM, an EmbeddingBag and a text generator, on eight backends, each stood still in
at least one of the judged parts; the LSTM on PyTorch rose and fell by 368 KiB per call, the others rose by 34 KiB in at
most one part."""


def check_memoization(pool: WorkerPool, workload: WorkloadInputs, seed: int) -> None:
    """Time batches of one shape when new and when just seen; an arm that is too fast on seen ones leaves."""
    batches = _batches_of_one_shape(workload)
    if len(batches) < PAIRS:
        pool.measurement.unchecked.append(
            f"not checked for remembered answers: of {SEARCHED_ROUNDS} batches only {len(batches)} different ones "
            f"share a shape; the check needs {PAIRS}"
        )
        return
    for name in list(pool.workers):
        with pool.guard(name):
            _compare_repeats(pool, name, workload, batches[-PAIRS:], random.Random(f"{seed} {name}"))


def _compare_repeats(
    pool: WorkerPool, name: str, workload: WorkloadInputs, batches: Sequence[list[int]], rng: random.Random
) -> None:
    ratios = []
    for rows in batches:
        new_ns = _time_ns(pool, name, workload, rows)
        # Once or twice more: some runtimes are slower at every other call, which would look like memory if always once.
        seen_ns = [_time_ns(pool, name, workload, rows) for _ in range(rng.choice((1, 2)))]
        ratios.append(math.log(new_ns / median(seen_ns)))
    interval = median_interval(ratios, CONFIDENCE)
    if interval.low > math.log(SEEN_BEFORE):
        raise WorkerError(
            f"{name}: answers rows that it has just seen {math.exp(interval.estimate):.1f} times as fast as new rows "
            "of the same shape; it remembers answers, so its time means nothing"
        )


def _time_ns(pool: WorkerPool, name: str, workload: WorkloadInputs, rows: list[int]) -> int:
    pool.answer([name], rows, workload.arrays(rows), 1)
    if name not in pool.workers:
        raise pool.measurement.failed[name]
    return pool.last[name].elapsed_ns


def _batches_of_one_shape(workload: WorkloadInputs) -> list[list[int]]:
    """Return the largest set of different batches that share shapes and types."""
    groups: dict[tuple[Any, ...], dict[tuple[int, ...], list[int]]] = defaultdict(dict)
    for number in range(SEARCHED_ROUNDS):
        rows = workload.rows(number)
        # The type of a text array includes its length.
        shapes = tuple((array.shape, array.dtype) for array in workload.arrays(rows).values())
        groups[shapes][tuple(rows)] = rows
    return list(max(groups.values(), key=len).values())


def check_leaks(pool: WorkerPool, workload: WorkloadInputs, call_ns: Mapping[str, float], timeout_s: float) -> None:
    """Call every arm on the same rows again and again; one whose memory grows each time leaves.

    `call_ns` maps each arm to the duration of its calls.
    """
    batch = workload.arrays(workload.rows(0))
    max_s = min(MAX_CALLING_S, timeout_s / 2)
    unreadable = False
    for name in list(pool.workers):
        calls = plan_calls(call_ns[name], max_s)
        if calls == 0:
            fewest = LEAK_PARTS * MIN_CALLS
            pool.measurement.unchecked.append(
                f"{name}: not checked for a leak: {fewest} calls would take {fewest * call_ns[name] / 1e9:.0f} s, more "
                f"than {max_s:g}"
            )
            continue
        with pool.guard(name):
            pool.workers[name].put(batch)
            held = pool.workers[name].repeat(LEAK_PARTS, calls)
            unreadable = unreadable or not held
            if leaked := leaked_bytes(held, calls):
                raise WorkerError(
                    f"{name}: leaks memory: over {LEAK_PARTS * calls} calls on the same rows its worker grew from "
                    f"{held[0] / 1e6:.0f} to {held[-1] / 1e6:.0f} MB, in the end by {leaked / 1e6:.2g} MB per call"
                )
    if unreadable:
        pool.measurement.unchecked.append("not checked for leaks: this system does not report a process's own memory")


def plan_calls(call_ns: float, max_s: float) -> int:
    """Return the number of calls between two readings; 0 for an arm whose fewest calls take longer than `max_s`."""
    if LEAK_PARTS * MIN_CALLS * call_ns > max_s * 1e9:
        return 0
    return max(MIN_CALLS, min(MAX_CALLS, int(CALLING_S * 1e9 / LEAK_PARTS / call_ns)))


def leaked_bytes(held: Sequence[int], calls: int) -> float:
    """Return the growth per call over the later half of these readings, `calls` calls apart.

    0 unless each reading of that half is LEAK_BYTES per call above all before it: memory that rises and falls has
    settled.
    """
    first = len(held) // 2
    rises = [held[at] - max(held[:at]) for at in range(first + 1, len(held))]
    if not rises or min(rises) < LEAK_BYTES * calls:
        return 0.0
    return (held[-1] - held[first]) / (len(rises) * calls)
