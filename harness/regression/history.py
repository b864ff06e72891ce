"""What git has kept of results: every JSON that a commit ever brought, and what it held.

ALSO: A history of results: every measurement that was ever committed, once, with the commit it came in by."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.regression.trends import Point, point
from harness.results.schema import SCHEMA, Result
from harness.results.store import is_finals, parse, schema_of
from harness.stats.intervals import listed
from harness.verdicts.comparability import PAIR, comparisons
from harness.verdicts.speed import foresee_all
from harness.verdicts.table import Line, case_lines, table

GIT = ("git", "-c", "core.quotePath=false", "-c", "log.showSignature=false")


@dataclass(frozen=True)
class Commit:
    """Of the results' repository."""

    id: str
    date: str
    """When it was committed, ISO 8601."""


@dataclass(frozen=True)
class File:
    """A JSON as some commit first had it."""

    blob: str
    path: str
    """Below the results folder."""
    commit: Commit


def committed(folder: Path) -> list[File]:
    """Every JSON of a case that any commit below HEAD has under the folder, the oldest first, each content once."""
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such results folder; name it with --ship-results")
    _git(folder, "rev-parse", "--git-dir")
    try:
        _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except HarnessError as error:
        raise HarnessError(f"{folder}: its repository has no commit yet; commit results first") from error
    shown = ("--raw", "-z", "-m", "--root", "--no-renames", "--no-abbrev", "--diff-filter=AM", "--relative")
    order = ("--topo-order", "--reverse", "--format=%H %cI")
    found: dict[str, File] = {}
    commit = Commit("", "")
    words = iter(_git(folder, "log", *order, *shown, "--", ":(glob)**/*.json").split("\0"))
    for word in words:
        entry = word.strip("\n")
        if entry.startswith(":"):
            _, mode, _, blob, _ = entry.split(" ")
            path = next(words)
            if mode.startswith("100") and not is_finals(Path(path)):  # no links, no submodules
                found.setdefault(blob, File(blob, path, commit))
        elif entry:
            commit = Commit(*entry.split(" ", 1))
    return list(found.values())


def is_shallow(folder: Path) -> bool:
    """Whether the clone holds the newest commits alone."""
    return _git(folder, "rev-parse", "--is-shallow-repository").strip() == "true"


