"""The cost of the harness: in collection, inside timed calls, and from one arm to the next."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from harness.contracts.backend import Backend, Target
from harness.errors import HarnessError
from harness.measure.client import Worker, machine_lock, worker_environment
from harness.selftest import figures, toys
from harness.selftest.figures import SEED, WORKER_TIMEOUT_S, Figure, Workspace, count, part
from harness.selftest.toys import INPUT
from harness.stats.intervals import Interval, median_interval
from harness.stats.speedup import launch_interval
from harness.util.identity import python_path
from harness.util.machine import usable_cores

CASES_A_MODEL = 8
"""Four backends on two devices."""
HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "evaluate")
SUITE = """
import pytest
{extra}
from harness import Backend, Gate, Model, Native, Package, Recipe, Task, cases
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_O2, PYTORCH

TASK = Task(name="many", kind="text-classification", dataset=Package("none", "none.csv", sha256="0", read=list),
            inputs=("text",), label="topic", metric="accuracy", test=48, validation=24, calibration=12)
MODELS = {{Model(name=f"model-{{number}}", source=Native("model.py:Model"), recipe=Recipe(loop="native")):
          Gate(min_score=0.9, max_drop=0.01) for number in range({models})}}
OTHER = Backend(name="other", load=PYTORCH.load)

@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, OTHER]), ids=str)
def test_many(case, bench):
    bench(case)
"""
PROGRAM = """
import sys, pytest
status = pytest.main(["--collect-only", "-q", "test_many.py"])
print("imported", *set(sys.argv[1:]) & set(sys.modules))
sys.exit(status)
"""


class Collected(NamedTuple):
    """One collection of the toy suite."""

    cases: int
    imported: list[str]
    wall_s: float


@part("collection", "2,000 cases are collected in 5 s or less without torch")
def collection(workspace: Workspace) -> Iterator[Figure]:
    """Collect in fresh processes; the time includes the interpreter's start."""
    runs = [_collect(workspace.scratch, "") for _ in range(figures.COLLECTION_TRIALS)]
    yield count(f"{figures.COLLECTED_CASES} cases collected", (run.cases == figures.COLLECTED_CASES for run in runs))
    light = (not run.imported for run in runs)
    yield count(f"without importing {', '.join(HEAVY)}", light, note=", ".join(runs[0].imported))
    quick = (run.wall_s <= figures.COLLECTION_LIMIT_S for run in runs)
    note = ", ".join(f"{run.wall_s:.2f}" for run in runs) + " s"
    yield count(f"in {figures.COLLECTION_LIMIT_S:g} s or less", quick, note=note)
    heavy = _collect(workspace.scratch, "import torch")
    note = f"{heavy.wall_s:.2f} s, imports {', '.join(heavy.imported)}"
    yield count("a suite that imports torch is noticed", ["torch" in heavy.imported], control=True, note=note)


def _collect(folder: Path, extra: str) -> Collected:
    (folder / "test_many.py").write_text(SUITE.format(extra=extra, models=figures.COLLECTED_CASES // CASES_A_MODEL))
    command, environment = [sys.executable, "-c", PROGRAM, *HEAVY], os.environ | {"PYTHONPATH": python_path()}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - began
    if done.returncode != 0:
        raise HarnessError(f"pytest --collect-only failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Collected(done.stdout.count("::"), done.stdout.splitlines()[-1].split()[1:], wall_s)


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
    yield count("worker's p90 within 5 % of a bare loop's", within, note=_ratio(p90))
    intervals = [median_interval(_p90_ratios(launch, LONG, polling=True)) for launch in range(figures.LONG_LAUNCHES)]
    slower = (interval.low > tolerance for interval in intervals)
    note = ", ".join(map(_ratio, intervals))
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


def _ratio(log: Interval) -> str:
    return f"{math.exp(log.estimate):.3f} [{math.exp(log.low):.3f}, {math.exp(log.high):.3f}]"


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
    note = f"{_ratio(interval)} over {len(ratios)} rounds"
    yield count("passive: after its mates as alone within 1 %", within, note=note)
    rounds = figures.SPINNING_CHECKS // figures.CARRY_LAUNCHES * length
    spun = [_log_ratios(launch, True, rounds) for launch in launches]
    checks = [median_interval(logs[at : at + length]) for logs in spun for at in range(0, rounds, length)]
    note = f"smallest {_ratio(min(checks, key=lambda check: check.low))}, of {length} rounds each"
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
