"""What the harness adds: to collection, to the calls that it times, and from one arm to the next."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

import harness
from harness.contracts.backend import Backend, Target
from harness.errors import HarnessError
from harness.measure.client import Worker, machine_lock, worker_environment
from harness.selftest import figures, toys
from harness.selftest.figures import BARE_TOLERANCE, CARRY_TOLERANCE, SEED, WORKER_TIMEOUT_S
from harness.selftest.part import Figure, Workspace, every, part
from harness.selftest.toys import INPUT
from harness.stats.intervals import Interval, median_interval
from harness.stats.speedup import launch_interval
from harness.util.machine import usable_cores

HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "evaluate")
CASES_A_MODEL = 8
"""Four backends on two devices."""
SUITE = """
import pytest
{extra}
from harness import Backend, Gate, Model, Native, Package, Recipe, Task, cases
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_O2, PYTORCH
from harness.kinds import text_classification

TASK = Task(name="many", kind=text_classification, dataset=Package("none", "none.csv", sha256="0", read=list),
            inputs=("text",), label="topic", metric="accuracy", test=48, validation=24, calibration=12)
MODELS = {{Model(name=f"model-{{number}}", source=Native("model.py:Model"), recipe=Recipe(loop="native")):
          Gate(min_score=0.9, max_drop=0.01) for number in range({models})}}
OTHER = Backend(name="other", load=PYTORCH.load)

@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, OTHER]), ids=str)
def test_many(case, bench):
    bench(case)
"""
PROGRAM = """
import json, sys, pytest
class Count:
    def pytest_collection_finish(self, session):
        self.cases = len(session.items)
count = Count()
status = pytest.main(["--collect-only", "-q", "test_many.py"], plugins=[count])
imported = sorted(set(json.loads(sys.argv[1])) & set(sys.modules))
print("\\n" + json.dumps([int(status), count.cases, imported]))
"""


@dataclass(frozen=True)
class Collected:
    """One collection of the toy suite."""

    cases: int
    imported: list[str]
    wall_s: float


@part(
    "collection",
    f"{figures.COLLECTED_CASES} cases are collected in {figures.COLLECTION_LIMIT_S:g} s or less without torch",
)
def collection(workspace: Workspace) -> Iterator[Figure]:
    """Collect in fresh processes; the time includes the interpreter's start."""
    runs = [_collect(workspace.scratch, "") for _ in range(figures.COLLECTION_TRIALS)]
    whole = (run.cases == figures.COLLECTED_CASES for run in runs)
    yield every(f"{figures.COLLECTED_CASES} cases collected", whole)
    light = (not run.imported for run in runs)
    yield every(f"without importing {', '.join(HEAVY)}", light, note=", ".join(runs[0].imported))
    quick = (run.wall_s <= figures.COLLECTION_LIMIT_S for run in runs)
    note = ", ".join(f"{run.wall_s:.2f}" for run in runs) + " s"
    yield every(f"in {figures.COLLECTION_LIMIT_S:g} s or less", quick, note=note)
    heavy = _collect(workspace.scratch, "import torch")
    note = f"{heavy.wall_s:.2f} s, imports {', '.join(heavy.imported)}"
    yield every("a suite that imports torch is noticed", ["torch" in heavy.imported], control=True, note=note)


