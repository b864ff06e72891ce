"""Stored runs on disk, and what they mean for the cases of a session, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.regression.changes import ENOUGH, Line, change_sentence, left_out, regressions
from harness.results.schema import Result
from harness.results.store import load_all
from harness.util.machine import Environment
from harness.util.text import one_line
from harness.verdicts.comparability import StoredRuns, by_case, differences, environment_differences


def read(folder: Path) -> list[Result]:
    """Every result under the folder, however deep; HarnessError if it has none or one cannot be read."""
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such folder; name one that holds the results of earlier runs")
    found = list(load_all(folder))
    if not found:
        raise HarnessError(f"{folder}: holds no results; copy results/<machine> of earlier runs into it")
    return found


@dataclass(frozen=True)
class Baseline:
    """Stored runs that a session is held against."""

    folder: Path
    runs: StoredRuns

    @classmethod
    def load(cls, folder: Path) -> Baseline:
        """HarnessError if nothing is there or something is unreadable or of another schema."""
        return cls(folder, by_case(read(folder)))

    def check(self, names: Iterable[str], here: Environment) -> None:
        """HarnessError, field by field, if not one of the named cases was stored in this environment."""
        stored = {name: self.runs[name] for name in names if name in self.runs}
        if not stored:
            raise HarnessError(
                f"--ship-baseline {self.folder}: has no run of any selected case; it holds "
                f"{one_line(', '.join(self.runs))}; store runs of these cases, or name another folder"
            )
        lacking = _nearest(environment_differences(run.environment, here) for runs in stored.values() for run in runs)
        if lacking:
            raise HarnessError(
                f"--ship-baseline {self.folder}: nothing in it can be compared with a run here and now: "
                f"{one_line('; '.join(lacking))}; store {ENOUGH} runs of this environment, or run in that one"
            )

    def proven(self, result: Result) -> list[str]:
        """How the result fell short of its stored runs, in sentences; how it ended is told elsewhere."""
        lines = self._lines(result) if result.error is None else []
        return [change_sentence(line) for line in lines if line.word == "regressed"]

    def open(self, results: Mapping[str, Result]) -> list[str]:
        """What the stored runs leave undecided, in sentences."""
        lines = [line for result in results.values() for line in self._lines(result)]
        return [f"{one_line(line.case)} {change_sentence(line)}" for line in lines if line.is_open]

    def notes(self, results: Mapping[str, Result]) -> Iterator[str]:
        """What else a reader should know: cases that were never stored, and stored runs that could not be used."""
        missing = [name for name in results if name not in self.runs]
        if missing:
            yield f"warning: {self.folder} has no run of {', '.join(missing)}"
        stored = {name: self.runs[name] for name in results if name in self.runs}
        yield from map(one_line, left_out(stored, {name: [result] for name, result in results.items()}))

    def _lines(self, result: Result) -> list[Line]:
        return regressions(self.runs, {result.name: [result]})


def _nearest(found: Iterable[list[str]]) -> list[str]:
    """The shortest list: empty if one result can be compared."""
    return min(found, key=lambda fields: len(fields))


@dataclass(frozen=True)
class Compared:
    """What two folders of results say of each other."""

    stored: Path
    today: Path
    lines: Sequence[Line]
    left: Sequence[str]
    """Which stored runs were left out, and why."""
    lacking: str
    """Why nothing of them can be compared, if so."""

    @property
    def regressed(self) -> bool:
        """Whether something is proven worse."""
        return any(line.word == "regressed" for line in self.lines)

    @property
    def open(self) -> bool:
        """Whether somebody who wants to know has to measure again."""
        return any(line.is_open for line in self.lines)


def compare(stored: Path, today: Path) -> Compared:
    """Hold the results in one folder against those in another; HarnessError if they have no case in common."""
    before, now = by_case(read(stored)), dict(sorted(by_case(read(today)).items()))
    machines = {result.environment.machine for runs in now.values() for result in runs}
    if len(machines) > 1:
        raise HarnessError(f"{today}: holds results of {', '.join(sorted(machines))}; name the folder of one machine")
    pairs = [(one, runs[-1]) for name, runs in now.items() for one in before.get(name, ())]
    if not pairs:
        raise HarnessError(f"{stored} and {today} have no case in common; name the stored runs first, then today's")
    lacking = _nearest(differences(one, other) for one, other in pairs)
    return Compared(stored, today, regressions(before, now), list(left_out(before, now)), one_line("; ".join(lacking)))
