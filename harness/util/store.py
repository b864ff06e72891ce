"""Folders that are built once: keyed by a fingerprint, locked, verified on use, marker written last."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock

from harness.errors import HarnessError

MARKER = "shipbench.json"


@dataclass(frozen=True)
class Marker:
    """The file that makes a folder finished."""

    files: dict[str, str]
    """Relative path → sha256, or size where there are too many files to read."""
    info: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Entry:
    """A finished folder, and what its builder had to say about it."""

    path: Path
    info: dict[str, Any]
    seconds: float
    """Wall time it took to build; a cost to know, not a measurement to compare."""


@dataclass(frozen=True)
class Store:
    """A folder of such folders. Safe against a second session and against being killed at any instant."""

    root: Path
    say: Callable[[str], None]
    """Told, in a sentence, when something had to be built again."""

    def folder(self, name: str, key: str) -> Path:
        """Where an entry lies, or will."""
        return self.root / f"{name}-{key}"

    def get(
        self,
        name: str,
        key: str,
        build: Callable[[Path], dict[str, Any]],
        *,
        fresh: bool = False,
        by_size: bool = False,
    ) -> Entry:
        """The entry `name` with fingerprint `key`, from disk or from `build(empty folder) -> JSON data`.

        With `by_size` its files are known by their sizes alone.
        """
        folder, mark = self.folder(name, key), _size if by_size else _sha256
        folder.parent.mkdir(parents=True, exist_ok=True)
        (self.root / ".gitignore").write_text("*\n")
        with FileLock(f"{folder}.lock"):
            if folder.exists() and not fresh:
                marker, damage = _verify(folder, mark)
                if marker is not None and damage is None:
                    return Entry(folder, marker.info, marker.seconds)
                self.say(f"{folder.name}: {damage}; building it again")
            for left in folder.parent.glob(f".{folder.name}.*"):
                shutil.rmtree(left)  # by a build that was killed
            scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            began = time.monotonic()
            try:
                info = build(scratch) or {}
                marker = Marker(dict(_files(scratch, mark)), info, round(time.monotonic() - began, 1))
                (scratch / MARKER).write_bytes(msgspec.json.encode(marker))
                shutil.rmtree(folder, ignore_errors=True)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return Entry(folder, info, marker.seconds)


def open_entry(folder: Path) -> tuple[Entry, dict[str, str]]:
    """What was built in `folder` earlier, and the sha256 of each of its files; HarnessError if it is not as it was."""
    if not folder.is_dir():
        raise HarnessError(f"{folder} is gone")
    with FileLock(f"{folder}.lock"):
        marker, damage = _verify(folder, _sha256)
    if marker is None or damage is not None:
        raise HarnessError(f"{folder} is {damage}")
    return Entry(folder, marker.info, marker.seconds), marker.files


def size_bytes(folder: Path) -> int:
    """Bytes on disk of what was built in `folder`."""
    return sum(path.stat().st_size for path in _built(folder))


def _built(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name != MARKER and path.suffix != ".pyc")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> str:
    return f"{path.stat().st_size} bytes"


def _files(folder: Path, mark: Callable[[Path], str]) -> Iterator[tuple[str, str]]:
    for path in _built(folder):
        yield path.relative_to(folder).as_posix(), mark(path)


def changed_files(folder: Path) -> list[str]:
    """Files of an entry, or of a copy of one, that are not as they were built."""
    marker = _marker(folder)
    return [MARKER] if marker is None else _changed(marker, dict(_files(folder, _sha256)))


def _verify(folder: Path, mark: Callable[[Path], str]) -> tuple[Marker | None, str | None]:
    """The folder's marker, and what is wrong with the folder."""
    marker = _marker(folder)
    if marker is None:
        return None, "half-written"
    names = _changed(marker, dict(_files(folder, mark)))
    return marker, f"corrupt ({', '.join(names[:3])})" if names else None


def _marker(folder: Path) -> Marker | None:
    """None where it is missing or no marker."""
    try:
        return msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _changed(marker: Marker, found: dict[str, str]) -> list[str]:
    names = sorted(marker.files.keys() | found.keys())
    return [name for name in names if marker.files.get(name) != found.get(name)]
