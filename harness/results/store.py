"""Result files: one JSON a case, its answers and its failure log beside it, each written whole or not at all."""

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
    return folder / result.environment.machine / f"{result.name}.json"


def answers_path(path: Path) -> Path:
    """Return the path of the answers row by row, beside the result at `path`."""
    return path.with_suffix(".parquet")


def failure_log(folder: Path, result: Result) -> Path | None:
    """Return the file with the traceback and the worker's output of a failed result."""
    path = _log_path(result_path(folder, result))
    return path if result.status == "failed" and path.exists() else None


def _log_path(path: Path) -> Path:
    return path.with_suffix(".log")


def keep(folder: Path, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
    """Write a result, its answers and its failure log; files of an earlier run are removed."""
    path = result_path(folder, result)
    # The result comes last: where it exists, a session that resumes this one may rely on its answers.
    if answers is None:
        answers_path(path).unlink(missing_ok=True)
    else:
        write_atomically(answers_path(path), answers.to_parquet(index=False))
    if trace and result.status == "failed":
        write_atomically(_log_path(path), trace.encode(errors="replace"))
    else:
        _log_path(path).unlink(missing_ok=True)
    save(folder, result)


def save(folder: Path, result: Result) -> Path:
    """Write the result and return its path; HarnessError if it could not be read back."""
    path = result_path(folder, result)
    _write(path, result, result.name)
    return path


def save_finals(folder: Path, finals: Finals) -> Path:
    """Write a task's finals beside its results and return their path; HarnessError if they could not be read back."""
    path = folder / finals.environment.machine / finals.task / f"{FINALS}.{finals.device}.json"
    _write(path, finals, f"finals of {finals.task} on {finals.device}")
    return path


def _write(path: Path, record: Result | Finals, name: str) -> None:
    content = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    try:
        _check_names(record)
        msgspec.json.decode(content, type=type(record))  # JSON has no NaN: it would come back as null
    except msgspec.ValidationError as error:
        raise HarnessError(f"{name}: cannot be stored: {error}") from error
    write_atomically(path, content)


def load(path: Path) -> Result:
    """Read a result; HarnessError if it is unreadable or has another schema."""
    return _read(path, Result)


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
    for path in sorted(folder.rglob(f"{FINALS}.*.json")):
        if is_finals(path):
            yield _read(path, Finals)


def is_finals(path: Path) -> bool:
    """Return whether the file holds finals; a case's file has a model, a backend and a device in its name."""
    return path.name.startswith(f"{FINALS}.") and path.name.count(".") == 2


def _paths(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.json")) if not is_finals(path))


class _Head(msgspec.Struct):
    """A record of any schema."""

    schema: Any = None


def schema_of(raw: bytes, where: str | Path) -> Any:
    """Return the schema that a file's content states; HarnessError, naming `where`, if it is no JSON object."""
    try:
        return msgspec.json.decode(raw, type=_Head).schema
    except _UNREADABLE as error:
        raise _no_result(where, error) from error


def parse(raw: bytes, where: str | Path) -> Result:
    """Return the result in a file's content; HarnessError, naming `where`, if it is unreadable or of another schema."""
    return _parse(raw, where, Result)


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _no_result(path, error) from error
    return _parse(raw, path, kind)


def _parse(raw: bytes, where: str | Path, kind: type[Record]) -> Record:
    schema = schema_of(raw, where)
    if schema != SCHEMA:
        raise HarnessError(
            f"{where}: schema {schema}, this version reads {SCHEMA}; run the case again or delete the file"
        )
    try:
        record = msgspec.json.decode(raw, type=kind)
        _check_names(record)
    except _UNREADABLE as error:
        raise _no_result(where, error) from error
    return record


def _check_names(record: Result | Finals) -> None:
    """Raise ValidationError where a name could be markup, a formula or a path."""
    entries: tuple[Result | Finalist, ...] = (record,) if isinstance(record, Result) else record.entries
    for name in (record.task, record.environment.machine, *(n for e in entries for n in (e.model, e.backend))):
        if not NAME.fullmatch(name):
            raise msgspec.ValidationError(f"invalid name {name!r} of a task, model, backend or machine")


def _no_result(where: str | Path, error: Exception) -> HarnessError:
    return HarnessError(f"{where}: not a result: {error}; run the case again or delete the file")
