"""What one arm leaves behind for the next: nothing while idle threads sleep, and it is seen when they spin."""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.contracts import Target
from harness.environment import usable_cores
from harness.rounds.machine import machine_lock
from harness.selftest import toys
from harness.selftest.figures import (
    CARRY_LOOPS,
    CARRY_MATES,
    CARRY_ROUNDS,
    CARRY_STARTS,
    CARRY_TOLERANCE,
    SEED,
    SPINNING_CHECKS,
    SPINNING_ROUNDS,
)
from harness.selftest.measuring import INPUT, TIMEOUT_S
from harness.selftest.part import Figure, Given, Part
from harness.statistics.stats import Interval, median_interval
from harness.workers.process import Worker

SIZE = "400"
"""Of a torch product on all cores; a block of CALLS of them is as long as a measurement's."""


def run(given: Given) -> Iterator[Figure]:
    """An arm timed right after its mates, and with its mates stopped, in rounds of random order."""
    logs: list[float] = []
    for start in range(CARRY_STARTS):
        logs += _log_ratios(start, spinning=False, rounds=CARRY_ROUNDS)
    found = median_interval(logs)
    within = found.low >= -CARRY_TOLERANCE and found.high <= CARRY_TOLERANCE
    apart = _carried(found)
    yield Figure(
        label="passive: after its mates as alone within 1 %",
        k=int(within),
        n=1,
        at_least=1,
        note=f"{_shown(found)} over {len(logs)} rounds; {'shown to carry over' if apart else 'no carry-over shown'}",
    )
    each = SPINNING_CHECKS // CARRY_STARTS * SPINNING_ROUNDS
    checks: list[Interval] = []
    for start in range(CARRY_STARTS):
        spun = _log_ratios(start, spinning=True, rounds=each)
        checks += [median_interval(spun[at : at + SPINNING_ROUNDS]) for at in range(0, each, SPINNING_ROUNDS)]
    caught = sum(map(_carried, checks))
    smallest = min(checks, key=lambda check: check.low)
    yield Figure(
        label="mates that spin are caught",
        k=caught,
        n=len(checks),
        at_least=len(checks),
        control=True,
        note=f"smallest {_shown(smallest)}, of {SPINNING_ROUNDS} rounds each",
    )


def _carried(found: Interval) -> bool:
    """The check: the arm is slower after its mates, beyond tolerance and beyond chance."""
    return found.low > CARRY_TOLERANCE


def _log_ratios(start: int, *, spinning: bool, rounds: int) -> list[float]:
    """Of an arm's block right after its mates' to its block with its mates stopped, of fresh workers."""
    dice = random.Random(f"{SEED} carry-over {start} {spinning}")
    threads = usable_cores()
    toy = toys.toy("multiplying", toys.multiplying)
    found = []
    with machine_lock(), ExitStack() as stack:

        def hire(spins: bool) -> Worker:
            return stack.enter_context(Worker(toy, Path(SIZE), Target("cpu", threads, spins), TIMEOUT_S))

        own, mates = hire(False), [hire(spinning) for _ in range(CARRY_MATES)]
        _round(own, mates, stopped=False)
        for _ in range(rounds):
            spent = {stopped: _round(own, mates, stopped=stopped) for stopped in dice.sample((True, False), 2)}
            found.append(math.log(spent[False] / spent[True]))
    return found


def _round(own: Worker, mates: Sequence[Worker], *, stopped: bool) -> int:
    """Every mate answers, then the arm itself: its window, in ns."""
    for worker in (own, *mates):
        worker.put(INPUT)
    for mate in mates:
        mate.run()
    with _stopped(mates) if stopped else ExitStack():
        answer = own.run(CARRY_LOOPS)
    return answer.ended_ns - answer.began_ns


@contextmanager
def _stopped(mates: Sequence[Worker]) -> Iterator[None]:
    """The mates are there, in memory and in caches, and cannot run."""
    for mate in mates:
        os.kill(mate.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for mate in mates:
            os.kill(mate.pid, signal.SIGCONT)


def _shown(found: Interval) -> str:
    return f"{math.exp(found.estimate):.3f} [{math.exp(found.low):.3f}, {math.exp(found.high):.3f}]"


PART = Part(
    name="carry-over",
    claim=f"an arm timed after others equals it alone within 1 %; spinning is caught {SPINNING_CHECKS} times of "
    f"{SPINNING_CHECKS}",
    run=run,
)
