"""Pytest sessions killed at random instants: the next session resumes them, and nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from harness.errors import HarnessError
from harness.selftest.figures import FORGETFUL_CHAINS, ORPHAN_LIMIT_S, ORPHAN_TRIALS, SEED, SESSION_KILLS, SESSION_LANES
from harness.selftest.part import Figure, Workspace, at_most, every, part
from harness.selftest.worker_deaths import SESSION_LIMIT_S, SUITE, is_alive, run_pytest
from harness.util.files import HALF_BUILT, HALF_WRITTEN

COMPARISONS, CASES = 4, 2
"""Tasks of the suite `resumable.py`, and backends of each."""
RESUME = "--ship-resume"
OPTIONS = ("--ship-budget=0.4", "--ship-artifacts=artifacts")
LASTING = (
    "task", "model", "backend", "device", "status", "batch", "metric", "score", "min_score", "rows", "drop", "drop_low",
    "drop_high", "max_drop", "margin", "broken_gate", "lost", "gained", "agreement", "compared_with", "source_lost",
    "source_gained", "source_agreement", "largest_difference", "size_mb", "threads",
)  # fmt: skip
"""Columns of the table that do not depend on timings."""
BUSY_SESSION = """
import os, sys, time
from pathlib import Path
from harness.contracts import Backend, Target
from harness.selftest import toys
from harness.measure.client import Worker

worker = Worker(Backend(name="slow", load=toys.sleeping), Path("60000"), Target("cpu", 1), 60)
worker.put(toys.INPUT)
if sys.argv[1] == "held" and os.fork() == 0:
    time.sleep(30)
    os._exit(0)
