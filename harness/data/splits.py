"""Digests of rows: of what is the same to a reader, and of what is the same to the letter.

ALSO: Labels of rows: their names, and rows with indices into these.
ALSO: Rows of a task: what its source gives becomes four disjoint, hashed parts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, Image, List, Value, disable_progress_bars

from harness.contracts.sources import Hub, Row
from harness.data import reading
from harness.errors import HarnessError
from harness.spec import Task


def by_row(rows: Dataset, columns: tuple[str, ...]) -> Iterator[str]:
    """Of each row, by these columns."""
    for name in columns:
        if isinstance(rows.features[name], Image):
            rows = rows.cast_column(name, Image(decode=False))
    return (_row_digest(row, columns) for row in rows)


def _row_digest(row: Row, columns: tuple[str, ...]) -> str:
    """Of the inputs: white space folded in texts, shape and bytes of arrays."""
    digest = hashlib.sha256()
    for name in columns:
        value = row[name]
        if isinstance(value, str):
            digest.update(json.dumps(" ".join(value.split())).encode())
        elif isinstance(value, dict) and "bytes" in value:  # an image's file, which `datasets` has in memory or names
            digest.update(value["bytes"] or Path(value["path"]).read_bytes())
        elif isinstance(value, dict) or (array := _numbers(value)) is None:
            digest.update(json.dumps(value).encode())
        else:
            digest.update(f"{array.dtype.kind}{array.shape}".encode() + array.astype(np.float64).tobytes())
    return digest.hexdigest()


def _numbers(value: object) -> np.ndarray[Any, Any] | None:
    """The value as an array of numbers, if it is one."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return None if array.dtype.kind in "OSU" else array


def of_rows(rows: Dataset) -> str:
    """Of all columns, as a reader sees them."""
    return hashlib.sha256("".join(by_row(rows, tuple(rows.column_names))).encode()).hexdigest()


def to_the_letter(rows: Dataset) -> str:
    """Of all columns as they are, white space too."""
    digest = hashlib.sha256()
    for batch in rows.with_format("arrow").iter(1000):
        with pa.ipc.new_stream(sink := pa.BufferOutputStream(), batch.schema) as stream:
            stream.write_table(batch.combine_chunks())
        digest.update(sink.getvalue())
    return digest.hexdigest()


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


@dataclass(frozen=True)
class Split:
    """The rows of a task; columns are the task's inputs and `label`: where labels have names, indices into them."""

    train: Dataset
    validation: Dataset
    calibration: Dataset
    test: Dataset
    labels: tuple[str, ...]
    """Names of what a row, or each part of it, is labelled; none for kinds that answer otherwise."""
    duplicates: int
    """Rows dropped because another has the same inputs; a row that is tested with stays, one to train on goes."""

    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: len(getattr(self, name)) for name in PARTS}

    @cached_property
    def content(self) -> str:
        """Digest of all rows to the letter."""
        return "".join(to_the_letter(getattr(self, name)) for name in PARTS)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Digest of each part's rows, in order."""
        return {name: of_rows(getattr(self, name)) for name in PARTS}


PARTS = ("train", "validation", "calibration", "test")


@cache
def load(task: Task, folder: Path) -> Split:
    """Read, drop duplicates, and take what the source does not set apart itself from its training rows.

    That is drawn with the task's seed, every part with the labels in proportion; `folder` is the suite's.
    """
    disable_progress_bars()
    given, duplicates = _distinct(reading.read(task, folder), task)
    names: tuple[str, ...] = ()
    if task.kind.label in ("one", "each"):
        names, given = labelled(given, task)
    _check_rows(given, task)
    rest = given.pop("train")
    _check_sizes(task, given, rest, names)
    parts: dict[str, Dataset] = {}
    for part, size in _sizes(task).items():
        own = given.get(part)
        if own is not None and (size is None or size == len(own)):
            parts[part] = own
        elif own is not None:
            _, parts[part] = _take(own, size, task, part)
        else:
            rest, parts[part] = _take(rest, size, task, part)
    _check_labels(parts["test"], rest, names, f"task {task.name}")
    if names and len(used(parts["test"])) < 2:
        (only,) = used(parts["test"])
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


def _sizes(task: Task) -> dict[str, int | None]:
    return {"test": task.test, "validation": task.validation, "calibration": task.calibration}


def _check_rows(given: dict[str, Dataset], task: Task) -> None:
    """HarnessError for the first row that the kind cannot ask for."""
    if task.kind.problem is None:
        return
    for split, rows in given.items():
        for number, row in enumerate(rows):
            told = task.kind.problem(row, task.inputs)
            if told:
                only = (
                    "; a set of the Hub is taken whole, so copy it to a Folder" if isinstance(task.dataset, Hub) else ""
                )
                raise HarnessError(f"task {task.name}: row {number} of the distinct ones of {split}: {told}{only}")


def _check_sizes(task: Task, given: dict[str, Dataset], train: Dataset, names: tuple[str, ...]) -> None:
    """HarnessError where a part has no size, or the rows do not suffice."""
    unsized = [part for part, size in _sizes(task).items() if size is None and part not in given]
    if unsized:
        raise HarnessError(
            f"task {task.name}: its rows come in {', '.join(('train', *given))}; say how many of them are set apart "
            f"for {', '.join(unsized)}"
        )
    for part, size in _sizes(task).items():
        if part in given and size is not None and size > len(given[part]):
            raise HarnessError(f"task {task.name}: asks for {size} {part} rows of {len(given[part])} distinct ones")
    asked = {part: size for part, size in _sizes(task).items() if part not in given and size is not None}
    if sum(asked.values()) >= len(train):
        raise HarnessError(
            f"task {task.name}: {', '.join(asked)} take {sum(asked.values())} rows and leave none of "
            f"{len(train)} distinct ones to train on; ask for fewer"
        )
    counts = Counter(train["label"]) if task.kind.label == "one" else None
    rare = [name for index, name in enumerate(names) if counts is not None and counts[index] < 2]
    if asked and rare:
        raise HarnessError(
            f"task {task.name}: too few rows of {', '.join(rare)} to train on and to test with; "
            "add rows or drop the labels"
        )


def _distinct(given: dict[str, Dataset], task: Task) -> tuple[dict[str, Dataset], int]:
    """Every row once: what is tested with is kept, and leaves the rows that are trained on."""
    seen: set[str] = set()
    found: dict[str, Dataset] = {}
    for split in reversed([split for split in PARTS if split in given]):
        kept = []
        for number, digest in enumerate(by_row(given[split], task.inputs)):
            if digest not in seen:
                kept.append(number)
            seen.add(digest)
        found[split] = given[split].select(kept)
    return found, sum(map(len, given.values())) - sum(map(len, found.values()))


def _take(rest: Dataset, size: int | None, task: Task, part: str) -> tuple[Dataset, Dataset]:
    assert size is not None  # else _check_sizes has refused it
    try:
        column = "label" if task.kind.label == "one" else None
        halves = rest.train_test_split(test_size=size, stratify_by_column=column, seed=task.split_seed)
    except ValueError as error:
        raise HarnessError(f"task {task.name}: cannot set apart {size} rows for {part}: {error}") from error
    return halves["train"], halves["test"]


def _check_labels(test: Dataset, train: Dataset, names: tuple[str, ...], who: str) -> None:
    unseen = sorted(used(test) - used(train)) if names else []
    if unseen:
        raise HarnessError(
            f"{who}: the test rows have labels that training never sees: "
            f"{', '.join(names[i] for i in unseen)}; add rows or drop the labels"
        )
