"""Sessions killed at random instants: resumed, they end with the same table, and nothing is left behind."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil

from harness.errors import HarnessError
from harness.selftest import figures
from harness.selftest.figures import SEED, Figure, Workspace, count, part
from harness.selftest.toy_sessions import SESSION_LIMIT_S, copy_suite, log_of, run_pytest
from harness.util.locks import FOLDER

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
    copy_suite(root / "test_sessions.py")
    if _session(root).status != 0:
        raise HarnessError(f"the toy suite does not pass:\n{log_of(root)}")
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
