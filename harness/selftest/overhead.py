"""The cost of the harness inside timed calls: the parent's processor time, and a worker against a bare loop."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from harness.contracts.backend import Backend, Target
from harness.measure.client import Worker, machine_lock, worker_environment
from harness.selftest import figures, toys
from harness.selftest.figures import SEED, WORKER_TIMEOUT_S, Figure, Workspace, count, part
from harness.selftest.toys import INPUT
from harness.stats.intervals import Interval, median_interval
from harness.stats.speedup import launch_interval
from harness.util.machine import usable_cores

SHORT_MS, LONG_MS = Path("10"), Path("30")
"""Two lengths of a call, which differ by time inside windows alone."""


class Calls(NamedTuple):
    """Products of matrices, computed by a worker and by a bare process."""

    size: int
    threads: int
    blocks: int
    each: int
    """Calls of each block and arm."""


SHORT = Calls(700, 1, figures.BARE_BLOCKS, figures.BARE_CALLS)
"""About 4 ms on a core."""
LONG = Calls(2_000, usable_cores(), figures.LONG_BLOCKS, figures.LONG_CALLS)
"""As long as MiniLM's on two cores. A shorter call ends before the scheduler gives its core to a busy parent."""


@part("overhead", "the parent uses under 1 % CPU inside windows; a worker's p90 lies within 5 % of a bare loop's")
def overhead(workspace: Workspace) -> Iterator[Figure]:
    """Measure the parent's processor time, then a worker's p90 against a bare loop's."""
    shares = _parent_shares()
    quiet = (share < figures.PARENT_CPU_SHARE for share in shares)
    yield count("parent's share of CPU inside windows under 1 %", quiet, note=_percent(shares))
    for verb, pause_s in (("busy-waits", None), (f"polls {1 / figures.POLL_S:.0f} times a second", figures.POLL_S)):
        with _polling_parent(pause_s):
            shares = _parent_shares()
        caught = (share >= figures.PARENT_CPU_SHARE for share in shares)
        yield count(f"a parent that {verb} is caught", caught, control=True, note=_percent(shares))
    tolerance = math.log(figures.BARE_TOLERANCE)
    p90 = launch_interval([_p90_ratios(launch, SHORT) for launch in range(figures.BARE_LAUNCHES)], [])
    within = [p90.low >= -tolerance and p90.high <= tolerance]
    yield count("worker's p90 within 5 % of a bare loop's", within, note=ratio(p90))
    intervals = [median_interval(_p90_ratios(launch, LONG, polling=True)) for launch in range(figures.LONG_LAUNCHES)]
    slower = (interval.low > tolerance for interval in intervals)
    note = ", ".join(map(ratio, intervals))
    yield count("with a parent that busy-waits, p90 beyond 5 %", slower, control=True, note=note)


def _parent_shares() -> list[float]:
    """Return this process's CPU time per second of windows, by block: the cost of a longer call beyond a shorter one's.

    Handing over and reading back, which lie outside windows, cost both the same.
    """
    toy, target = Backend(name="sleeping", load=toys.sleeping), Target("cpu", 1)
    shares = []
    with (
        Worker(toy, SHORT_MS, target, WORKER_TIMEOUT_S) as short,
        Worker(toy, LONG_MS, target, WORKER_TIMEOUT_S) as long,
    ):
        for _ in range(figures.OVERHEAD_BLOCKS):
            pairs = [(_cost(short), _cost(long)) for _ in range(figures.OVERHEAD_PAIRS)]
            shares.append(float(np.median([(lc - sc) / (lw - sw) for (sc, sw), (lc, lw) in pairs])))
    return shares


def _cost(worker: Worker) -> tuple[int, int]:
    """Return this process's CPU time and the worker's window in one call, in ns."""
    worker.put(INPUT)
    began = time.process_time_ns()
    answer = worker.run()
    return time.process_time_ns() - began, answer.ended_ns - answer.began_ns


@contextmanager
def _polling_parent(pause_s: float | None) -> Iterator[None]:
    """Switch the safety off: this process polls, or busy-waits, instead of sleeping."""
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


def _p90_ratios(launch: int, calls: Calls, *, polling: bool = False) -> list[float]:
    """Return, by block, the log-ratio of a fresh worker's p90 to a fresh bare process's."""
    rng = random.Random(f"{SEED} bare {launch}")
    toy, target = Backend(name="working", load=toys.working), Target("cpu", calls.threads)
    ratios = []
    with machine_lock(), Worker(toy, Path(str(calls.size)), target, WORKER_TIMEOUT_S) as worker, _bare(calls) as bare:
        for block in range(calls.blocks + 1):
            spent_ns: dict[str, list[int]] = {"worker": [], "bare": []}
            for arm in (arm for _ in range(calls.each) for arm in rng.sample(("worker", "bare"), 2)):
                if arm == "bare":
                    spent_ns[arm].append(_bare_ns(*bare))
                    continue
                with _polling_parent(None) if polling else nullcontext():
                    spent_ns[arm].append(_cost(worker)[1])
            if block:  # the first one warms up
                p90 = {arm: float(np.percentile(spent, 90)) for arm, spent in spent_ns.items()}
                ratios.append(math.log(p90["worker"] / p90["bare"]))
    return ratios


@contextmanager
def _bare(calls: Calls) -> Iterator[tuple[IO[str], IO[str]]]:
    """Start the toy in a bare process; yield its input and output."""
    command, pipe = [sys.executable, "-m", toys.__name__, str(calls.size)], subprocess.PIPE
    environment = worker_environment(calls.threads)
    with subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdin, process.stdout
        process.stdin.close()


def _bare_ns(requests: IO[str], answers: IO[str]) -> int:
    requests.write("\n")  # wakes it up, as handing over a batch wakes a worker
    answers.readline()
    requests.write("\n")
    return int(answers.readline())


def _percent(shares: Sequence[float]) -> str:
    return f"median {100 * np.median(shares):.2f} %, {100 * min(shares):.2f} to {100 * max(shares):.2f} %"


def ratio(log: Interval) -> str:
    """Write the interval of a log-ratio as one of the ratio."""
    return f"{math.exp(log.estimate):.3f} [{math.exp(log.low):.3f}, {math.exp(log.high):.3f}]"
