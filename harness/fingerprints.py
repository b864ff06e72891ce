"""What something is, in a few hex digits that change with it: files, folders and declarations."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


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
    """`value` as plain JSON data: functions by name and file hash, dataclasses by the fields that are compared."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=json.dumps)
    if inspect.isfunction(value):
        return f"{value.__qualname__}@{file_sha256(Path(inspect.getfile(value)))}"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path | Enum):
        return str(value)
    # Anything else might print its address, and be another thing in every session.
    raise HarnessError(f"{value!r} cannot be fingerprinted; use plain values and functions of a module")


def fingerprint(*parts: Any) -> str:
    """Twelve hex digits that change whenever anything in `parts` does."""
    text = json.dumps(canonical(parts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
