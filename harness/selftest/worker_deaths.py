"""Workers killed at random instants: each death is named with its signal, and no written result is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from harness.contracts.backend import Backend, Target
from harness.contracts.kind import Arrays
from harness.errors import HarnessError, WorkerError
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.selftest import figures, toys
from harness.selftest.figures import SEED, WORKER_TIMEOUT_S, Figure, Workspace, count, part
from harness.selftest.toy_sessions import SESSION_LIMIT_S, copy_suite, log_of, run_pytest, workers_of
from harness.util.console import Progress

NAMED = "killed by SIGKILL"
NAMES = ["reference", *(f"contender-{number}" for number in range(figures.KILLS_EACH + 1))]
ROUNDS, CALL_MS = 20, Path("5")
WITHIN_S = 2.0
"""Kills fall within this time of the reference's launch: while others launch, warm up, answer or wait."""
TARGET = Target("cpu", 1)
WORKER_COMPARISONS, WORKER_CASES = 3, 3
DELAY_S = (0.0, 6.0)
"""From one comparison's last result to the death of a worker of the next comparison."""


@part(
    "worker-deaths",
    "200 SIGKILLs: each death is named, no written result lost, exit status not 0",
)
def worker_deaths(workspace: Workspace) -> Iterator[Figure]:
    """Kill contenders, the reference, and workers of whole pytest sessions."""
    yield from _contenders()
    yield _references()
    yield _pipe_alone()
    yield from _worker_sessions(workspace)


class Measured(NamedTuple):
    """One measurement with a killer beside it."""

    answers: Counter[str]
    """Blocks that each arm answered, warm-up included."""
    failed: Mapping[str, WorkerError]
    ended_by: WorkerError | None = None
    """The error of the reference, which ends the measurement."""


def _contenders() -> Iterator[Figure]:
    rng = random.Random(f"{SEED} contenders")
    named: list[bool] = []
    incomplete: list[bool] = []
    while len(named) < figures.KILLS:
        wanted = min(figures.KILLS_EACH, figures.KILLS - len(named))
        run = _measure([rng.uniform(0, WITHIN_S) for _ in range(wanted)], spare_reference=True)
        # A contender killed after its last answer is not called again: it has not failed, and nothing is missing.
        named += [NAMED in str(error) for error in run.failed.values()]
        alive = [name for name in NAMES if name not in run.failed]
        incomplete += [run.answers[name] != run.answers["reference"] or run.ended_by is not None for name in alive]
    yield count("killed contenders named with their signal", named)
    yield count("survivors that lost a round", incomplete, at_most=0)


def _references() -> Figure:
    rng = random.Random(f"{SEED} reference")
    named: list[bool] = []
    while len(named) < figures.REFERENCE_KILLS:
        run = _measure([rng.uniform(0.05, WITHIN_S)], spare_reference=False)
        if run.ended_by is None and run.answers["reference"] == max(run.answers.values()):
            continue  # it had given its last answer
        named.append(NAMED in str(run.ended_by))
    return count("killed references named with their signal", named)


def _measure(delays_s: Sequence[float], *, spare_reference: bool) -> Measured:
    """Measure toys, the first of which is the reference, while a thread kills their workers after these delays."""
    arms = [Arm(name, Backend(name="sleeping", load=toys.sleeping), CALL_MS) for name in NAMES]
    answers, over = Counter[str](), threading.Event()

    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        answers[name] += 1

    load = WorkloadInputs(1, 0, lambda number: [0], lambda rows: toys.INPUT)
    settings = Settings(TARGET, launches=1, looks=(ROUNDS,), budget_s=600.0, timeout_s=WORKER_TIMEOUT_S)
    thread = threading.Thread(target=_kill_on_time, args=(sorted(delays_s), spare_reference, over))
    thread.start()
    try:
        return Measured(answers, measure(arms, [load], settings, check, lambda samples: False, Progress()).failed)
    except WorkerError as error:
        return Measured(answers, {}, error)
    finally:
        over.set()
        thread.join()


