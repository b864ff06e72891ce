"""A task's columns of a table: its inputs, and labels as names, lists of names, numbers or as they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from harness.contracts.sources import Package
from harness.data import audio, boxes, images
from harness.data.tables import Table
from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def select_columns(task: Task, split: str, table: Table, listed: list[str], notes: list[str]) -> Dataset:
    """Return the task's inputs and `label`, and add to the lists; HarnessError for a missing column or value."""
    rows = _complete_rows(task, split, table)
    selected = rows.select_columns(list(task.inputs))
    if task.label is not None:
        values, feature = (
            _labels(task, split, rows, task.label, listed)
            if isinstance(task.label, str)
            else _flags(task, split, rows, task.label, listed)
        )
        selected = selected.add_column("label", values, feature=feature)
    return _checked_media(task, split, table, selected, notes)


def _complete_rows(task: Task, split: str, table: Table) -> Dataset:
    """Return a table's rows, whose cells in the task's columns are text; HarnessError if one has no value."""
    rows = _add_fields(task, table.rows)
    missing = [name for name in task.columns if name not in rows.column_names]
    check_columns(task, split, missing, rows.flatten().column_names)
    for name in task.columns:
        empty = rows.data.column(name).is_null(nan_is_null=True).to_pylist()
        if any(empty):
            raise HarnessError(
                f"{table.place(empty.index(True))}row {empty.index(True)} of {split} has no value in {name}, "
                f"as have {sum(empty)} of {len(rows)} rows; leave them out"
            )
    if not len(rows):
        raise HarnessError(f"task {task.name}: {task.dataset}: {split} has no rows; add some, or leave its file out")
    if not isinstance(task.dataset, Package):
        for name in task.columns if not task.kind.media else task.label_columns:
            rows = _as_text(task, rows, name)
    return rows


def _checked_media(task: Task, split: str, table: Table, rows: Dataset, notes: list[str]) -> Dataset:
    """Return the rows with every recording and image examined; add to `notes`."""
    from datasets import Image

    for name in task.inputs:
        remarks: list[str] = []
        if task.kind.media == "audio":
            folders = [file.parent for file, count, _ in table.files for _ in range(count)]
            rows, remarks = audio.check(task, split, rows, name, folders)
        elif task.kind.media == "image" or isinstance(rows.features[name], Image):
            rows, remarks = images.check_images(task, split, rows, name)
        notes += remarks
    return rows


def _as_text(task: Task, rows: Dataset, name: str) -> Dataset:
    """Return the rows with the numbers, dates and truth values of a column as text; labels of a list remain its own."""
    import pyarrow as pa
    from datasets import Value

    feature = rows.features[name]
    if not isinstance(feature, Value) or feature.dtype == "string":
        return rows
    try:
        text = rows.data.column(name).cast(pa.string())
    except pa.ArrowException as error:
        problem = f"column {name} holds {feature.dtype}, which is no text: {error}; write it as text"
        raise HarnessError(f"task {task.name}: {task.dataset}: {problem}") from error
    at = rows.column_names
    return rows.remove_columns(name).add_column(name, text, feature=Value("string")).select_columns(at)


def check_columns(task: Task, split: str, missing: list[str], columns: Iterable[str]) -> None:
    """Raise HarnessError if a table lacks any of a task's columns."""
    if missing:
        choices = [*columns]
        close = [match for name in missing for match in get_close_matches(name, choices, n=1)]
        hint = f"; did you mean {', '.join(map(repr, close))}?" if close else ""
        names = f"{', '.join(missing)}; it has {', '.join(choices)}"
        raise HarnessError(f"task {task.name}: {task.dataset}: {split} has no column {names}{hint}")


def _add_fields(task: Task, rows: Dataset) -> Dataset:
    """Return the rows with a column `a.b` for each field b of column a that the task names so."""
    from datasets import concatenate_datasets

    fields = [name for name in task.columns if name not in rows.column_names and "." in name]
    flat = rows.flatten() if fields else rows
    fields = [name for name in fields if name in flat.column_names]
    return concatenate_datasets([rows, flat.select_columns(fields)], axis=1) if fields else rows