def _collect(folder: Path, extra: str) -> Collected:
    models = figures.COLLECTED_CASES // CASES_A_MODEL
    (folder / "test_many.py").write_text(SUITE.format(extra=extra, models=models))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(HEAVY)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(harness.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.monotonic() - began
    last = done.stdout.splitlines()[-1] if done.returncode == 0 and done.stdout else "[1, 0, []]"
    status, cases, imported = json.loads(last)
    if status != 0:
        raise HarnessError(f"pytest --collect-only failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Collected(cases, imported, wall_s)


SHORT_MS, LONG_MS = Path("10"), Path("30")
"""Two lengths of a call, which differ by time inside windows alone."""


class Calls(NamedTuple):
    """The work of both arms, a worker and a bare process."""

    size: int
    """Of the matrices that they multiply."""
    threads: int
    blocks: int
    each: int


SHORT = Calls(700, 1, figures.BARE_BLOCKS, figures.BARE_CALLS)
"""About 4 ms on a core."""
LONG = Calls(2_000, usable_cores(), figures.LONG_BLOCKS, figures.LONG_CALLS)
"""As long as MiniLM's on two cores. A shorter call ends before the scheduler gives its core to a busy parent."""


@part("overhead", "the parent uses under 1 % CPU inside windows; a worker's p90 lies within 5 % of a bare loop's")
def overhead(workspace: Workspace) -> Iterator[Figure]:
    """Measure the parent's processor time, then a worker's p90 against a bare loop's."""
    shares, whole = _parent_shares()
    note = f"{_percent(shares)}; over whole rounds {100 * whole:.2f} %"
    quiet = (share < figures.PARENT_CPU_SHARE for share in shares)
    yield every("parent's share of CPU inside windows under 1 %", quiet, note=note)
    for label, pause_s in (
        ("a parent that busy-waits is caught", None),
        (f"a parent that polls {1 / figures.POLL_S:.0f} times a second is caught", figures.POLL_S),
    ):
        with _polling_parent(pause_s):
            shares, _ = _parent_shares()
        caught = (share >= figures.PARENT_CPU_SHARE for share in shares)
        yield every(label, caught, control=True, note=_percent(shares))
    tolerance = math.log(BARE_TOLERANCE)
    p90 = launch_interval([_p90_ratios(launch, SHORT) for launch in range(figures.BARE_LAUNCHES)], [])
    note = f"{_ratio(p90)} over {figures.BARE_LAUNCHES} fresh pairs"
    within = [-tolerance <= p90.low and p90.high <= tolerance]
    yield every("worker's p90 within 5 % of a bare loop's", within, note=note)
    intervals = [median_interval(_p90_ratios(launch, LONG, polling=True)) for launch in range(figures.LONG_LAUNCHES)]
    slower = (interval.low > tolerance for interval in intervals)
    note = ", ".join(map(_ratio, intervals))
    yield every("with a parent that busy-waits, p90 beyond 5 %", slower, control=True, note=note)


def _parent_shares() -> tuple[list[float], float]:
    """Return this process's CPU time per second of windows, by block; and its share of whole rounds of short calls.

    The first is the cost of a longer call beyond a shorter one's. Handing over and reading back, which lie outside
    windows, cost both the same.
    """
    target = Target("cpu", 1)
    toy = Backend(name="sleeping", load=toys.sleeping)
    blocks: list[float] = []
    whole: list[float] = []
    with (
        Worker(toy, SHORT_MS, target, WORKER_TIMEOUT_S) as short,
        Worker(toy, LONG_MS, target, WORKER_TIMEOUT_S) as long,
    ):
        for _ in range(figures.OVERHEAD_BLOCKS):
            pairs = [(_cost(short), _cost(long)) for _ in range(figures.OVERHEAD_PAIRS)]
            blocks.append(float(np.median([(lc - sc) / (lw - sw) for (sc, sw), (lc, lw) in pairs])))
            whole += [cpu / window for (cpu, window), _ in pairs]
    return blocks, float(np.median(whole))


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
            for _ in range(calls.each):
                for arm in rng.sample(("worker", "bare"), 2):
                    spent_ns[arm].append(_bare_ns(bare) if arm == "bare" else _worker_ns(worker, polling=polling))
            if block:  # the first one warms up
                p90 = {arm: float(np.percentile(spent, 90)) for arm, spent in spent_ns.items()}
                ratios.append(math.log(p90["worker"] / p90["bare"]))
    return ratios


def _worker_ns(worker: Worker, *, polling: bool) -> int:
    worker.put(INPUT)
    with _polling_parent(None) if polling else ExitStack():
        answer = worker.run()
    return answer.ended_ns - answer.began_ns


@contextmanager
def _bare(calls: Calls) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", toys.__name__, str(calls.size)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=worker_environment(calls.threads), text=True, stdin=pipe, stdout=pipe
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _bare_ns(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    line = ""
    for _ in ("wake up", "call"):
        process.stdin.write("\n")
        process.stdin.flush()
        line = process.stdout.readline()
    return int(line)


def _percent(shares: Sequence[float]) -> str:
    return f"median {100 * np.median(shares):.2f} %, {100 * min(shares):.2f} to {100 * max(shares):.2f} %"


def _ratio(log: Interval) -> str:
    return f"{math.exp(log.estimate):.3f} [{math.exp(log.low):.3f}, {math.exp(log.high):.3f}]"


SIZE = Path("400")
"""Of a torch product on all cores. A block of CARRY_LOOPS of them is as long as a measurement's."""


@part(
    "carry-over",
    f"an arm timed after others equals it alone within 1 %; spinning is caught {figures.SPINNING_CHECKS} of "
    f"{figures.SPINNING_CHECKS} times",
)
def carry_over(workspace: Workspace) -> Iterator[Figure]:
    """Time an arm right after its mates and with its mates stopped, in rounds of random order."""
    launches, length = range(figures.CARRY_LAUNCHES), figures.SPINNING_ROUNDS
    ratios = [log for launch in launches for log in _log_ratios(launch, False, figures.CARRY_ROUNDS)]
    interval = median_interval(ratios)
    within = [interval.low >= -CARRY_TOLERANCE and interval.high <= CARRY_TOLERANCE]
    note = f"{_ratio(interval)} over {len(ratios)} rounds; "
    note += "shown to carry over" if _carries_over(interval) else "no carry-over shown"
    yield every("passive: after its mates as alone within 1 %", within, note=note)
    rounds = figures.SPINNING_CHECKS // figures.CARRY_LAUNCHES * length
    spun = [_log_ratios(launch, True, rounds) for launch in launches]
    checks = [median_interval(logs[at : at + length]) for logs in spun for at in range(0, rounds, length)]
    smallest = min(checks, key=lambda check: check.low)
    note = f"smallest {_ratio(smallest)}, of {length} rounds each"
    yield every("mates that spin are caught", map(_carries_over, checks), control=True, note=note)


def _carries_over(log: Interval) -> bool:
    """Return True if the arm is slower after its mates, beyond tolerance and beyond chance."""
    return log.low > CARRY_TOLERANCE


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
    """Let every mate answer, then the arm itself; return its window."""
    for worker in (own, *mates):
        worker.put(INPUT)
    for mate in mates:
        mate.run()
    with _stopped(mates) if stopped else ExitStack():
        answer = own.run(figures.CARRY_LOOPS)
    return answer.ended_ns - answer.began_ns


@contextmanager
def _stopped(mates: Sequence[Worker]) -> Iterator[None]:
    """Stop the mates, which stay in memory and in caches."""
    for mate in mates:
        os.kill(mate.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for mate in mates:
            os.kill(mate.pid, signal.SIGCONT)
