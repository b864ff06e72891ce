"""Workers and pytest sessions killed at random instants: deaths are named, nothing is lost, sessions are resumed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil

from harness.contracts.backend import Backend, Target
from harness.contracts.kind import Arrays
from harness.errors import HarnessError, WorkerError
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.selftest import figures, toys
from harness.selftest.figures import SEED, WORKER_TIMEOUT_S, Figure, Workspace, count, part
from harness.selftest.real import SUITES
from harness.util.console import Progress
from harness.util.identity import python_path
from harness.util.locks import FOLDER

SUITE = Path(__file__).with_name("toy_suite.py")
SESSION_LIMIT_S = 300.0


def _copy_suite(file: Path) -> None:
    """Copy the suite to `file`, whose name selects the variant, with its rows and its model beside it."""
    shutil.copy(SUITE, file)
    for name in ("bbc.py", "models/embedding_bag.py"):
        shutil.copy(SUITES / name, file.parent)


def _log(folder: Path) -> str:
    return (folder / "log.txt").read_text()[-1500:]


def run_pytest(folder: Path, *options: str, **variables: str) -> subprocess.Popen[bytes]:
    """Run pytest in a folder, one launch a comparison; its output goes to `log.txt`."""
    plugins = ("-p", "no:randomly", "-p", "no:cacheprovider")
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *plugins, "--ship-launches=1", "--ship-device=cpu", *options],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": python_path()} | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the living workers that a process launched, oldest first."""
    workers = []
    for child in process.children():
        with suppress(psutil.NoSuchProcess):  # it has ended, perhaps as a zombie
            if "harness.measure.worker" in child.cmdline():
                workers.append(child)
    return sorted(workers, key=psutil.Process.create_time)


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
    _copy_suite(folder / "test_workers.py")
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
        raise HarnessError(f"the session of the toy suite left no result:\n{_log(folder)}")
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


COMPARISONS = 4
LASTING = (
    "task", "model", "backend", "device", "status", "batch", "score", "min_score", "rows", "drop", "drop_low",
    "drop_high", "max_drop", "broken_gate", "lost", "gained", "agreement", "largest_difference", "size_mb", "threads",
)  # fmt: skip
"""Columns of the table that do not depend on timings."""


@part(
    "session-deaths",
    "50 killed sessions are resumed: same table, at most one comparison repeated, nothing left",
)
def session_deaths(workspace: Workspace) -> Iterator[Figure]:
    """Kill and resume chains of sessions in several folders, then sessions that do not resume."""
    with ThreadPoolExecutor(figures.SESSION_LANES) as pool:
        roots = list(pool.map(_furnish, (workspace.scratch / f"lane-{lane}" for lane in range(figures.SESSION_LANES))))
        resumed = [chain for chains in pool.map(_resumed, roots, range(figures.SESSION_LANES)) for chain in chains]
        yield from _judge(resumed)
        forgetful = [chain for chains in pool.map(_forgetful, roots) for chain in chains]
    repeated = [n for chain in forgetful for n in chain.repeated]
    label = "without --ship-resume: kills after which more than one comparison was repeated"
    note = f"{', '.join(map(str, repeated))} of {COMPARISONS}"
    yield count(label, (n > 1 for n in repeated), control=True, note=note)


class Ended(NamedTuple):
    """A session that has ended or was killed, and its traces."""

    status: int
    """Negative if a signal ended it."""
    wall_s: float
    orphans: int
    """Processes of the session alive after ORPHAN_LIMIT_S."""
    begun: frozenset[str]
    """Tasks whose rounds have begun."""


class Chain(NamedTuple):
    """Sessions over an empty folder of results, up to the first that is not killed."""

    sessions: list[Ended]
    same_table: bool = True
    strays: Sequence[str] = ()

    @property
    def repeated(self) -> list[int]:
        """For each kill, the number of comparisons begun before it and again in a later session."""
        begun = [session.begun for session in self.sessions]
        return [len(begun[at] & frozenset[str]().union(*begun[at + 1 :])) for at in range(len(begun) - 1)]


