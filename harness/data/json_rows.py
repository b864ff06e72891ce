"""Read the columns of JSON files: numbers keep their text, and mixed types are refused by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.data.delimited import Contents
from harness.errors import HarnessError


class _Spelled(float):
    """A JSON number that keeps its text."""

    text: str

    def __new__(cls, text: str) -> _Spelled:
        number = super().__new__(cls, text)
        number.text = text
        return number


SORTS = {str: "text", bool: "boolean", int: "number", _Spelled: "number", list: "list", dict: "object"}


def read_json(path: Path, text: str, suffix: str, task: Any) -> Contents:
    """Return the columns of JSON lines, or of an array of objects in a `.json`."""
    decoder = json.JSONDecoder(parse_float=_Spelled, parse_constant=_refuse, object_pairs_hook=_unique)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []

    def decode(part: str, place: str) -> Any:
        try:
            return decoder.decode(part)
        except (ValueError, RecursionError) as error:
            expected = "an array of objects, or one object a line" if suffix == ".json" else "one object a line"
            raise HarnessError(f"{path}: {place}is not JSON: {error}; the file must hold {expected}") from error

    array = suffix == ".json" and text.lstrip().startswith("[")
    if array:
        numbered: Iterable[tuple[int, Any]] = enumerate(decode(text, ""), 1)
    else:
        numbered = ((n, decode(line, f"line {n} ")) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    for number, row in numbered:
        if not isinstance(row, dict):
            place = "element" if array else "line"
            raise HarnessError(
                f"{path}: {place} {number} holds {json.dumps(row)[:80]}, which is not an object; "
                'write each row as {"column": value}'
            )
        rows.append(row)
        lines.append(number)
    if not rows:
        raise HarnessError(f"{path} has no rows; write one object for each")
    if suffix == ".json" and len(rows) == 1 and (lists := _packed_rows(rows[0], task)):
        raise HarnessError(
            f"{path} holds one object, with lists in {', '.join(lists)}, which is one row; write an array with one "
            "object for each row, or one object a line"
        )
    places = [] if array else lines
    keys = dict.fromkeys(name for row in rows for name in row)
    names = dict.fromkeys(name for row in rows[:1000] for name in _flatten(row))
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(task.columns or keys):
        values = [row.get(name) for row in rows] if name in keys else [_field(row, name) for row in rows]
        if name in keys or name in names or any(value is not None for value in values):
            columns[name] = _spell(path, name, values, places, task)
    return Contents(columns, [*names], places, [])


def _packed_rows(row: dict[str, Any], task: Any) -> list[str]:
    """Return the names of the lists of an object that look like the rows themselves, or their columns."""
    lists = [name for name, value in row.items() if isinstance(value, list)]
    parts = {type(part) for name in lists for part in row[name]}
    is_table = {*lists} >= {*task.columns} and (list in parts or task.kind.label not in ("each", "many"))
    holds_rows = dict in parts and any(name not in row and name.partition(".")[0] not in row for name in task.columns)
    return lists if holds_rows or is_table else []


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"an object has two values of one name among {', '.join(row)}")
    return row


def _field(row: Any, name: str) -> Any:
    """Return field b of column a of a row for the name `a.b`, at any depth; None without it."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _flatten(row: dict[str, Any], prefix: str = "") -> list[str]:
    nested = ([f"{prefix}{n}"] if not isinstance(v, dict) else _flatten(v, f"{prefix}{n}.") for n, v in row.items())
    return [name for names in nested for name in names]


def _spell(path: Path, name: str, values: list[Any], lines: Sequence[int], task: Any) -> list[Any]:
    """Return numbers and booleans as they are written, labels in lists too; HarnessError for mixed types."""
    is_label = name == task.label and task.kind.label in ("one", "each", "many")
    each = is_label and task.kind.label != "one"
    parts: Iterable[tuple[int, Any]] = enumerate(values)
    if each and all(isinstance(value, list | None) for value in values):
        parts = ((row, part) for row, value in enumerate(values) for part in value or ())
    first: dict[str, str] = {}
    numbers: dict[Any, tuple[str, str]] = {}
    for row, value in parts:
        if value is None:
            continue
        place = f"line {lines[row]}" if lines else f"row {row}"
        sort = SORTS[type(value)]
        if sort not in first:
            first[sort] = f"{place} has the {sort} {json.dumps(value)[:40]}"
        if is_label and sort == "number":
            earlier, written = numbers.setdefault(value, (place, _written(value)))
            if written != _written(value):
                raise HarnessError(
                    f"{path}: column {name}: {earlier} has {written}, {place} {_written(value)}; write one"
                )
    if len(first) > 1:
        raise HarnessError(f"{path}: column {name} mixes types: {', '.join(first.values())}; write all alike")
    return [[_written(part) for part in v] if each and isinstance(v, list) else _written(v) for v in values]


def _written(value: Any) -> Any:
    """Return a number or a boolean as its text in JSON, and anything else as it is."""
    if isinstance(value, _Spelled):
        return value.text
    return json.dumps(value) if isinstance(value, int) else value
