"""Folders that are built once: keyed by a fingerprint, locked, verified on use, marker written last."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

MARKER = "shipbench.json"


@cache
def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes; remembered, so only for files that do not change during a session."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(path: Path) -> str:
    """Digest of a file, or of a folder's sorted `path sha256` lines; byte code is left out."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
    lines = "".join(f"{p.relative_to(path).as_posix()} {file_sha256(p)}\n" for p in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def canonical(value: Any) -> Any:
    """`value` as plain JSON data: dataclasses by their fields, functions by name and the hash of their file."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if inspect.isfunction(value):
        return f"{value.__qualname__}@{file_sha256(Path(inspect.getfile(value)))}"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def fingerprint(*parts: Any) -> str:
    """Twelve hex digits that change whenever anything in `parts` does."""
    text = json.dumps(canonical(parts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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

    def get(self, name: str, key: str, build: Callable[[Path], dict[str, Any]], *, fresh: bool = False) -> Entry:
        """The entry `name` with fingerprint `key`, from disk or from `build(empty folder) -> JSON data`."""
        folder = self.root / f"{name}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.exists() and not fresh:
                damage = _damage(folder)
                if damage is None:
                    marker = _read_marker(folder)
                    return Entry(folder, marker["info"], marker["seconds"])
                self.say(f"{folder.name}: {damage}; building it again")
            scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            began = time.monotonic()
            try:
                info = build(scratch)
                seconds = round(time.monotonic() - began, 1)
                marker = {"files": dict(_files(scratch)), "info": info, "seconds": seconds}
                (scratch / MARKER).write_text(json.dumps(marker))
                shutil.rmtree(folder, ignore_errors=True)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return Entry(folder, info, seconds)


def size_bytes(folder: Path) -> int:
    """Bytes on disk of everything in `folder` but the marker."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != MARKER)


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MARKER and "__pycache__" not in path.parts:
            with path.open("rb") as file:
                yield path.relative_to(folder).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()


def _read_marker(folder: Path) -> dict[str, Any]:
    marker: dict[str, Any] = json.loads((folder / MARKER).read_text())
    return marker


def _damage(folder: Path) -> str | None:
    try:
        recorded = _read_marker(folder)["files"]
    except (OSError, ValueError, KeyError):
        return "half-written"
    found = dict(_files(folder))
    changed = sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name))
    return f"corrupt ({', '.join(changed[:3])})" if changed else None
