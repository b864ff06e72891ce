"""History: every measurement that was ever committed under a results folder, and the runs of each case in order."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError
from harness.regression.changes import why_no_speed
from harness.results.schema import Result, Workload
from harness.results.store import is_finals, parse
from harness.stats.intervals import Interval, join_names
from harness.verdicts.comparability import COMPARISON_KEY, comparisons, differences, length_difference, lengths_of
from harness.verdicts.speed import own_speedup, precompute_speedups
from harness.verdicts.table import Row, case_rows, to_frame

GIT = ("git", "-c", "core.quotePath=false", "-c", "log.showSignature=false")
TYPES = {
    "boolean": ("recommended", "pareto", "in_last_run"),
    "Int64": ("arms", "batch", "gained", "gate_batch", "launches", "lost", "rounds", "rows", "seeds",
              "source_gained", "source_lost", "threads"),
    "string": (*COMPARISON_KEY, "backend", "broken_gate", "commit", "committed", "compared_with", "cpu", "created",
               "error", "first_commit", "measurement", "metric", "other_scores", "reasons", "status", "verdict"),
}  # fmt: skip
"""Types of columns; the others are numbers. They do not follow the content, so that tables of two days concatenate."""


class Commit(NamedTuple):
    """A commit of the results' repository, with its date in ISO 8601."""

    id: str
    date: str


class File(NamedTuple):
    """A JSON file below the results folder, with the first commit that has it."""

    blob: str
    path: str
    commit: Commit


class Point(NamedTuple):
    """One measurement of one case."""

    result: Result
    """Without samples and answers, so that thousands fit into memory."""
    speedup: Interval | None
    """At the judged batch; None for the reference, and without a valid one, for the reason in `why`."""
    why: str
    score: float | None
    workload: Workload | None
    lengths: dict[int, int]
    """First row of a batch → its length."""


class Segment(NamedTuple):
    """Successive points whose speed-ups can be compared, and the fields that changed before them."""

    cause: str
    points: list[Point]


class CaseHistory(NamedTuple):
    """One case on one machine, its points in the order of measurement; the reference has no segments."""

    machine: str
    case: str
    points: Sequence[Point]
    segments: Sequence[Segment]


@dataclass(kw_only=True)
class History:
    """Everything that was committed under a results folder; points are in the order of measurement."""

    points: list[Point] = field(default_factory=list)
    commits: dict[tuple[str, str, str], Commit] = field(default_factory=dict)
    """The first commit of each point, by `key_of` its result."""
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    """Reason → files, the newest first."""
    notes: list[str] = field(default_factory=list)
    """Files that could not be read, commits that are missing here."""
    rows: list[Row] = field(default_factory=list)

    @property
    def cases(self) -> list[CaseHistory]:
        """The points of each machine and case, sorted by name."""
        points: dict[tuple[str, str], list[Point]] = {}
        for point in self.points:
            points.setdefault((point.result.environment.machine, point.result.name), []).append(point)
        return [CaseHistory(*key, points[key], split(points[key])) for key in sorted(points)]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each measurement, case and workload, with the columns of `comparison.csv` and two of git's."""
        frame = to_frame(self.rows)
        cases = frame["task"] + "/" + frame["model"] + "." + frame["backend"] + "." + frame["device"]
        commits = [self.commits[key] for key in zip(frame["measurement"], frame["machine"], cases, strict=True)]
        frame = frame.join(pd.DataFrame(commits, columns=["first_commit", "committed"]))
        types = {name: kind for kind, names in TYPES.items() for name in names}
        frame = frame.astype({name: types.get(name, "float64") for name in map(str, frame)})
        return frame.sort_values(["created", "machine"], kind="stable", ignore_index=True)


def key_of(result: Result) -> tuple[str, str, str]:
    """Return measurement, machine and case: one point, in however many commits."""
    return result.measurement, result.environment.machine, result.name


