"""Result ↔ file, one a case, each written whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.errors import HarnessError
from harness.leftovers import writing
from harness.schema import SCHEMA, Result

if TYPE_CHECKING:
    import pandas as pd


def path_of(folder: Path, result: Result) -> Path:
    """Where the result lies under a results folder."""
    return folder / result.environment.machine / f"{result.name}.json"


def save(folder: Path, result: Result) -> Path:
    """Write the result whole or not at all; HarnessError if it could not be read again."""
    path = path_of(folder, result)
    content = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    try:
        msgspec.json.decode(content, type=Result)  # JSON has no NaN: it would come back as null
    except msgspec.ValidationError as error:
        raise HarnessError(f"{result.name}: cannot be stored: {error}") from error
    write_whole(path, content)
    return path


def save_answers(path: Path, answers: pd.DataFrame | None) -> None:
    """Write the answers row by row, as parquet, beside the result at `path`; None removes those of an earlier run."""
    beside = path.with_suffix(".parquet")
    if answers is None:
        beside.unlink(missing_ok=True)
        return
    buffer = io.BytesIO()
    answers.to_parquet(buffer, index=False)
    write_whole(beside, buffer.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path.parent):
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(scratch).chmod(0o644)
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise


def load(path: Path) -> Result:
    """Read a result; HarnessError if it is unreadable or of another schema."""
    try:
        raw = path.read_bytes()
        found = msgspec.json.decode(raw)
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema != SCHEMA:
            raise HarnessError(
                f"{path}: schema {schema}, this version reads {SCHEMA}; run the case again or delete the file"
            )
        return msgspec.json.decode(raw, type=Result)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HarnessError(f"{path}: not a result: {error}; run the case again or delete the file") from error


def load_all(folder: Path) -> Iterator[Result]:
    """Every result under a folder, in the order of their names."""
    for path in sorted(folder.rglob("*.json")):
        yield load(path)
