"""Baselines: folders of stored runs that a session, or another folder of results, is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.regression.changes import ENOUGH, Change, change_sentence, find_changes, left_out
from harness.results.schema import Result
from harness.results.store import load_all
from harness.util.machine import Environment
from harness.util.text import one_line
from harness.verdicts.comparability import StoredRuns, by_case, differences, environment_differences


@dataclass(frozen=True)
class Baseline:
    """Stored runs that a session is compared with."""

    folder: Path
    runs: StoredRuns

    @classmethod
    def load(cls, folder: Path) -> Baseline:
        """Read every result under the folder. Raise HarnessError if it has none, or one is unreadable."""
        if not folder.is_dir():
            raise HarnessError(f"{folder}: no such folder; name one that holds the results of earlier runs")
        if results := list(load_all(folder)):
            return cls(folder, by_case(results))
        raise HarnessError(f"{folder}: holds no results; copy results/<machine> of earlier runs into it")

    def of(self, machine: str) -> Baseline:
        """Return the runs of one machine."""
        runs = {name: [run for run in runs if run.environment.machine == machine] for name, runs in self.runs.items()}
        return Baseline(self.folder, {name: own for name, own in runs.items() if own})

    def check(self, names: Iterable[str], here: Environment) -> None:
        """Raise HarnessError, with every differing field, if no named case was stored in this environment."""
        environments = [run.environment for name in names for run in self.runs.get(name, ())]
        if not environments:
            raise HarnessError(
                f"--ship-baseline {self.folder}: has no run of any selected case; it holds "
                f"{one_line(', '.join(self.runs))}; store runs of these cases, or name another folder"
            )
        if unequal := min((environment_differences(stored, here) for stored in environments), key=len):
            raise HarnessError(
                f"--ship-baseline {self.folder}: none of its runs can be compared with a run in this environment: "
                f"{one_line('; '.join(unequal))}; store {ENOUGH} runs of it, or run in the stored one"
            )

    def regressions(self, result: Result) -> list[str]:
        """Return a sentence for each proven regression; a failed result is reported elsewhere."""
        changes = self._changes([result] if result.error is None else [])
        return [change_sentence(change) for change in changes if change.word == "regressed"]

    def undecided(self, results: Mapping[str, Result]) -> dict[str, bool]:
        """Return a sentence for each change that stored runs neither prove nor exclude → whether a new run may."""
        changes = filter(lambda change: change.is_open, self._changes(results.values()))
        return {f"{one_line(change.case)} {change_sentence(change)}": change.by_repeating for change in changes}

    def notes(self, results: Mapping[str, Result]) -> Iterator[str]:
        """Yield a sentence for cases without a stored run, and for stored runs that could not be used."""
        missing = [name for name in results if name not in self.runs]
        if missing:
            yield f"warning: {self.folder} has no run of {', '.join(missing)}"
        stored = {name: self.runs[name] for name in results if name in self.runs}
        yield from map(one_line, left_out(stored, {name: [result] for name, result in results.items()}))

    def _changes(self, results: Iterable[Result]) -> list[Change]:
        return [change for result in results for change in find_changes(self.runs, {result.name: [result]})]


def compare(stored: Path, today: Path) -> tuple[list[Change], list[str], str]:
    """Return the changes between two folders of results, and the stored runs that could not be used.

    The text names the fields in which even the nearest runs differ; empty if some runs can be compared.
    """
    before, now = Baseline.load(stored).runs, dict(sorted(Baseline.load(today).runs.items()))
    machines = {result.environment.machine for runs in now.values() for result in runs}
    if len(machines) > 1:
        raise HarnessError(f"{today}: holds results of {', '.join(sorted(machines))}; name the folder of one machine")
    unequal = [differences(old, runs[-1]) for name, runs in now.items() for old in before.get(name, ())]
    if not unequal:
        raise HarnessError(f"{stored} and {today} have no case in common; name the stored runs first, then today's")
    nearest: list[str] = min(unequal, key=len)
    return find_changes(before, now), list(left_out(before, now)), one_line("; ".join(nearest))
