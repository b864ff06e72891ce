"""Where rows come from: a source becomes four disjoint, hashed splits."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, disable_progress_bars

from harness.cache import tree_sha256
from harness.errors import HarnessError
from harness.sources import Package, Row
from harness.spec import Task


@dataclass(frozen=True)
class Split:
    """The rows of a task; columns are the task's inputs and `label`, an index into `labels`."""

    train: Dataset
    validation: Dataset
    calibration: Dataset
    test: Dataset
    labels: tuple[str, ...]
    duplicates: int
    """Rows dropped because an earlier row had the same inputs."""

    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: len(getattr(self, name)) for name in PARTS}

    def sha256(self) -> dict[str, str]:
        """Digest of each part's rows, in order."""
        return {name: _digest(getattr(self, name)) for name in PARTS}


PARTS = ("train", "validation", "calibration", "test")


def locate(package: Package) -> Path:
    """Where the package's files lie, verified; HarnessError if it is missing or of another hash."""
    try:
        path = Path(str(metadata.distribution(package.distribution).locate_file(package.path)))
    except metadata.PackageNotFoundError:
        raise HarnessError(
            f"the package {package.distribution} is not installed; run: python -m pip install {package.distribution}"
        ) from None
    if not path.exists():
        raise HarnessError(f"{package.distribution}: the installed version has no {package.path}")
    found = tree_sha256(path)
    if found != package.sha256:
        raise HarnessError(
            f"{package.distribution}: {package.path} has sha256 {found}, the suite pins {package.sha256}; "
            "install the version the suite was written for, or pin the new hash"
        )
    return path


@cache
def load(task: Task) -> Split:
    """Read, drop duplicates, and split with the task's seed, every part with the labels in proportion."""
    disable_progress_bars()
    rows, duplicates = _distinct(_read(task), task)
    asked = task.test + task.validation + task.calibration
    if asked >= len(rows):
        raise HarnessError(
            f"task {task.name}: test, validation and calibration take {asked} rows and leave none of "
            f"{len(rows)} distinct ones to train on; ask for fewer"
        )
    names = tuple(sorted({str(row[task.label]) for row in rows}))
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in task.inputs}
    columns["label"] = [names.index(str(row[task.label])) for row in rows]
    _check_counts(columns["label"], names, task)
    if len(names) < 2:
        raise HarnessError(f"task {task.name}: every row has the label {names[0]}, so there is nothing to tell apart")
    rest = Dataset.from_dict(columns).cast_column("label", ClassLabel(names=list(names)))
    parts: dict[str, Dataset] = {}
    for part, size in (("test", task.test), ("validation", task.validation), ("calibration", task.calibration)):
        rest, parts[part] = _take(rest, size, task, part)
    _check_labels(parts["test"], rest, names, f"task {task.name}")
    if len(set(parts["test"]["label"])) < 2:
        (only,) = set(parts["test"]["label"])
        raise HarnessError(f"task {task.name}: every test row has the label {names[only]}; ask for more test rows")
    return Split(train=rest, labels=names, duplicates=duplicates, **parts)


def budget(split: Split, rows: int | None, who: str) -> Dataset:
    """The first `rows` training rows (they are shuffled); HarnessError if there are fewer."""
    if rows is None:
        return split.train
    if rows > len(split.train):
        raise HarnessError(f"{who}: the recipe asks for {rows} training rows, there are {len(split.train)}")
    chosen = split.train.select(range(rows))
    _check_labels(split.test, chosen, split.labels, f"{who}: with {rows} training rows")
    return chosen


def _read(task: Task) -> list[Row]:
    if task.dataset.read is None:
        raise HarnessError(f"task {task.name}: its Package needs read=, a function from the path to rows")
    path = locate(task.dataset)
    try:
        rows = list(task.dataset.read(path))
    except Exception as error:
        raise HarnessError(f"task {task.name}: reading {path} failed: {type(error).__name__}: {error}") from error
    for number, row in enumerate(rows):
        missing = [name for name in (*task.inputs, task.label) if name not in row]
        if missing:
            raise HarnessError(
                f"task {task.name}: row {number} has no column {', '.join(missing)}; its columns are {', '.join(row)}"
            )
        empty = [name for name in (*task.inputs, task.label) if _is_nothing(row[name])]
        if empty:
            raise HarnessError(
                f"task {task.name}: row {number} has nothing in {', '.join(empty)}; leave it out in read()"
            )
    if not rows:
        raise HarnessError(f"task {task.name}: {task.dataset.distribution} gave no rows")
    return rows


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _distinct(rows: list[Row], task: Task) -> tuple[list[Row], int]:
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(_row_digest(row, task.inputs), row)
    return list(seen.values()), len(rows) - len(seen)


def _row_digest(row: Row, columns: tuple[str, ...]) -> str:
    """Of the inputs: white space folded in texts, shape and bytes of arrays."""
    digest = hashlib.sha256()
    for name in columns:
        value = row[name]
        array = np.asarray(value)
        if isinstance(value, str):
            digest.update(json.dumps(" ".join(value.split())).encode())
        elif array.dtype.kind in "OSU":
            digest.update(json.dumps(value).encode())
        else:
            digest.update(f"{array.dtype.kind}{array.shape}".encode() + array.astype(np.float64).tobytes())
    return digest.hexdigest()


def _take(rest: Dataset, size: int, task: Task, part: str) -> tuple[Dataset, Dataset]:
    try:
        halves = rest.train_test_split(test_size=size, stratify_by_column="label", seed=task.split_seed)
    except ValueError as error:
        raise HarnessError(f"task {task.name}: cannot set apart {size} rows for {part}: {error}") from error
    return halves["train"], halves["test"]


def _check_counts(labels: list[int], names: tuple[str, ...], task: Task) -> None:
    rare = [name for index, name in enumerate(names) if labels.count(index) < 2]
    if rare:
        raise HarnessError(
            f"task {task.name}: too few rows of {', '.join(rare)} to train on and to test with; "
            "add rows or drop the labels"
        )


def _check_labels(test: Dataset, train: Dataset, names: tuple[str, ...], who: str) -> None:
    unseen = sorted(set(test["label"]) - set(train["label"]))
    if unseen:
        raise HarnessError(
            f"{who}: the test rows have labels that training never sees: "
            f"{', '.join(names[i] for i in unseen)}; add rows or drop the labels"
        )


def _digest(rows: Dataset) -> str:
    columns = tuple(rows.column_names)
    return hashlib.sha256("".join(_row_digest(row, columns) for row in rows).encode()).hexdigest()
