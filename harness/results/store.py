"""Result files: one JSON file per case, its answers and its failure log beside it, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from harness.contracts.declarations import NAME
from harness.errors import HarnessError
from harness.results.schema import SCHEMA, Finalist, Finals, Result
from harness.util.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

FINALS = "finals"
Record = TypeVar("Record", Result, Finals)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, HarnessError)
"""Errors of decoding; HarnessError comes from a declaration in the record, such as a gate out of range."""


def result_path(folder: Path, result: Result) -> Path:
    """Return the result's path under a folder of results."""
    return folder / f"{result.stored_name}.json"


def answers_path(result: Path) -> Path:
    """Return the path of a result's answers row by row."""
    return result.with_suffix(".parquet")


def failure_log(folder: Path, result: Result) -> Path | None:
    """Return the file with the traceback and the worker's output of a failed result."""
    path = result_path(folder, result).with_suffix(".log")
    return path if result.status == "failed" and path.exists() else None


def keep(folder: Path, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
    """Write a result, its answers and its failure log; files of an earlier run are removed."""
    path = result_path(folder, result)
    log = path.with_suffix(".log")
    # The result comes last: where it exists, a session that resumes this one may rely on its answers.
    if answers is None:
        answers_path(path).unlink(missing_ok=True)
    else:
        write_atomically(answers_path(path), answers.to_parquet(index=False))
    if trace and result.status == "failed":
        write_atomically(log, trace.encode(errors="replace"))
    else:
        log.unlink(missing_ok=True)
    save(folder, result)


def remove(folder: Path, result: Result) -> None:
    """Remove a result with its answers and its failure log."""
    path = result_path(folder, result)
    for file in (answers_path(path), path.with_suffix(".log"), path):
        file.unlink(missing_ok=True)


def save(folder: Path, result: Result) -> Path:
    """Write the result and return its path; HarnessError if it could not be read back."""
    return _write(result_path(folder, result), result, result.name)


def save_finals(folder: Path, finals: Finals) -> Path:
    """Write a task's finals beside its results and return their path; HarnessError if they could not be read back."""
    path = folder / finals.environment.machine / finals.task / f"{FINALS}.{finals.device}.json"
    return _write(path, finals, f"finals of {finals.task} on {finals.device}")


def _write(path: Path, record: Result | Finals, name: str) -> Path:
    content = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    try:
        _check_names(record)
        msgspec.json.decode(content, type=type(record))  # JSON has no NaN: it would come back as null
    except msgspec.ValidationError as error:
        raise HarnessError(f"{name}: cannot be stored: {error}; correct what returned that value") from error
    write_atomically(path, content)
    return path


def load(path: Path) -> Result:
    """Read a result; HarnessError if it is unreadable or has another schema."""
    return parse(_read(path), path)


def load_all(folder: Path) -> Iterator[Result]:
    """Read every result under a folder, sorted by name."""
    return map(load, _paths(folder))


def load_by_model(folder: Path, at_once: int = 500) -> Iterator[list[Result]]:
    """Read every result in chunks of about `at_once`, so that thousands fit into memory; a model's stay together."""
    chunk: list[Result] = []
    for _, paths in groupby(_paths(folder), lambda path: (path.parent, path.name.partition(".")[0])):
        chunk += map(load, paths)
        if len(chunk) >= at_once:
            yield chunk
            chunk = []
    yield chunk


def load_finals(folder: Path) -> Iterator[Finals]:
    """Read every task's finals under a folder, sorted by name."""
    for path in filter(is_finals, sorted(folder.rglob(f"{FINALS}.*.json"))):
        yield parse_finals(_read(path), path)


def is_finals(path: Path) -> bool:
    """Return whether the file holds finals; a case's file has a model, a backend and a device in its name."""
    return path.name.startswith(f"{FINALS}.") and path.name.count(".") == 2


def _paths(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.json")) if not is_finals(path))


def parse(raw: bytes, where: str | Path) -> Result:
    """Return the result in a file's content; HarnessError, naming `where`, if it is unreadable or of another schema."""
    return _parse(raw, where, Result)


def parse_finals(raw: bytes, where: str | Path) -> Finals:
    """Return the finals in a file's content; HarnessError as `parse` raises it."""
    return _parse(raw, where, Finals)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path}: unreadable: {error}; run the case again") from error


class _Head(msgspec.Struct):
    schema: Any = None


def _parse(raw: bytes, where: str | Path, kind: type[Record]) -> Record:
    try:
        if (schema := msgspec.json.decode(raw, type=_Head).schema) != SCHEMA:
            raise HarnessError(f"schema {schema}, this version reads {SCHEMA}")
        record = msgspec.json.decode(raw, type=kind)
        _check_names(record)
    except _UNREADABLE as error:
        raise HarnessError(f"{where}: unreadable: {error}; run the case again or delete the file") from error
    return record


def _check_names(record: Result | Finals) -> None:
    """Raise ValidationError where a name could be markup, a formula or a path."""
    entries: tuple[Result | Finalist, ...] = (record,) if isinstance(record, Result) else record.entries
    for name in (record.task, record.environment.machine, *(n for e in entries for n in (e.model, e.backend))):
        if not NAME.fullmatch(name):
            raise msgspec.ValidationError(f"invalid name {name!r} of a task, model, backend or machine")