def _judge(chains: Sequence[Chain]) -> Iterator[Figure]:
    sessions = [session for chain in chains for session in chain.sessions]
    passed = (chain.sessions[-1].status == 0 for chain in chains)
    yield count("chains of killed sessions that end with status 0", passed)
    yield count("same final table", (chain.same_table for chain in chains))
    repeated = [n for chain in chains for n in chain.repeated]
    late = sum(session.status < 0 and bool(session.begun) for session in sessions)
    note = f"{sum(repeated)} repeated in all; {late} kills in or after rounds"
    yield count("kills after which at most one comparison was repeated", (n <= 1 for n in repeated), note=note)
    orphaned = (session.orphans > 0 for session in sessions)
    yield count(f"sessions with a process alive after {figures.ORPHAN_LIMIT_S:g} s", orphaned, at_most=0)
    strays = ", ".join(path for chain in chains for path in chain.strays)
    yield count("chains that leave a stray file", (bool(chain.strays) for chain in chains), at_most=0, note=strays)


def _furnish(root: Path) -> Path:
    """Make a folder with the suite, and run it once so that everything is built."""
    (root / "temp").mkdir(parents=True)
    _copy_suite(root / "test_sessions.py")
    if _session(root).status != 0:
        raise HarnessError(f"the toy suite does not pass:\n{_log(root)}")
    return root


def _resumed(root: Path, lane: int) -> list[Chain]:
    """Run this lane's share of the kills."""
    rng = random.Random(f"{SEED} sessions {lane}")
    kills = len(range(lane, figures.SESSION_KILLS, figures.SESSION_LANES))
    _clear(root, 0)
    whole_s = _session(root).wall_s
    chains: list[Chain] = []
    while (done := sum(len(chain.sessions) - 1 for chain in chains)) < kills:
        table, paths = _table(root), _paths(root)
        _clear(root, len(chains))
        sessions: list[Ended] = []
        while not sessions or sessions[-1].status < 0:
            # Kills spread evenly over phases, not over time: most of a session's time is its launch.
            last = len(sessions) == kills - done
            kill = None if last else (rng.randrange(COMPARISONS), rng.uniform(0, whole_s / 2))
            sessions.append(_session(root, "--ship-resume", kill=kill))
        chains.append(Chain(sessions, _table(root) == table, sorted(_paths(root) - paths)))
    return chains


def _forgetful(root: Path) -> list[Chain]:
    """Kill sessions once two comparisons have begun, and run again without resuming."""
    chains = []
    for number in range(figures.FORGETFUL_CHAINS // figures.SESSION_LANES):
        _clear(root, number)
        chains.append(Chain([_session(root, kill=(2, 0.0)), _session(root)]))
    return chains


def _session(root: Path, *options: str, kill: tuple[int, float] | None = None) -> Ended:
    """Run the suite; SIGKILL it so many seconds after the rounds of so many tasks have begun, unless it has ended."""
    notes, options = root / "begun.txt", ("--ship-budget=0.4", "--ship-artifacts=artifacts", *options)
    notes.write_text("")
    began = time.monotonic()
    own = {"TMPDIR": str(root / "temp"), FOLDER: str(root / "temp")}
    process = run_pytest(root, *options, PYTHONDONTWRITEBYTECODE="1", **own)
    try:
        begun, delay_s = kill or (0, SESSION_LIMIT_S)
        while process.poll() is None and len(notes.read_text().split()) < begun:
            time.sleep(0.01)
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
    status, wall_s = process.wait(), time.monotonic() - began
    return Ended(status, wall_s, _orphans(root), frozenset(notes.read_text().split()))


def _orphans(root: Path) -> int:
    """Return how many processes that inherited the session's TMPDIR are still alive after ORPHAN_LIMIT_S."""

    def is_left(process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):  # another user's, or gone
            return process.environ().get("TMPDIR") == str(root / "temp")
        return False

    until = time.monotonic() + figures.ORPHAN_LIMIT_S
    while (left := sum(map(is_left, psutil.process_iter()))) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _clear(root: Path, number: int) -> None:
    """Remove all results, and the artifacts of one comparison."""
    shutil.rmtree(root / "results")
    shutil.rmtree(root / "artifacts" / f"comparison-{number % COMPARISONS}")


def _table(root: Path) -> list[tuple[str, ...]]:
    """Return the lines of the table, in the columns that do not depend on timings."""
    path = root / "results" / "local" / "comparison.csv"
    lines = pd.read_csv(path, dtype=str).fillna("")[list(LASTING)] if path.exists() else pd.DataFrame()
    return sorted(lines.itertuples(index=False, name=None))


def _paths(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}
