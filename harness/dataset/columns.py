"""A table held to what its task reads: its columns are there, whole, and of the right sort."""

from __future__ import annotations

from typing import Any

from datasets import ClassLabel, Dataset, Image, LargeList, List, Value, concatenate_datasets

from harness.errors import HarnessError
from harness.spec import Task


def of_task(task: Task, split: str, rows: Dataset) -> Dataset:
    """The task's inputs and its `label`; HarnessError for a column that is missing, and for a row that lacks one."""
    rows = _with_fields(task, rows)
    missing = [name for name in task.columns if name not in rows.column_names]
    if missing:
        raise HarnessError(
            f"task {task.name}: {split} has no column {', '.join(missing)}; its columns are "
            f"{', '.join(rows.flatten().column_names)}"
        )
    for name in task.columns:
        nothing = rows.data.column(name).is_null(nan_is_null=True).to_pylist()
        if any(nothing):
            raise HarnessError(
                f"task {task.name}: row {nothing.index(True)} of {split} has nothing in {name} "
                f"({sum(nothing)} rows have); leave them out of the file"
            )
    if not len(rows):
        raise HarnessError(f"task {task.name}: {split} has no rows")
    found = rows.select_columns(list(task.inputs))
    if task.label is not None:
        values, feature = _labels(task, split, rows, task.label)
        found = found.add_column("label", values, feature=feature)
    for name in task.inputs:
        if isinstance(found.features[name], Image):
            found = found.cast_column(name, Image(mode="RGB"))
    return found


def _with_fields(task: Task, rows: Dataset) -> Dataset:
    """The rows, and for a column `a.b` that the task wants the field b of their column a."""
    wanted = [name for name in task.columns if name not in rows.column_names and "." in name]
    flat = rows.flatten() if wanted else rows
    found = [name for name in wanted if name in flat.column_names]
    return concatenate_datasets([rows, flat.select_columns(found)], axis=1) if found else rows


def _labels(task: Task, split: str, rows: Dataset, column: str) -> tuple[list[Any], Any]:
    """Values of the label column and their feature: names as their source lists them, or as text if it lists none.

    HarnessError where `datasets` has -1, which is how it writes that a label is not published.
    """
    feature, values = rows.features[column], list(rows[column])
    if task.kind.label == "free":
        return values, feature
    each = task.kind.label == "each"
    if not each and not isinstance(feature, ClassLabel | Value):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} is to hold one label a row, and holds "
            f"{type(values[0]).__name__}"
        )
    if each and not isinstance(feature, List | LargeList):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} is to hold a label for each word, and holds "
            f"{type(values[0]).__name__}"
        )
    inner = feature.feature if each else feature
    empty = [number for number, value in enumerate(values) if each and None in value]
    if empty:
        raise HarnessError(f"task {task.name}: row {empty[0]} of {split} has a word without a label in {column}")
    if not isinstance(inner, ClassLabel):
        texts = [[str(part) for part in value] for value in values] if each else [str(value) for value in values]
        return texts, List(Value("string")) if each else Value("string")
    hidden = sum(min(value, default=0) < 0 if each else value < 0 for value in values)
    if hidden:
        raise HarnessError(
            f"task {task.name}: {hidden} of {len(values)} rows of {split} have no label (-1): those of this "
            "set are not published; take another one"
        )
    return values, List(inner) if each else feature
