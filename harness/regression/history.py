"""History: every measurement that was ever committed under a results folder, once, with its first commit."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.regression.trends import Point, point_of
from harness.results.schema import SCHEMA, Result
from harness.results.store import is_finals, parse, schema_of
from harness.stats.intervals import join_names
from harness.verdicts.comparability import COMPARISON_KEY, comparisons
from harness.verdicts.speed import precompute_speedups
from harness.verdicts.table import Row, case_rows, to_frame

GIT = ("git", "-c", "core.quotePath=false", "-c", "log.showSignature=false")

CHUNK = 500
"""Results that are in memory with their samples at the same time."""

Key = tuple[str, str, str]
"""Measurement, machine and case: one point, in however many commits."""

COUNTS = (
    "batch", "rounds", "launches", "arms", "rows", "lost", "gained", "source_lost", "source_gained", "seeds", "threads",
)  # fmt: skip

FLAGS = ("recommended", "pareto")

TEXTS = (
    *COMPARISON_KEY, "backend", "status", "verdict", "reasons", "metric", "other_scores", "broken_gate",
    "compared_with", "cpu", "measurement", "created", "commit", "error", "first_commit", "committed",
)  # fmt: skip
"""Columns by type; the others are numbers. Types do not follow the content, so that tables of two days concatenate."""


@dataclass(frozen=True)
class Commit:
    """A commit of the results' repository."""

    id: str
    date: str
    """When it was committed, ISO 8601."""


@dataclass(frozen=True)
class File:
    """A JSON file as some commit first had it."""

    blob: str
    path: str
    """Below the results folder."""
    commit: Commit


@dataclass(kw_only=True)
class History:
    """Everything that was committed under a results folder."""

    points: list[Point] = field(default_factory=list)
    """In the order of measurement."""
    commits: dict[Key, Commit] = field(default_factory=dict)
    """The first commit of each point."""
    notes: list[str] = field(default_factory=list)
    """Warnings: files that could not be read, commits that are missing here."""
    rows: list[Row] = field(default_factory=list)
    """Rows of the tidy table."""

    def commit_of(self, point: Point) -> Commit:
        """Return the commit that a point was first in."""
        return self.commits[key_of(point.result)]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each measurement, case and workload, with the columns of `comparison.csv` and two of git's."""
        frame = to_frame(self.rows)
        cases = frame["task"] + "/" + frame["model"] + "." + frame["backend"] + "." + frame["device"]
        commits = [self.commits[key] for key in zip(frame["measurement"], frame["machine"], cases, strict=True)]
        frame["first_commit"] = [commit.id for commit in commits]
        frame["committed"] = [commit.date for commit in commits]
        types = dict.fromkeys(TEXTS, "string") | dict.fromkeys(FLAGS, "boolean") | dict.fromkeys(COUNTS, "Int64")
        frame = frame.astype({name: types.get(name, "float64") for name in map(str, frame)})
        return frame.sort_values(["created", "machine"], kind="stable", ignore_index=True)


def key_of(result: Result) -> Key:
    """Return the key of a result's point."""
    return result.measurement, result.environment.machine, result.name


def read(folder: Path, words: Sequence[str] = ()) -> History:
    """Read the history of every case whose name contains all of the words.

    If a measurement was written twice, the later file counts. Raise HarnessError if the folder is in no repository, or
    no commit has a matching result.
    """
    files = [file for file in committed(folder) if _matches(file.path, words)]
    if not files:
        missing = f"no result whose name contains {join_names(words)}" if words else "no results"
        raise HarnessError(
            f"{folder}: {missing} in any commit; measure with --ship-machine NAME and commit the results"
        )
    history = History()
    for chunk in _chunks(folder, files, history):
        precompute_speedups(chunk)
        history.points += map(point_of, chunk)
        for _, results in groupby(sorted(chunk, key=lambda r: r.measurement), lambda r: r.measurement):
            history.rows += [row for group in comparisons(results) for row in case_rows(group)]
    history.points.sort(key=lambda p: (p.result.created, p.result.measurement))
    if _git(folder, "rev-parse", "--is-shallow-repository").strip() == "true":
        history.notes.append(
            "this clone is shallow: earlier commits are missing, and its first commit stands for all of them; run git "
            "fetch --unshallow to get them"
        )
    return history