def contents(folder: Path, blobs: Iterable[str]) -> Iterator[bytes]:
    """Of each blob, by one process."""
    with subprocess.Popen(
        [*GIT, "-C", str(folder), "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for blob in blobs:  # asked for one by one: neither pipe can fill up while the other waits
            process.stdin.write(f"{blob}\n".encode())
            process.stdin.flush()
            name, kind, *size = process.stdout.readline().decode().split() or (blob, "missing")
            if kind != "blob":
                raise HarnessError(f"{folder}: git cannot read {name} ({kind}); is the clone whole? (git fsck)")
            yield process.stdout.read(int(size[0]) + 1)[:-1]


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run([*GIT, "-C", str(folder), *words], capture_output=True, check=False)
    except OSError as error:
        raise HarnessError(f"history is read from git, which cannot be started: {error}; install git") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"git {words[0]} ended with {done.returncode}"
        raise HarnessError(f"{folder}: history is read from git, which says: {said}")
    return done.stdout.decode(errors="replace")


AT_ONCE = 500
"""Results in memory with their samples."""

Key = tuple[str, str, str]

FLAGS = ("chosen", "undominated")

COUNTS = (
    "batch", "rounds", "launches", "arms", "rows", "lost", "gained", "source_lost", "source_gained", "seeds", "threads",
)  # fmt: skip

TEXTS = (
    *PAIR, "backend", "status", "verdict", "reasons", "metric", "others", "broken_gate", "compared_with", "cpu",
    "measurement", "created", "commit", "error", "first_commit", "committed",
)  # fmt: skip
"""Columns by type, others being numbers: it is not left to what is in them, so that tables of two days fit together."""


@dataclass(kw_only=True)
class History:
    """All that was committed under a results folder."""

    points: list[Point] = field(default_factory=list)
    """In the order in which they were measured."""
    commits: dict[Key, Commit] = field(default_factory=dict)
    """Measurement, machine and case → the commit that it was first in."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know: files that could not be read, commits that are not here."""
    lines: list[Line] = field(default_factory=list)
    """Of the tidy table."""

    def commit_of(self, found: Point) -> Commit:
        """The commit that it was first in."""
        return self.commits[key_of(found.result)]

    @property
    def table(self) -> pd.DataFrame:
        """One line a measurement, case and workload, in order; the columns of `comparison.csv` and two of git's."""
        found = table(self.lines)
        cases = found["task"] + "/" + found["model"] + "." + found["backend"] + "." + found["device"]
        commits = [self.commits[key] for key in zip(found["measurement"], found["machine"], cases, strict=True)]
        found["first_commit"] = [commit.id for commit in commits]
        found["committed"] = [commit.date for commit in commits]
        kinds = dict.fromkeys(TEXTS, "string") | dict.fromkeys(FLAGS, "boolean") | dict.fromkeys(COUNTS, "Int64")
        found = found.astype({name: kinds.get(name, "float64") for name in map(str, found)})
        return found.sort_values(["created", "machine"], kind="stable", ignore_index=True)


def key_of(result: Result) -> Key:
    """What is one point, in however many commits."""
    return result.measurement, result.environment.machine, result.name


def read(folder: Path, words: Sequence[str] = ()) -> History:
    """The history of every case whose name holds all of the words.

    Of a measurement that was written twice, the later file counts. HarnessError where there is no repository, no
    commit, or no result in one.
    """
    files = [file for file in committed(folder) if _wanted(file.path, words)]
    if not files:
        what = f"no result whose name holds {listed(words)}" if words else "no results"
        raise HarnessError(f"{folder}: {what} in any commit; measure with --ship-machine NAME and commit the results")
    history = History()
    for chunk in _chunks(folder, files, history):
        foresee_all(chunk)
        history.points += map(point, chunk)
        for _, found in groupby(sorted(chunk, key=lambda r: r.measurement), lambda r: r.measurement):
            history.lines += [line for group in comparisons(found) for line in case_lines(group)]
    history.points.sort(key=lambda p: (p.result.created, p.result.measurement))
    if is_shallow(folder):
        history.notes.append(
            "this clone is shallow: what was committed before it began is not here, and its first commit stands for "
            "all earlier ones; git fetch --unshallow brings them"
        )
    return history


def words_of(expression: str) -> list[str]:
    """What names are to hold; `and` may stand between, HarnessError for what else pytest's `-k` knows."""
    words = expression.split()
    if {"or", "not"} & set(words) or "(" in expression:
        raise HarnessError(
            f"-k {expression!r}: history selects by words that a name holds, all of them: minilm and int8"
        )
    return [word for word in words if word != "and"]


def _wanted(path: str, words: Iterable[str]) -> bool:
    name = "/".join(Path(path).parts[-2:]).removesuffix(".json").casefold()
    return all(word.casefold() in name for word in words)


def _chunks(folder: Path, files: Sequence[File], history: History) -> Iterator[list[Result]]:
    """Results, the newest commit first, in lists of some hundred; those of a comparison are never parted."""
    chunk: list[Result] = []
    schemas: Counter[str] = Counter()
    broken = []
    newest = list(reversed(files))
    pairs = zip(newest, contents(folder, [file.blob for file in newest]), strict=True)
    for _, comparison in groupby(pairs, lambda pair: (pair[0].commit, pair[0].path.partition(".")[0])):
        for file, raw in comparison:
            where = f"{file.path} in {file.commit.id[:10]}"
            try:
                schema = schema_of(raw, where)
                if schema != SCHEMA:
                    schemas[f"{schema}"] += 1
                    continue
                result = parse(raw, where)
            except HarnessError as error:
                broken.append(str(error))
                continue
            if key_of(result) not in history.commits:
                chunk.append(result)
            history.commits[key_of(result)] = file.commit
        if len(chunk) >= AT_ONCE:
            yield chunk
            chunk = []
    yield chunk
    history.notes += [f"{n} files of schema {one}, this version reads {SCHEMA}" for one, n in sorted(schemas.items())]
    history.notes += broken
