"""What the harness adds to what it times: nothing in the parent, next to nothing in a worker."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.contracts import Target
from harness.environment import usable_cores
from harness.machine import machine_lock
from harness.process import Worker, environment
from harness.selftest import toys
from harness.selftest.figures import (
    BARE_BLOCKS,
    BARE_CALLS,
    BARE_STARTS,
    BARE_TOLERANCE,
    LONG_BLOCKS,
    LONG_CALLS,
    OVERHEAD_BLOCKS,
    OVERHEAD_PAIRS,
    PARENT_CPU_SHARE,
    POLL_S,
    SEED,
)
from harness.selftest.measuring import INPUT, TIMEOUT_S
from harness.selftest.part import Figure, Given, Part
from harness.stats import Interval, median_interval

SHORT_MS, LONG_MS = "10", "30"
"""Two lengths of a call: what they differ by is time inside windows and nothing else."""


class Calls(NamedTuple):
    """What both arms of the bare loop do, and how often."""

    size: int
    """Of the product that they compute."""
    threads: int
    blocks: int
    each: int


SHORT = Calls(700, 1, BARE_BLOCKS, BARE_CALLS)
"""About 4 ms on a core."""
LONG = Calls(2_000, usable_cores(), LONG_BLOCKS, LONG_CALLS)
"""As long as MiniLM's on two cores: a shorter call is over before the scheduler gives its core to a busy parent."""


def run(given: Given) -> Iterator[Figure]:
    """The parent's processor time, then a worker's slowest tenth beside a bare loop's."""
    shares, whole = _parent_shares()
    yield _quiet("parent's share of CPU inside windows under 1 %", shares, f"; over whole rounds {100 * whole:.2f} %")
    with _polling(None):
        shares, _ = _parent_shares()
    yield _caught("a parent that busy-waits is caught", shares)
    with _polling(POLL_S):
        shares, _ = _parent_shares()
    yield _caught(f"a parent that polls {1 / POLL_S:.0f} times a second is caught", shares)
    found = [_p90_ratio(start, SHORT) for start in range(BARE_STARTS)]
    within = [-math.log(BARE_TOLERANCE) <= one.low and one.high <= math.log(BARE_TOLERANCE) for one in found]
    n = BARE_STARTS
    yield Figure(label="worker's p90 within 5 % of a bare loop's", k=sum(within), n=n, at_least=n, note=_ratios(found))
    found = [_p90_ratio(start, LONG, polling=True) for start in range(BARE_STARTS)]
    slower = [one.low > math.log(BARE_TOLERANCE) for one in found]
    yield Figure(
        label="with a parent that busy-waits, p90 beyond 5 %",
        k=sum(slower),
        n=n,
        at_least=n,
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


@contextmanager
def _polling(pause_s: float | None) -> Iterator[None]:
    """The safety switched off: this process asks again and again, or without a pause, instead of sleeping."""
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            if pause_s is not None:
                time.sleep(pause_s)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _p90_ratio(start: int, calls: Calls, *, polling: bool = False) -> Interval:
    """Log-ratio of a fresh worker's p90 to a fresh bare process's, paired by blocks in random order."""
    dice = random.Random(f"{SEED} bare {start}")
    ratios = []
    with machine_lock(), ExitStack() as stack:
        worker = stack.enter_context(
            Worker(toys.toy("working", toys.working), Path(str(calls.size)), Target("cpu", calls.threads), TIMEOUT_S)
        )
        bare = stack.enter_context(_bare(calls))
        for block in range(calls.blocks + 1):
            found: dict[str, list[int]] = {"worker": [], "bare": []}
            for _ in range(calls.each):
                for arm in dice.sample(("worker", "bare"), 2):
                    found[arm].append(_bare_ns(bare) if arm == "bare" else _worker_ns(worker, polling=polling))
            if block:  # the first one warms up
                p90 = {arm: float(np.percentile(spent, 90)) for arm, spent in found.items()}
                ratios.append(math.log(p90["worker"] / p90["bare"]))
    return median_interval(ratios)


def _worker_ns(worker: Worker, *, polling: bool) -> int:
    worker.put(INPUT)
    with _polling(None) if polling else ExitStack():
        answer = worker.run()
    return answer.ended_ns - answer.began_ns


@contextmanager
def _bare(calls: Calls) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "harness.selftest.bare", str(calls.size)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(calls.threads), text=True, stdin=pipe, stdout=pipe) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _bare_ns(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    said = ""
    for _ in ("awake?", "go"):
        process.stdin.write("\n")
        process.stdin.flush()
        said = process.stdout.readline()
    return int(said)


def _ratios(found: list[Interval]) -> str:
    return ", ".join(
        f"{math.exp(one.estimate):.3f} [{math.exp(one.low):.3f}, {math.exp(one.high):.3f}]" for one in found
    )


PART = Part(
    name="overhead",
    claim="the parent uses under 1 % CPU inside windows; a worker's p90 lies within 5 % of a bare loop's",
    run=run,
)
