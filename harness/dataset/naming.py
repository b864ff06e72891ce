"""Labels of rows: their names, and rows with indices into these."""

from __future__ import annotations

from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from harness.errors import HarnessError
from harness.spec import Task


def labelled(given: dict[str, Dataset], task: Task) -> tuple[tuple[str, ...], dict[str, Dataset]]:
    """Names of the labels that occur, and the rows with indices into them.

    The names stand in the order in which the source lists them; sorted, numbers by size, where it lists none.
    """
    each = task.kind.label == "each"
    features = [rows.features["label"].feature if each else rows.features["label"] for rows in given.values()]
    listed = dict.fromkeys(name for feature in features if isinstance(feature, ClassLabel) for name in feature.names)
    tables = {split: _named(rows, each) for split, rows in given.items()}
    found = set().union(*(used(rows) for rows in tables.values()))
    names = (*(name for name in listed if name in found), *_sorted(found - listed.keys()))
    if len(names) < 2:
        raise HarnessError(f"task {task.name}: every row has the label {names[0]}, so there is nothing to tell apart")
    if "f1" in task.metrics and len(names) > 2:
        raise HarnessError(f"task {task.name}: f1 is of the second of two labels, there are {len(names)}; use f1-macro")
    feature = ClassLabel(names=list(names))
    if each:
        return names, {split: rows.cast_column("label", List(feature)) for split, rows in tables.items()}
    return names, {split: rows.cast_column("label", feature) for split, rows in tables.items()}


def _sorted(names: set[str]) -> list[str]:
    """By the alphabet, or, where all are numbers, by size."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def used(rows: Dataset) -> set[Any]:
    """The labels that rows, or their parts, have."""
    if isinstance(rows.features["label"], List):
        return {label for parts in rows["label"] for label in parts}
    return set(rows.unique("label"))


def _named(rows: Dataset, each: bool) -> Dataset:
    """Rows whose labels are names."""
    feature = rows.features["label"].feature if each else rows.features["label"]
    if not isinstance(feature, ClassLabel):
        return rows
    values = rows["label"]
    names = [feature.int2str(list(value)) for value in values] if each else feature.int2str(list(values))
    kept = rows.remove_columns("label")
    return kept.add_column("label", names, feature=List(Value("string")) if each else Value("string"))
