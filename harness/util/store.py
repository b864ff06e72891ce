"""A store of folders that are built once: keyed by a fingerprint, locked while built, verified on every use."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock

from harness.errors import HarnessError
from harness.util.locks import hold
from harness.util.remote import Remote

MARKER = "shipbench.json"

Build = Callable[[Path], dict[str, Any]]
"""Fills an empty folder, and returns JSON data about it."""


@dataclass(frozen=True)
class Marker:
    """Content of the file that marks a folder as finished; it is written last."""

    files: dict[str, str]
    """Relative path → sha256, or its size where the files are too many to read."""
    info: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Entry:
    """A finished folder, with what its builder returned."""

    path: Path
    info: dict[str, Any]
    seconds: float
    """Wall time of the build; for information, not for comparison."""


@dataclass(frozen=True)
class Store:
    """A folder of entries. Safe against a second session and against being killed at any instant."""

    root: Path
    say: Callable[[str], None]
    """Receives a sentence when an entry has to be built again."""
    waits: Callable[[str], None] = lambda _: None
    """Receives a sentence while another session builds the entry, and where it comes from elsewhere."""
    remote: Remote | None = None
    """Place outside this machine that has shared entries, too."""

    def folder(self, name: str, key: str) -> Path:
        """Return where an entry lies or will lie."""
        return self.root / f"{name}-{key}"

    def get(
        self, name: str, key: str, build: Build, *, fresh: bool = False, by_size: bool = False, shared: bool = False
    ) -> Entry:
        """Return the entry `name` with fingerprint `key`, from disk or from `build`.

        `by_size` verifies files by their sizes only; `fresh` builds in any case; a `shared` one may come from the
        remote place, and goes there.
        """
        folder, remote = self.folder(name, key), self.remote if shared else None
        folder.parent.mkdir(parents=True, exist_ok=True)
        (self.root / ".gitignore").write_text("*\n")
        with hold(Path(f"{folder}.lock"), folder.name, self.waits):
            marker = None if fresh else self._intact(folder, by_size)
            if marker is None and remote is not None and not fresh:
                content = remote.marker(self._remote_name(folder))
                marker = None if content is None else self._take(remote, folder, content)
            is_new = marker is None
            if marker is None:
                marker = _fill(folder, lambda scratch: _build(build, scratch, by_size))
            if remote is not None:
                marker = self._share(remote, folder, marker, is_new, fresh)
        return Entry(folder, marker.info, marker.seconds)

    def _intact(self, folder: Path, by_size: bool) -> Marker | None:
        """Return the marker of an entry that is here as it was built."""
        if not folder.exists():
            return None
        marker, changes = _verify(folder, by_size)
        if marker is None or changes:
            self.say(f"{folder.name}: corrupt ({', '.join(changes[:3])}); building it again")
            return None
        return marker

    def _remote_name(self, folder: Path) -> str:
        return folder.relative_to(self.root).as_posix()

    def _take(self, remote: Remote, folder: Path, content: bytes) -> Marker:
        """Replace an entry by the one at the remote place, whose marker has this content."""
        try:
            marker = msgspec.json.decode(content, type=Marker)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            place = f"{remote.url}/{self._remote_name(folder)}.json"
            raise HarnessError(f"{place}: not an entry's marker: {error}; remove it") from error

        def download(scratch: Path) -> Marker:
            remote.download(marker.files, scratch)
            return marker

        taken = _fill(folder, download)
        self.waits(f"{folder.name}: taken from {remote.url}")
        return taken

    def _share(self, remote: Remote, folder: Path, marker: Marker, is_new: bool, fresh: bool) -> Marker:
        """Write an entry to the remote place unless that has one, and return the entry to go on with.

        An entry that was just built gives way to one that came first, so that all machines go on with the same; one
        that was here before is in use. An entry that cannot be shared is as good here.
        """
        name = self._remote_name(folder)
        try:
            theirs = None if fresh else remote.marker(name)
            if theirs is None:
                theirs = remote.upload(name, msgspec.json.encode(marker), marker.files, folder, replace=fresh)
            if theirs is not None and is_new:
                return self._take(remote, folder, theirs)
        except HarnessError as error:
            self.say(f"{folder.name}: not shared: {error}")
        return marker


def _fill(folder: Path, fill: Callable[[Path], Marker]) -> Marker:
    """Replace a folder by one that `fill` has filled, and write its marker."""
    with _replacing(folder) as scratch:
        marker = fill(scratch)
        (scratch / MARKER).write_bytes(msgspec.json.encode(marker))
    return marker


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` in the end, unless something is raised meanwhile."""
    for stray in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(stray)  # left by a build that was killed
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield scratch
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build(build: Build, scratch: Path, by_size: bool) -> Marker:
    began = time.monotonic()
    info = build(scratch) or {}
    return Marker(_marks(scratch, by_size), info, round(time.monotonic() - began, 1))


def users_folder() -> Path:
    """Return this user's folder of entries, for sessions whose own folder does not stay or is not theirs alone."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "shipbench"


def open_entry(folder: Path) -> tuple[Entry, dict[str, str]]:
    """Return an entry and the sha256 of each of its files; HarnessError if it is missing or changed."""
    if not folder.is_dir():
        raise HarnessError(f"{folder} is gone; run the case again")
    with FileLock(f"{folder}.lock"):
        marker, changes = _verify(folder)
    if marker is None or changes:
        raise HarnessError(f"{folder} is corrupt ({', '.join(changes[:3])}); run the case again")
    return Entry(folder, marker.info, marker.seconds), marker.files


def changed_files(folder: Path) -> list[str]:
    """Return the files of an entry, or of a copy of one, that changed since it was built."""
    return _verify(folder)[1]


def size_bytes(folder: Path) -> int:
    """Return the size of an entry's files, without its marker."""
    return sum(path.stat().st_size for path in _files(folder))


def _verify(folder: Path, by_size: bool = False) -> tuple[Marker | None, list[str]]:
    """Return the marker, and the names of files that differ from it; an unreadable marker is such a file."""
    try:
        marker = msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None, [MARKER]
    return marker, sorted({name for name, _ in marker.files.items() ^ _marks(folder, by_size).items()})


def _marks(folder: Path, by_size: bool) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): _mark(path, by_size) for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.name != MARKER and path.suffix != ".pyc")


def _mark(path: Path, by_size: bool) -> str:
    if by_size:
        return f"{path.stat().st_size} bytes"
    with path.open("rb") as file:  # `identity.file_sha256` remembers files, and these may be damaged
        return hashlib.file_digest(file, "sha256").hexdigest()
