"""A worker's slowest tenth beside that of a process that belongs to nobody."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.contracts import Target
from harness.environment import usable_cores
from harness.rounds.machine import machine_lock
from harness.selftest import toys
from harness.selftest.figures import (
    BARE_BLOCKS,
    BARE_CALLS,
    LONG_BLOCKS,
    LONG_CALLS,
    SEED,
)
from harness.selftest.measuring import INPUT, TIMEOUT_S, polling_parent
from harness.workers.process import Worker, environment


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


def p90_ratios(start: int, calls: Calls, *, polling: bool = False) -> list[float]:
    """By block, log-ratio of a fresh worker's p90 to a fresh bare process's, paired by blocks in random order."""
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
    return ratios


def _worker_ns(worker: Worker, *, polling: bool) -> int:
    worker.put(INPUT)
    with polling_parent(None) if polling else ExitStack():
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
