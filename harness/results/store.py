"""Result ↔ file, one a case, each written whole or not at all.

ALSO: What lies beside a result: its answers row by row, and the whole story of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from harness.contracts.backend import NAME
from harness.errors import HarnessError
from harness.results.schema import SCHEMA, Finalist, Finals, Result
from harness.util.files import write_atomically, write_parquet

if TYPE_CHECKING:
    import pandas as pd

FINALS = "finals"

Record = TypeVar("Record", Result, Finals)


def path_of(folder: Path, result: Result) -> Path:
    """Where the result lies under a results folder."""
    return folder / result.environment.machine / f"{result.name}.json"


def save(folder: Path, result: Result) -> Path:
    """Write the result whole or not at all; HarnessError if it could not be read again."""
    path = path_of(folder, result)
    _write(path, result, result.name)
    return path


def save_finals(folder: Path, finals: Finals) -> Path:
    """Write the finals of a task beside its results, likewise."""
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


class _Head(msgspec.Struct):
    """Of a record whose other fields may be of any schema."""

    schema: Any = None


def load(path: Path) -> Result:
    """Read a result; HarnessError if it is unreadable or of another schema."""
    return _read(path, Result)


def _check_names(record: Result | Finals) -> None:
    """ValidationError where a name could be markup, a formula or a path."""
    entries: tuple[Result | Finalist, ...] = (record,) if isinstance(record, Result) else record.entries
    for name in (record.task, record.environment.machine, *(n for e in entries for n in (e.model, e.backend))):
        if not NAME.fullmatch(name):
            raise msgspec.ValidationError(f"{name!r} is no name of a task, a model, a backend or a machine")


def schema_of(raw: bytes, where: str | Path) -> Any:
    """The schema that a file's content says it has; HarnessError, naming `where` it was, if it is no JSON object."""
    try:
        return msgspec.json.decode(raw, type=_Head).schema
    except _UNREADABLE as error:
        raise _no_result(where, error) from error


def parse(raw: bytes, where: str | Path) -> Result:
    """The result that a file's content is; HarnessError, likewise, if it is none or of another schema."""
    return _parse(raw, where, Result)


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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


def _no_result(where: str | Path, error: Exception) -> HarnessError:
    return HarnessError(f"{where}: not a result: {error}; run the case again or delete the file")


def load_all(folder: Path) -> Iterator[Result]:
    """Every result under a folder, in the order of their names."""
    return map(load, _paths(folder))


def load_by_model(folder: Path, at_once: int = 500) -> Iterator[list[Result]]:
    """Likewise, some `at_once` or a few more, so that thousands fit into memory; those of a model are never parted."""
    chunk: list[Result] = []
    for _, paths in groupby(_paths(folder), lambda path: (path.parent, path.name.partition(".")[0])):
        chunk += map(load, paths)
        if len(chunk) >= at_once:
            yield chunk
            chunk = []
    yield chunk


def _paths(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.json")) if not is_finals(path))


def load_finals(folder: Path) -> Iterator[Finals]:
    """Every task's finals under a folder, likewise."""
    for path in sorted(folder.rglob(f"{FINALS}.*.json")):
        if is_finals(path):
            yield _read(path, Finals)


def is_finals(path: Path) -> bool:
    """A case's file has a model, a backend and a device in its name, where finals have a device only."""
    return path.name.startswith(f"{FINALS}.") and path.name.count(".") == 2


def keep(folder: Path, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
    """Write a result under a results folder, and what lies beside it; of an earlier run nothing stays there."""
    path = path_of(folder, result)
    # The result comes last: where it is, a session that resumes this one may rely on its answers.
    _save_answers(answers_of(path), answers)
    _save_log(log_of(path), trace if result.status == "failed" else "")
    save(folder, result)


def answers_of(path: Path) -> Path:
    """Where the answers lie, beside the result at `path`."""
    return path.with_suffix(".parquet")


def log_of(path: Path) -> Path:
    """Where the whole story of a failure lies, beside the result at `path`."""
    return path.with_suffix(".log")


def story(folder: Path, result: Result) -> Path | None:
    """The file with the whole story of a result's failure, if it failed."""
    path = log_of(path_of(folder, result))
    return path if result.status == "failed" and path.exists() else None


def _save_answers(path: Path, answers: pd.DataFrame | None) -> None:
    if answers is None:
        path.unlink(missing_ok=True)
    else:
        write_parquet(path, answers)


def _save_log(path: Path, trace: str) -> None:
    if trace:
        write_atomically(path, trace.encode(errors="replace"))
    else:
        path.unlink(missing_ok=True)