def _kill_on_time(delays_s: Sequence[float], spare_reference: bool, over: threading.Event) -> None:
    """Kill the reference, which is the oldest worker, or another one, after each delay from its launch."""
    session, killed = psutil.Process(), set[int]()
    while not workers_of(session):
        if over.wait(0.005):
            return
    for waited_s, delay_s in pairwise([0.0, *delays_s]):
        if over.wait(delay_s - waited_s):
            return
        living = [worker for worker in workers_of(session) if worker.pid not in killed]
        if victims := living[1:] if spare_reference else living[:1]:
            victim = random.Random(f"{SEED} {len(killed)} {len(victims)}").choice(victims)
            killed.add(victim.pid)
            victim.kill()


def _pipe_alone() -> Figure:
    """Switch the safety off: take the reason from the pipe, without a look at how the process ended."""
    causes = []
    for _ in range(figures.NAMING_TRIALS):
        with Worker(Backend(name="sleeping", load=toys.sleeping), CALL_MS, TARGET, WORKER_TIMEOUT_S) as worker:
            worker.put(toys.INPUT)
            psutil.Process(worker.pid).kill()
            try:
                worker.run()
                causes.append("SIG: it answered")
            except WorkerError as error:
                causes.append(repr(error.__cause__))
    silent = ("SIG" not in cause for cause in causes)
    return count("by the pipe alone, deaths without a signal's name", silent, control=True, note=causes[-1])


class WorkerSession(NamedTuple):
    """A session whose workers were killed, once in every comparison but the first."""

    status: int
    kills: int
    named: int
    """Comparisons with a death by SIGKILL on record."""
    kept: int
    """Results on disk at a kill."""
    lost: list[str]
    """Those of them that changed or vanished later."""


def _worker_sessions(workspace: Workspace) -> Iterator[Figure]:
    quiet = _worker_session(workspace, random.Random(SEED), comparisons=1)
    seeds = (f"{SEED} session {number}" for number in range(figures.DEATH_SESSIONS))
    sessions = [_worker_session(workspace, random.Random(seed)) for seed in seeds]
    kills, named = sum(s.kills for s in sessions), sum(s.named for s in sessions)
    yield Figure(label="pytest: deaths named in a result", k=named, n=kills, at_least=kills)
    lost, kept = [name for s in sessions for name in s.lost], sum(s.kept for s in sessions)
    label = "pytest: results on disk before a kill and changed or gone after"
    yield Figure(label=label, k=len(lost), n=kept, at_most=0, note=", ".join(lost))
    right = [quiet.status == 0, *(s.status != 0 for s in sessions)]
    note = f"{quiet.status} without a kill; {', '.join(str(s.status) for s in sessions)}"
    yield count("pytest: exit status 0 without a kill, not 0 with kills", right, note=note)


def _worker_session(workspace: Workspace, rng: random.Random, comparisons: int = WORKER_COMPARISONS) -> WorkerSession:
    """Run the suite, and kill a worker at a random instant of each of the first comparisons but the first."""
    folder = workspace.scratch / "session"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copy_suite(folder / "test_workers.py")
    process = run_pytest(folder, "--ship-budget=3", f"--ship-artifacts={workspace.artifacts}")
    kept: dict[str, str] = {}
    kills = 0
    try:
        for done in range(1, comparisons):
            if victims := _next_workers(process, folder, done * WORKER_CASES, rng.uniform(*DELAY_S)):
                kept |= _results(folder)
                rng.choice(victims).kill()
                kills += 1
        status = process.wait(SESSION_LIMIT_S)
    finally:
        process.kill()
    results = _results(folder)
    if not results:
        raise HarnessError(f"the session of the toy suite left no result:\n{log_of(folder)}")
    named = {name.partition(".")[0] for name, text in results.items() if "SIGKILL" in text}
    lost = [name for name, text in kept.items() if results.get(name) != text]
    return WorkerSession(status, kills, len(named), len(kept), lost)


def _next_workers(process: subprocess.Popen[bytes], folder: Path, results: int, delay_s: float) -> list[psutil.Process]:
    """Wait for so many results, then for a time, then for living workers; return none if the session ends before."""
    while process.poll() is None and len(_results(folder)) < results:
        time.sleep(0.02)
    time.sleep(delay_s)
    while process.poll() is None:
        if living := workers_of(psutil.Process(process.pid)):
            return living
        time.sleep(0.005)
    return []


def _results(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("results/local/**/*.json"))}
