"""What the harness adds to what it times: nothing in the parent, next to nothing in a worker."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.contracts import Target
from harness.selftest import toys
from harness.selftest.bare_loop import LONG, SHORT, p90_ratios
from harness.selftest.figures import (
    BARE_STARTS,
    BARE_TOLERANCE,
    LONG_STARTS,
    OVERHEAD_BLOCKS,
    OVERHEAD_PAIRS,
    PARENT_CPU_SHARE,
    POLL_S,
)
from harness.selftest.measuring import INPUT, TIMEOUT_S, polling_parent
from harness.selftest.part import Figure, Given, Part
from harness.statistics.starts import starts_interval
from harness.statistics.stats import Interval, median_interval
from harness.workers.process import Worker

SHORT_MS, LONG_MS = "10", "30"
"""Two lengths of a call: what they differ by is time inside windows and nothing else."""


def run(given: Given) -> Iterator[Figure]:
    """The parent's processor time, then a worker's slowest tenth beside a bare loop's."""
    shares, whole = _parent_shares()
    yield _quiet("parent's share of CPU inside windows under 1 %", shares, f"; over whole rounds {100 * whole:.2f} %")
    with polling_parent(None):
        shares, _ = _parent_shares()
    yield _caught("a parent that busy-waits is caught", shares)
    with polling_parent(POLL_S):
        shares, _ = _parent_shares()
    yield _caught(f"a parent that polls {1 / POLL_S:.0f} times a second is caught", shares)
    slowest = starts_interval([p90_ratios(start, SHORT) for start in range(BARE_STARTS)], [])
    within = -math.log(BARE_TOLERANCE) <= slowest.low and slowest.high <= math.log(BARE_TOLERANCE)
    note = f"{_ratios([slowest])} over {BARE_STARTS} fresh pairs"
    yield Figure(label="worker's p90 within 5 % of a bare loop's", k=int(within), n=1, at_least=1, note=note)
    found = [median_interval(p90_ratios(start, LONG, polling=True)) for start in range(LONG_STARTS)]
    slower = [one.low > math.log(BARE_TOLERANCE) for one in found]
    yield Figure(
        label="with a parent that busy-waits, p90 beyond 5 %",
        k=sum(slower),
        n=LONG_STARTS,
        at_least=LONG_STARTS,
        control=True,
        note=_ratios(found),
    )


def _quiet(label: str, shares: list[float], also: str) -> Figure:
    quiet = sum(share < PARENT_CPU_SHARE for share in shares)
    note = f"median {100 * np.median(shares):.2f} %, largest {100 * max(shares):.2f} %{also}"
    return Figure(label=label, k=quiet, n=len(shares), at_least=len(shares), note=note)


def _caught(label: str, shares: list[float]) -> Figure:
    caught = sum(share >= PARENT_CPU_SHARE for share in shares)
    note = f"median {100 * np.median(shares):.2f} %, smallest {100 * min(shares):.2f} %"
    return Figure(label=label, k=caught, n=len(shares), at_least=len(shares), control=True, note=note)


def _parent_shares() -> tuple[list[float], float]:
    """By block, this process's CPU time in a second of windows; and its share of whole rounds of short calls.

    The first is what a longer call costs the parent beyond a shorter one: handing over and reading back, which lie
    outside windows, cost both the same.
    """
    target = Target("cpu", 1)
    toy = toys.toy("sleeping", toys.sleeping)
    blocks: list[float] = []
    whole: list[float] = []
    with Worker(toy, Path(SHORT_MS), target, TIMEOUT_S) as short, Worker(toy, Path(LONG_MS), target, TIMEOUT_S) as long:
        for _ in range(OVERHEAD_BLOCKS):
            pairs = [(_cost(short), _cost(long)) for _ in range(OVERHEAD_PAIRS)]
            more = [(lc - sc) / (lw - sw) for (sc, sw), (lc, lw) in pairs]
            whole += [cpu / window for (cpu, window), _ in pairs]
            blocks.append(float(np.median(more)))
    return blocks, float(np.median(whole))


def _cost(worker: Worker) -> tuple[int, int]:
    """(this process's CPU time, the worker's window) of one call, in ns."""
    worker.put(INPUT)
    began = time.process_time_ns()
    answer = worker.run()
    return time.process_time_ns() - began, answer.ended_ns - answer.began_ns


def _ratios(found: list[Interval]) -> str:
    return ", ".join(
        f"{math.exp(one.estimate):.3f} [{math.exp(one.low):.3f}, {math.exp(one.high):.3f}]" for one in found
    )


PART = Part(
    name="overhead",
    claim="the parent uses under 1 % CPU inside windows; a worker's p90 lies within 5 % of a bare loop's",
    run=run,
)
