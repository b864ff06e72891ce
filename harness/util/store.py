"""A store of folders that are built once: keyed by a fingerprint, locked while built, verified on every use."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock

from harness.errors import HarnessError

MARKER = "shipbench.json"


@dataclass(frozen=True)
class Marker:
    """Content of the file that marks a folder as finished; it is written last."""

    files: dict[str, str]
    """Relative path → sha256, or size where there are too many files to read."""
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

    def folder(self, name: str, key: str) -> Path:
        """Return where an entry lies or will lie."""
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
        """Return the entry `name` with fingerprint `key`, from disk or from `build(empty folder) -> JSON data`.

        `by_size` verifies files by their sizes only; `fresh` builds in any case.
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
            for stray in folder.parent.glob(f".{folder.name}.*"):
                shutil.rmtree(stray)  # left by a build that was killed
            scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            began = time.monotonic()
            try:
                info = build(scratch) or {}
                marker = Marker(_marks(scratch, mark), info, round(time.monotonic() - began, 1))
                (scratch / MARKER).write_bytes(msgspec.json.encode(marker))
                shutil.rmtree(folder, ignore_errors=True)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return Entry(folder, info, marker.seconds)


def open_entry(folder: Path) -> tuple[Entry, dict[str, str]]:
    """Return an entry and the sha256 of each of its files; HarnessError if it is missing or changed."""
    if not folder.is_dir():
        raise HarnessError(f"{folder} is gone")
    with FileLock(f"{folder}.lock"):
        marker, damage = _verify(folder, _sha256)
    if marker is None or damage is not None:
        raise HarnessError(f"{folder} is {damage}")
    return Entry(folder, marker.info, marker.seconds), marker.files


def changed_files(folder: Path) -> list[str]:
    """Return the files of an entry, or of a copy of one, that changed since it was built."""
    marker = _read_marker(folder)
    return [MARKER] if marker is None else _changes(marker, _marks(folder, _sha256))


def size_bytes(folder: Path) -> int:
    """Return the size of an entry's files, without its marker."""
    return sum(path.stat().st_size for path in _files(folder))


def _verify(folder: Path, mark: Callable[[Path], str]) -> tuple[Marker | None, str | None]:
    """Return the folder's marker, and the damage to the folder."""
    marker = _read_marker(folder)
    if marker is None:
        return None, "half-written"
    names = _changes(marker, _marks(folder, mark))
    return marker, f"corrupt ({', '.join(names[:3])})" if names else None


def _read_marker(folder: Path) -> Marker | None:
    try:
        return msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _changes(marker: Marker, marks: dict[str, str]) -> list[str]:
    return [name for name in sorted(marker.files.keys() | marks.keys()) if marker.files.get(name) != marks.get(name)]


def _marks(folder: Path, mark: Callable[[Path], str]) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): mark(path) for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if path.name != MARKER and path.suffix != ".pyc")


def _sha256(path: Path) -> str:
    # `fingerprints.file_sha256` remembers files, and these may be damaged.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> str:
    return f"{path.stat().st_size} bytes"