def _labels(task: Task, split: str, rows: Dataset, column: str, listed: list[str]) -> tuple[list[Any], Any]:
    """Return the values of the label column, as names unless they are texts, masks or free, and their feature."""
    from datasets import List, Value

    feature, sort = rows.features[column], task.kind.label
    if sort == "text" and not isinstance(feature, Value):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} must hold one text per row, but row 0 has "
            f"{str(rows.data.column(column)[0])[:80]}; write one text, or choose another column or kind"
        )
    if sort in ("text", "free", "mask"):
        given = images.undecoded(rows, column)
        return list(given[column][:]), given.features[column]
    values = rows.data.column(column).to_pylist()
    if sort == "boxes":
        return boxes.parse(task, split, column, values, feature, listed), boxes.feature(Value("string"))
    if sort == "number":
        return _numbers(task, split, column, values, feature), Value("float64")
    lists, name = _label_lists(task, split, column, values, feature, listed)
    names = [[name(label) for label in labels] for labels in lists]
    if sort == "one":
        return [label for (label,) in names], Value("string")
    return [sorted(labels) for labels in names] if sort == "many" else names, List(Value("string"))


def _label_lists(
    task: Task, split: str, column: str, values: list[Any], feature: Any, listed: list[str]
) -> tuple[list[list[Any]], Callable[[Any], str]]:
    """Return each row's labels, and the function from a label to its name, whose choices are added to `listed`.

    HarnessError for -1, by which `datasets` marks a label that is not published.
    """
    from datasets import ClassLabel, LargeList, List, Value

    sort = task.kind.label
    each = sort in ("each", "many")
    if not isinstance(feature, List | LargeList if each else ClassLabel | Value):
        flags = ", name a column of 0 and 1 for each label, as in label=('urgent', 'angry')" if sort == "many" else ""
        raise HarnessError(
            f"task {task.name}: column {column} of {split} must hold {'a list of labels' if each else 'one label'} "
            f"per row, but row 0 has the {type(values[0]).__name__} {str(values[0])[:80]}; mend it{flags}, or choose "
            f"another column or kind{'; multi-label-classification reads lists' if sort == 'one' else ''}"
        )
    lists: list[list[Any]] = values if each else [[value] for value in values]
    _check_lists(task, split, column, lists)
    name: Callable[[Any], str] = str
    if isinstance(inner := feature.feature if each else feature, ClassLabel):
        name = inner.int2str
        listed += inner.names
        if hidden := sum(min(labels, default=0) < 0 for labels in lists):
            rows_of = f"{hidden} of {len(values)} rows of {split}"
            raise HarnessError(
                f"task {task.name}: {rows_of} have the label -1: their labels are not published; use another split"
            )
    return lists, name


def _check_lists(task: Task, split: str, column: str, lists: list[list[Any]]) -> None:
    """Raise HarnessError for a label that is missing or stands twice in a row."""
    sort = task.kind.label
    if (row := next((row for row, labels in enumerate(lists) if None in labels), None)) is not None:
        what, add = ("word without a label", "label") if sort == "each" else ("label without a name", "name")
        raise HarnessError(f"task {task.name}: row {row} of {split} has a {what} in {column}; give it a {add}")
    if sort == "many" and (row := next((n for n, labels in enumerate(lists) if len({*labels}) < len(labels)), -1)) >= 0:
        raise HarnessError(f"task {task.name}: row {row} of {split} has a label twice in {column}; name each once")


def _flags(task: Task, split: str, rows: Dataset, columns: Sequence[str], listed: list[str]) -> tuple[list[Any], Any]:
    """Return the names of each row's labels, of which each has a column of 0 and 1, and their feature."""
    from datasets import List, Value

    listed += columns
    flags = {name: [FLAGS.get(str(value).lower()) for value in rows.data.column(name).to_pylist()] for name in columns}
    for name, column in flags.items():
        if None in column:
            row = column.index(None)
            raise HarnessError(
                f"task {task.name}: row {row} of {split} has {rows.data.column(name)[row].as_py()!r} in {name}, which "
                f"as one of several columns in label= holds 0 or 1 ({column.count(None):,} of {len(column):,} rows do "
                "not); mend it, or leave the column out of label="
            )
    names = [sorted(name for name in columns if flags[name][row]) for row in range(len(rows))]
    return names, List(Value("string"))


def _numbers(task: Task, split: str, column: str, values: list[Any], feature: Any) -> list[float]:
    """Return the values as numbers; HarnessError for what is none, NaN and names of labels included."""
    from datasets import ClassLabel

    numbers = [_finite(value) for value in values]
    if isinstance(feature, ClassLabel):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} holds labels ({', '.join(feature.names[:5])}), no numbers; "
            "choose another column or kind"
        )
    if None in numbers:
        row = numbers.index(None)
        raise HarnessError(
            f"task {task.name}: row {row} of {split} has {str(values[row])[:80]!r} in {column}, which is no finite "
            f"number ({numbers.count(None):,} of {len(numbers):,} rows have none); write it like 4.5, leave the row "
            f"out, or choose another column or kind than {task.kind.name}"
        )
    return numbers  # type: ignore[return-value]


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) and "_" not in str(value) else None