def words_of(expression: str) -> list[str]:
    """Split `-k` into the words that a name must contain; `and` may stand between them.

    Raise HarnessError for the rest of pytest's `-k` language.
    """
    words = expression.split()
    if {"or", "not"} & set(words) or "(" in expression:
        raise HarnessError(
            f"-k {expression!r}: history selects the names that contain all of the words, such as: minilm and int8"
        )
    return [word for word in words if word != "and"]


def _matches(path: str, words: Iterable[str]) -> bool:
    name = "/".join(Path(path).parts[-2:]).removesuffix(".json").casefold()
    return all(word.casefold() in name for word in words)


def _chunks(folder: Path, files: Sequence[File], history: History) -> Iterator[list[Result]]:
    """Yield results, the newest commit first, in lists of about `CHUNK`; a comparison is never split."""
    chunk: list[Result] = []
    schemas: Counter[str] = Counter()
    unreadable = []
    newest = files[::-1]
    pairs = zip(newest, _contents(folder, [file.blob for file in newest]), strict=True)
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
                unreadable.append(str(error))
                continue
            if key_of(result) not in history.commits:
                chunk.append(result)
            history.commits[key_of(result)] = file.commit
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    yield chunk
    history.notes += [f"{n} files of schema {old}, this version reads {SCHEMA}" for old, n in sorted(schemas.items())]
    history.notes += unreadable


def committed(folder: Path) -> list[File]:
    """Return every case's JSON that a commit up to HEAD has under the folder, oldest first, each content once."""
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such results folder; name it with --ship-results")
    _git(folder, "rev-parse", "--git-dir")
    try:
        _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except HarnessError as error:
        raise HarnessError(f"{folder}: its repository has no commit yet; commit results first") from error
    changes = ("--raw", "-z", "-m", "--root", "--no-renames", "--no-abbrev", "--diff-filter=AM", "--relative")
    order = ("--topo-order", "--reverse", "--format=%H %cI")
    files: dict[str, File] = {}
    commit = Commit("", "")
    entries = iter(_git(folder, "log", *order, *changes, "--", ":(glob)**/*.json").split("\0"))
    for raw in entries:
        entry = raw.strip("\n")
        if entry.startswith(":"):
            _, mode, _, blob, _ = entry.split(" ")
            path = next(entries)
            if mode.startswith("100") and not is_finals(Path(path)):  # no links, no submodules
                files.setdefault(blob, File(blob, path, commit))
        elif entry:
            commit = Commit(*entry.split(" ", 1))
    return list(files.values())


def _contents(folder: Path, blobs: Iterable[str]) -> Iterator[bytes]:
    """Yield the content of each blob, read by one process."""
    with subprocess.Popen(
        [*GIT, "-C", str(folder), "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for blob in blobs:  # requested one by one: neither pipe can fill up while the other waits
            process.stdin.write(f"{blob}\n".encode())
            process.stdin.flush()
            name, kind, *size = process.stdout.readline().decode().split() or (blob, "missing")
            if kind != "blob":
                raise HarnessError(f"{folder}: git cannot read {name} ({kind}); is the clone complete? (git fsck)")
            yield process.stdout.read(int(size[0]) + 1)[:-1]


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run([*GIT, "-C", str(folder), *words], capture_output=True, check=False)
    except OSError as error:
        raise HarnessError(f"history is read from git, which cannot be started: {error}; install git") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"git {words[0]} ended with {done.returncode}"
        raise HarnessError(f"{folder}: git cannot read the history: {reason}")
    return done.stdout.decode(errors="replace")
