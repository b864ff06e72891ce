"""Sessions of pytest over a toy suite, killed at random instants and resumed; and what each leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

import harness
from harness.errors import HarnessError
from harness.selftest.figures import ORPHAN_LIMIT_S
from harness.sessions.leftovers import HALF_BUILT, HALF_WRITTEN

SUITE = Path(__file__).parent / "suite"
COMPARISONS, CASES = 4, 2
"""Tasks of the suite, and backends of each."""
OPTIONS = ("--ship-starts=1", "--ship-budget=0.4", "--ship-device=cpu", "--ship-artifacts=artifacts")
PLUGINS = ("-p", "harness.plugin", "-p", "no:randomly", "-p", "no:cacheprovider")
LIMIT_S = 300.0
LASTING = (
    "task", "model", "backend", "device", "status", "batch", "metric", "score", "floor", "rows", "loss", "loss_low",
    "loss_high", "max_loss", "margin", "broken_gate", "lost", "gained", "agreement", "compared_with", "source_lost",
    "source_gained", "source_agreement", "largest_difference", "size_mb", "threads",
)  # fmt: skip
"""Columns of the table that no timing enters."""

Files = dict[str, bytes]


@dataclass(frozen=True)
class Kill:
    """An instant of a session: so many seconds after rounds of so many tasks were begun."""

    begun: int
    delay_s: float


@dataclass(frozen=True)
class Ended:
    """One session, whether it was killed, and what was seen after it."""

    killed: bool
    status: int
    text: str
    wall_s: float
    orphans: int
    """Processes of the session that were alive after ORPHAN_LIMIT_S."""
    begun: frozenset[str]
    """Tasks of which rounds were begun."""
    finished: dict[str, Files]
    """Task → its results, where all of them are there and of one measurement."""
    half_written: int
    """Files and folders that nobody finished."""


@dataclass
class House:
    """A folder of its own for the suite, its results, its artifacts, and whatever processes call temporary."""

    root: Path

    def furnish(self) -> None:
        """Put the suite there, and run it once without a kill, so that everything that is built is there."""
        (self.root / "temp").mkdir(parents=True)
        shutil.copy(SUITE / "resumable.py", self.root / "test_resumable.py")
        for name in ("mortal.py", "bag.py"):
            shutil.copy(SUITE / name, self.root)
        ended = self.session()
        if ended.status != 0 or len(ended.finished) < COMPARISONS:
            raise HarnessError(f"the toy suite does not pass:\n{ended.text[-1500:]}")

    def session(self, *options: str, kill: Kill | None = None) -> Ended:
        """Run the suite, and SIGKILL the session at that instant unless it has ended by then."""
        log, noted = self.root / "log.txt", self.root / "begun.txt"
        noted.write_text("")
        began = time.monotonic()
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", *PLUGINS, *OPTIONS, *options],
                cwd=self.root,
                env=os.environ | self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
            try:
                if kill is not None:
                    while process.poll() is None and len(noted.read_text().split()) < kill.begun:
                        time.sleep(0.01)
                process.wait(LIMIT_S if kill is None else kill.delay_s)
            except subprocess.TimeoutExpired:
                process.kill()
            status = process.wait()
        wall_s = time.monotonic() - began
        return Ended(
            killed=status < 0,
            status=status,
            text=log.read_text(),
            wall_s=wall_s,
            orphans=self._orphans(),
            begun=frozenset(noted.read_text().split()),
            finished=self.finished(),
            half_written=sum(map(_is_half_written, self.root.rglob(".*"))),
        )

    def empty(self, number: int) -> None:
        """Remove all results, and what was built for one of the comparisons."""
        shutil.rmtree(self.root / "results")
        shutil.rmtree(self.root / "artifacts" / f"comparison-{number % COMPARISONS}")

    def finished(self) -> dict[str, Files]:
        """The results of every comparison that is on disk as a whole."""
        found = {}
        for folder in sorted(self.root.glob("results/local/comparison-*")):
            files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
            ids = {json.loads(text)["measurement"] for name, text in files.items() if name.endswith(".json")}
            if len(files) == 2 * CASES and len(ids) == 1:
                found[folder.name] = files
        return found

    def table(self) -> list[tuple[str, ...]]:
        """The lines of the table, as far as no timing enters them."""
        path = self.root / "results" / "local" / "comparison.csv"
        lines = pd.read_csv(path, dtype=str).fillna("")[list(LASTING)] if path.exists() else pd.DataFrame()
        return sorted(lines.itertuples(index=False, name=None))

    def paths(self) -> set[str]:
        """Everything that lies anywhere in the house."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}

    def _variables(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(Path(harness.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.root / "temp"),
        }

    def _orphans(self) -> int:
        """Processes that are alive after the time they have to end; every one inherits where temporary files go."""
        until = time.monotonic() + ORPHAN_LIMIT_S
        while (left := sum(map(self._is_ours, psutil.process_iter()))) and time.monotonic() < until:
            time.sleep(0.1)
        return left

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("TMPDIR") == str(self.root / "temp") and is_alive(process)
        except (psutil.Error, OSError):  # somebody else's, or gone
            return False


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that nobody has waited for does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_half_written(path: Path) -> bool:
    return any(pattern.fullmatch(path.name) for pattern in (HALF_WRITTEN, HALF_BUILT))