print(os.getpid(), worker.pid, flush=True)
worker.run()
"""
"""A process whose worker is in a call of a minute. With `held`, a third process keeps the pipe between them open."""

Files = dict[str, bytes]


@part(
    "session-deaths",
    f"{SESSION_KILLS} killed sessions are resumed: same table, at most one comparison repeated, nothing left",
)
def session_deaths(workspace: Workspace) -> Iterator[Figure]:
    """Kill and resume chains of sessions in several folders, then sessions that do not resume, then busy sessions."""
    with ThreadPoolExecutor(SESSION_LANES) as pool:
        folders = list(pool.map(_furnish, (workspace.scratch / f"lane-{lane}" for lane in range(SESSION_LANES))))

        def chains(make: Callable[[Folder, int], list[Chain]]) -> list[Chain]:
            return [chain for lane in pool.map(make, folders, range(SESSION_LANES)) for chain in lane]

        yield from _judge(chains(_resumed))
        forgetful = chains(_forgetful)
    repeated = [count for chain in forgetful for count in chain.repeated]
    label = "without --ship-resume: kills after which more than one comparison was repeated"
    note = f"{', '.join(map(str, repeated))} of {COMPARISONS}"
    yield every(label, (count > 1 for count in repeated), control=True, note=note)
    yield from _orphaned_workers()


@dataclass(frozen=True)
class Kill:
    """An instant of a session: `delay_s` after the rounds of `begun` tasks have begun."""

    begun: int
    delay_s: float


@dataclass(frozen=True)
class Ended:
    """A session that has ended or was killed, and its traces."""

    status: int
    text: str
    wall_s: float
    orphans: int
    """Processes of the session alive after ORPHAN_LIMIT_S."""
    begun: frozenset[str]
    """Tasks whose rounds have begun."""
    finished: dict[str, Files]
    """Task → its results, if all are on disk and of one measurement."""
    half_written: int
    """Unfinished files and folders."""

    @property
    def killed(self) -> bool:
        """True if a signal ended it."""
        return self.status < 0


@dataclass(frozen=True)
class Folder:
    """A folder with the suite, its results, its artifacts and its temporary files."""

    root: Path

    @property
    def temporary(self) -> str:
        """Folder for temporary files; every process of a session inherits it."""
        return str(self.root / "temp")

    def session(self, *options: str, kill: Kill | None = None) -> Ended:
        """Run the suite; SIGKILL the session at that instant unless it has ended by then."""
        noted = self.root / "begun.txt"
        noted.write_text("")
        began = time.monotonic()
        process = run_pytest(self.root, *OPTIONS, *options, PYTHONDONTWRITEBYTECODE="1", TMPDIR=self.temporary)
        try:
            if kill is not None:
                while process.poll() is None and len(noted.read_text().split()) < kill.begun:
                    time.sleep(0.01)
            process.wait(SESSION_LIMIT_S if kill is None else kill.delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
        status = process.wait()
        return Ended(
            status=status,
            wall_s=time.monotonic() - began,
            text=(self.root / "log.txt").read_text(),
            orphans=_wait_for_end(lambda: sum(map(self._owns, psutil.process_iter()))),
            begun=frozenset(noted.read_text().split()),
            finished=self._finished(),
            half_written=sum(map(_is_half_written, self.root.rglob(".*"))),
        )

    def clear(self, number: int) -> None:
        """Remove all results, and the artifacts of one comparison."""
        shutil.rmtree(self.root / "results")
        shutil.rmtree(self.root / "artifacts" / f"comparison-{number % COMPARISONS}")

    def table(self) -> list[tuple[str, ...]]:
        """Return the lines of the table, in the columns that do not depend on timings."""
        path = self.root / "results" / "local" / "comparison.csv"
        lines = pd.read_csv(path, dtype=str).fillna("")[list(LASTING)] if path.exists() else pd.DataFrame()
        return sorted(lines.itertuples(index=False, name=None))

    def paths(self) -> set[str]:
        """Return every path below the folder."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}

    def _finished(self) -> dict[str, Files]:
        finished = {}
        for folder in sorted(self.root.glob("results/local/comparison-*")):
            files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
            ids = {json.loads(text)["measurement"] for name, text in files.items() if name.endswith(".json")}
            if len(files) == 2 * CASES and len(ids) == 1:
                finished[folder.name] = files
        return finished

    def _owns(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("TMPDIR") == self.temporary and is_alive(process)
        except (psutil.Error, OSError):  # another user's, or gone
            return False


def _furnish(root: Path) -> Folder:
    """Copy the suite into a new folder, and run it once so that everything is built."""
    (root / "temp").mkdir(parents=True)
    shutil.copy(SUITE / "resumable.py", root / "test_resumable.py")
    for name in ("mortal.py", "bag.py"):
        shutil.copy(SUITE / name, root)
    ended = Folder(root).session()
    if ended.status != 0 or len(ended.finished) < COMPARISONS:
        raise HarnessError(f"the toy suite does not pass:\n{ended.text[-1500:]}")
    return Folder(root)


def _is_half_written(path: Path) -> bool:
    return any(pattern.fullmatch(path.name) for pattern in (HALF_WRITTEN, HALF_BUILT))


def _wait_for_end(living: Callable[[], int]) -> int:
    """Return how many processes are still alive after ORPHAN_LIMIT_S."""
    until = time.monotonic() + ORPHAN_LIMIT_S
    while (left := living()) and time.monotonic() < until:
        time.sleep(0.1)
    return left


@dataclass(frozen=True)
class Chain:
    """Sessions over an empty folder of results, up to the first that is not killed."""

    sessions: list[Ended]
    same_table: bool = True
    strays: Sequence[str] = ()

    @property
    def repeated(self) -> list[int]:
        """For each kill, the comparisons begun before it and again in a later session."""
        begun = [session.begun for session in self.sessions]
        return [len(begun[at] & frozenset[str]().union(*begun[at + 1 :])) for at in range(len(begun) - 1)]

    @property
    def altered(self) -> list[str]:
        """Comparisons that were finished at a kill and whose results differ in the end, once for every kill."""
        last = self.sessions[-1].finished
        return [name for one in self.sessions[:-1] for name in one.finished if last.get(name) != one.finished[name]]


def _resumed(folder: Folder, lane: int) -> list[Chain]:
    """Run this lane's share of the kills."""
    rng = random.Random(f"{SEED} sessions {lane}")
    kills = SESSION_KILLS // SESSION_LANES + (lane < SESSION_KILLS % SESSION_LANES)
    folder.clear(0)
    whole_s = folder.session().wall_s
    chains: list[Chain] = []
    while (done := sum(len(chain.sessions) - 1 for chain in chains)) < kills:
        table, paths = folder.table(), folder.paths()
        folder.clear(len(chains))
        sessions: list[Ended] = []
        while not sessions or sessions[-1].killed:
            # Kills spread evenly over phases, not over time: most of a session's time is its launch.
            last = len(sessions) == kills - done
            kill = None if last else Kill(rng.randrange(COMPARISONS), rng.uniform(0, whole_s / 2))
            sessions.append(folder.session(RESUME, kill=kill))
        chains.append(Chain(sessions, folder.table() == table, sorted(folder.paths() - paths)))
    return chains


def _forgetful(folder: Folder, lane: int) -> list[Chain]:
    """Kill sessions once two comparisons have begun, and run again without resuming."""
    chains = []
    for number in range(FORGETFUL_CHAINS // SESSION_LANES):
        folder.clear(number)
        chains.append(Chain([folder.session(kill=Kill(begun=2, delay_s=0)), folder.session()]))
    return chains


def _judge(chains: Sequence[Chain]) -> Iterator[Figure]:
    sessions = [session for chain in chains for session in chain.sessions]
    repeated = [count for chain in chains for count in chain.repeated]
    passed = (chain.sessions[-1].status == 0 for chain in chains)
    yield every("chains of killed sessions that end with status 0", passed)
    yield every("same final table", (chain.same_table for chain in chains))
    note = (
        f"{sum(repeated)} repeated in all; {sum(s.killed and bool(s.begun) for s in sessions)} kills in or after rounds"
    )
    once = (count <= 1 for count in repeated)
    yield every("kills after which at most one comparison was repeated", once, note=note)
    altered = [name for chain in chains for name in chain.altered]
    held = sum(len(session.finished) for chain in chains for session in chain.sessions[:-1])
    label = "finished comparisons that are other bytes after a kill"
    yield Figure(label=label, k=len(altered), n=max(held, 1), at_most=0, note=", ".join(altered))
    orphaned = (session.orphans > 0 for session in sessions)
    yield at_most(0, f"sessions with a process alive after {ORPHAN_LIMIT_S:g} s", orphaned)
    swept = sum(session.half_written for session in sessions)
    strays = [path for chain in chains for path in chain.strays]
    note = ", ".join(strays[:5]) or f"{swept} half-written ones seen after kills, and swept"
    yield at_most(0, "chains that leave a stray file", (bool(chain.strays) for chain in chains), note=note)


def _orphaned_workers() -> Iterator[Figure]:
    """Kill sessions whose workers are in a long call, with their pipe closed by it and held open."""
    label = "workers in a call of a minute"
    gone = (not alive for alive in _outlive("tied"))
    yield every(f"{label}, gone {ORPHAN_LIMIT_S:g} s after", gone)
    yield every(f"{label}, alive after it where another process holds the pipe", _outlive("held"), control=True)


def _outlive(how: str) -> list[bool]:
    """Return True for every worker that outlives its killed session by ORPHAN_LIMIT_S; then kill it."""
    command = [sys.executable, "-c", BUSY_SESSION, how]
    sessions = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(ORPHAN_TRIALS)
    ]
    workers = []
    for session in sessions:
        assert session.stdout is not None
        workers.append(psutil.Process(int(session.stdout.readline().split()[1])))
    time.sleep(1)  # until all of them are in their call
    for session in sessions:
        session.kill()
        session.wait()
    _wait_for_end(lambda: sum(map(is_alive, workers)))
    alive = [is_alive(worker) for worker in workers]
    left = [worker.pid for worker, lives in zip(workers, alive, strict=True) if lives]
    for pid in [session.pid for session in sessions] + left:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return alive
