"""What git has kept of results: every JSON that a commit ever brought, and what it held."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.records.results import is_finals

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