def read(folder: Path, expression: str = "") -> History:
    """Read the history of every case whose name contains all words of the expression; `and` may stand between them.

    If a measurement was written twice, the later file counts. Raise HarnessError for the rest of pytest's `-k`
    language, for a folder in no repository, and if no commit has a matching result.
    """
    words = [word for word in expression.split() if word != "and"]
    if {"or", "not"} & set(words) or "(" in expression:
        raise HarnessError(f"-k {expression!r}: only words joined by and are allowed, such as 'minilm and int8'")
    files = [
        file
        for file in committed(folder)
        if all(word.casefold() in "/".join(Path(file.path).with_suffix("").parts[-2:]).casefold() for word in words)
    ]
    if not files:
        missing = f"no result whose name contains {join_names(words)}" if words else "no results"
        raise HarnessError(f"{folder}: {missing} in any commit; measure with --ship-machine NAME and commit them")
    history = History()
    for _, comparison in groupby(files[::-1], lambda file: (file.commit, file.path.partition(".")[0])):
        results = list(_unseen(folder, comparison, history))
        precompute_speedups(results)
        history.points += map(point_of, results)
        for _, runs in groupby(sorted(results, key=lambda r: r.measurement), lambda r: r.measurement):
            history.rows += [row for group in comparisons(runs) for row in case_rows(group)]
    history.points.sort(key=lambda p: (p.result.created, p.result.measurement))
    for reason, (newest, *others) in history.unreadable.items():
        history.notes.append(f"{newest}{f' and {len(others)} more' if others else ''}: {reason}")
    if _git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
        history.notes.append("this clone is shallow: earlier commits are missing; run git fetch --unshallow")
    return history


def _unseen(folder: Path, files: Iterable[File], history: History) -> Iterator[Result]:
    """Yield the results that no newer commit has rewritten; note the commit of all, and which are unreadable."""
    for file in files:
        raw, where = _git(folder, "cat-file", "blob", file.blob), f"{file.path} in {file.commit.id[:10]}"
        try:
            result = parse(raw, where)
        except HarnessError as error:
            history.unreadable.setdefault(str(error).removeprefix(f"{where}: "), []).append(where)
            continue
        if key_of(result) not in history.commits:
            yield result
        history.commits[key_of(result)] = file.commit


def committed(folder: Path) -> list[File]:
    """Return every case's JSON that a commit up to HEAD has under the folder, oldest first, each content once."""
    changes = ("--raw", "-z", "-m", "--root", "--no-renames", "--no-abbrev", "--diff-filter=AM", "--relative")
    order = ("--topo-order", "--reverse", "--format=%H %cI")
    files: dict[str, File] = {}
    commit = Commit("", "")
    log = _git(folder, "log", *order, *changes, "--", ":(glob)**/*.json")
    entries = (entry.strip("\n") for entry in log.decode(errors="replace").split("\0"))
    for entry in entries:
        if entry.startswith(":"):
            _, mode, _, blob, _ = entry.split(" ")
            path = next(entries)
            if mode.startswith("100") and not is_finals(Path(path)):  # no links, no submodules
                files.setdefault(blob, File(blob, path, commit))
        elif entry:
            commit = Commit(*entry.split(" ", 1))
    return list(files.values())


def _git(folder: Path, *words: str) -> bytes:
    try:
        done = subprocess.run([*GIT, "-C", str(folder), *words], capture_output=True, check=False)
    except OSError as error:
        raise HarnessError(f"history is read from git, which cannot be started: {error}; install git") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"git {words[0]} ended with {done.returncode}"
        raise HarnessError(f"{folder}: git cannot read the history; give a folder inside a repository: {reason}")
    return done.stdout


def point_of(result: Result) -> Point:
    """Return the part of a result that a history needs."""
    series = result.series[:1]
    why, is_reference = why_no_speed(result, series), result.backend == REFERENCE
    return Point(
        result=replace(result, series=(), answers=None, reference_process=None, seeds=(), notes=()),
        speedup=None if why or is_reference else own_speedup(series[0]),
        why="" if series and is_reference else why,
        score=result.answers.score if result.answers else None,
        workload=series[0].workload if series else None,
        lengths=lengths_of(series[0]) if series else {},
    )


def split(points: Iterable[Point]) -> list[Segment]:
    """Split the points with a speed-up where something changed that speed-ups depend on."""
    segments: list[Segment] = []
    for point in points:
        if point.speedup is not None:
            cause = _changed_fields(segments[-1].points[-1], point) if segments else ""
            if cause or not segments:
                segments.append(Segment(cause, []))
            segments[-1].points.append(point)
    return segments


def _changed_fields(before: Point, after: Point) -> str:
    """Name every field that makes two points incomparable, with its values; empty if none does."""
    fields = differences(before.result, after.result)
    if before.workload != after.workload:
        fields.append(f"workload {before.workload} stored, {after.workload} today")
    if longer := length_difference(before.lengths, after.lengths):
        fields.append(longer)
    return "; ".join(re.sub(r" stored, (.*) today$", r" before, \1 after", text, flags=re.DOTALL) for text in fields)
