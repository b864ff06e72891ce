"""The cost of the harness from one arm to the next: a backend timed after others against itself alone."""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.contracts.backend import Backend, Target
from harness.measure.client import Worker, machine_lock
from harness.selftest import figures, toys
from harness.selftest.figures import SEED, WORKER_TIMEOUT_S, Figure, Workspace, count, part
from harness.selftest.overhead import ratio
from harness.selftest.toys import INPUT
from harness.stats.intervals import median_interval
from harness.util.machine import usable_cores

SIZE = Path("400")
"""Size of a torch product on all cores. A block of CARRY_LOOPS of them is as long as a measurement's."""


@part(
    "carry-over",
    "an arm timed after others equals it alone within 1 %; spinning is caught 20 of 20 times",
)
def carry_over(workspace: Workspace) -> Iterator[Figure]:
    """Time an arm right after its mates and with its mates stopped, in rounds of random order."""
    launches, length = range(figures.CARRY_LAUNCHES), figures.SPINNING_ROUNDS
    ratios = [log for launch in launches for log in _log_ratios(launch, False, figures.CARRY_ROUNDS)]
    interval = median_interval(ratios)
    within = [interval.low >= -figures.CARRY_TOLERANCE and interval.high <= figures.CARRY_TOLERANCE]
    note = f"{ratio(interval)} over {len(ratios)} rounds"
    yield count("passive: after its mates as alone within 1 %", within, note=note)
    rounds = figures.SPINNING_CHECKS // figures.CARRY_LAUNCHES * length
    spun = [_log_ratios(launch, True, rounds) for launch in launches]
    checks = [median_interval(logs[at : at + length]) for logs in spun for at in range(0, rounds, length)]
    note = f"smallest {ratio(min(checks, key=lambda check: check.low))}, of {length} rounds each"
    caught = (check.low > figures.CARRY_TOLERANCE for check in checks)
    yield count("mates that spin are caught", caught, control=True, note=note)


def _log_ratios(launch: int, spinning: bool, rounds: int) -> list[float]:
    """Return the log-ratios of an arm's block after its mates' to its block with its mates stopped."""
    rng = random.Random(f"{SEED} carry-over {launch} {spinning}")
    toy, threads = Backend(name="multiplying", load=toys.multiplying), usable_cores()
    ratios = []
    with machine_lock(), ExitStack() as stack:
        own, *mates = (
            stack.enter_context(Worker(toy, SIZE, Target("cpu", threads, spins), WORKER_TIMEOUT_S))
            for spins in (False, *[spinning] * figures.CARRY_MATES)
        )
        _round_ns(own, mates, stopped=False)
        for _ in range(rounds):
            spent_ns = {stopped: _round_ns(own, mates, stopped=stopped) for stopped in rng.sample((True, False), 2)}
            ratios.append(math.log(spent_ns[False] / spent_ns[True]))
    return ratios


def _round_ns(own: Worker, mates: Sequence[Worker], *, stopped: bool) -> int:
    """Let every mate answer, then the arm itself; return its window. Stopped mates stay in memory and in caches."""
    for worker in (own, *mates):
        worker.put(INPUT)
    for mate in mates:
        mate.run()
    for mate in mates if stopped else ():
        os.kill(mate.pid, signal.SIGSTOP)
    answer = own.run(figures.CARRY_LOOPS)
    for mate in mates:
        os.kill(mate.pid, signal.SIGCONT)
    return answer.ended_ns - answer.began_ns
