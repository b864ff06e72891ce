"""Split a task's rows into four disjoint parts, with labels as indices and a digest of each part.

Parts that the data comes with are kept; the others are drawn from its training rows with the task's seed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts.sources import Hub
from harness.data import reading
from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

    from harness.contracts.sources import Row
    from harness.spec import Task

PARTS = ("train", "validation", "calibration", "test")

SHARES = {"test": 0.3, "validation": 0.1, "calibration": 0.1}
"""Shares of the distinct rows to draw where neither the task nor the data sets a size; the rest is trained on."""

MOST_CALIBRATION = 200
"""Upper limit of the default: more calibration rows cost time and hardly move the ranges of activations."""


@dataclass(frozen=True)
class Split:
    """The rows of a task. Columns are the task's inputs and `label`."""

    train: Dataset
    validation: Dataset
    calibration: Dataset
    test: Dataset
    labels: tuple[str, ...]
    """Names of the labels, into which `label` holds indices; empty for kinds whose answers are not labels."""
    duplicates: int
    """Rows dropped because another row has the same inputs. Of two such rows the training row goes."""

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each part."""
        return {name: len(getattr(self, name)) for name in PARTS}

    @cached_property
    def content(self) -> str:
        """Digest of the exact content of all rows."""
        return "".join(_exact_digest(getattr(self, name)) for name in PARTS)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Digest of each part's rows, in order, in which white space in texts is folded."""
        return {name: _folded_digest(getattr(self, name)) for name in PARTS}


@cache
def load(task: Task, folder: Path) -> Split:
    """Read, deduplicate and split a task's rows for a suite in `folder`; HarnessError for rows that cannot be used.

    Drawn parts have the labels in proportion.
    """
    from datasets import disable_progress_bars

    disable_progress_bars()
    tables, duplicates = _drop_duplicates(reading.read(task, folder), task)
    labels: tuple[str, ...] = ()
    if task.kind.label in ("one", "each"):
        labels, tables = _index_labels(tables, task)
    _check_rows(tables, task)
    train = tables.pop("train")
    sizes = _sizes(task, tables, len(train))
    _check_sizes(task, sizes, tables, train, labels)
    parts: dict[str, Dataset] = {}
    for part, size in sizes.items():
        own = tables.get(part)
        if own is None:
            train, parts[part] = _draw(train, size, task, part)
        elif size in (0, len(own)):
            parts[part] = own
        else:
            _, parts[part] = _draw(own, size, task, part)
    _check_labels(parts["test"], train, labels, f"task {task.name}")
    if labels and len(_used_labels(parts["test"])) < 2:
        (only,) = _used_labels(parts["test"])
        raise HarnessError(f"task {task.name}: every test row has the label {labels[only]}; ask for more test rows")
    return Split(train=train, labels=labels, duplicates=duplicates, **parts)


def take_training_rows(split: Split, rows: int | None, owner: str) -> Dataset:
    """Return the first `rows` training rows, which are shuffled, or all; HarnessError if they do not suffice."""
    if rows is None:
        return split.train
    if rows > len(split.train):
        raise HarnessError(f"{owner}: the recipe asks for {rows} training rows; the task has {len(split.train)}")
    chosen = split.train.select(range(rows))
    _check_labels(split.test, chosen, split.labels, f"{owner}: with {rows} training rows")
    return chosen


def _drop_duplicates(tables: dict[str, Dataset], task: Task) -> tuple[dict[str, Dataset], int]:
    """Return the tables with every row once, and the number of rows dropped; test rows are kept first."""
    seen: set[str] = set()
    distinct: dict[str, Dataset] = {}
    for split in reversed([split for split in PARTS if split in tables]):
        kept = []
        for number, digest in enumerate(_row_digests(tables[split], task.inputs)):
            if digest not in seen:
                kept.append(number)
            seen.add(digest)
        distinct[split] = tables[split].select(kept)
    return distinct, sum(map(len, tables.values())) - sum(map(len, distinct.values()))


def _index_labels(tables: dict[str, Dataset], task: Task) -> tuple[tuple[str, ...], dict[str, Dataset]]:
    """Return the names of the labels that occur, and the rows with indices into them.

    The names keep the order in which the source lists them. Names that it does not list are sorted, numbers by size.
    """
    from datasets import ClassLabel, List

    each = task.kind.label == "each"
    features = [rows.features["label"].feature if each else rows.features["label"] for rows in tables.values()]
    listed = dict.fromkeys(name for feature in features if isinstance(feature, ClassLabel) for name in feature.names)
    named = {split: _name_labels(rows, each) for split, rows in tables.items()}
    used = set[str]().union(*map(_used_labels, named.values()))
    labels = (*(name for name in listed if name in used), *_sorted(used - listed.keys()))
    if len(labels) < 2:
        raise HarnessError(f"task {task.name}: every row has the label {labels[0]}; a model needs two to tell apart")
    if "f1" in task.metrics and len(labels) > 2:
        raise HarnessError(
            f"task {task.name}: f1 scores the second of two labels, and the rows have {len(labels)}; use f1-macro"
        )
    feature = ClassLabel(names=list(labels))
    return labels, {
        split: rows.cast_column("label", List(feature) if each else feature) for split, rows in named.items()
    }


def _name_labels(rows: Dataset, each: bool) -> Dataset:
    """Return the rows with names as labels."""
    from datasets import ClassLabel, List, Value

    feature, values = rows.features["label"], rows["label"]
    inner = feature.feature if each else feature
    if not isinstance(inner, ClassLabel):
        return rows
    names = [inner.int2str(list(value)) for value in values] if each else inner.int2str(list(values))
    text = Value("string")
    return rows.remove_columns("label").add_column("label", names, feature=List(text) if each else text)


def _sorted(names: set[str]) -> list[str]:
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def _used_labels(rows: Dataset) -> set[Any]:
    """Return the labels of the rows, or of their parts."""
    from datasets import List

    if isinstance(rows.features["label"], List):
        return {label for parts in rows["label"] for label in parts}
    return set(rows.unique("label"))


def _sizes(task: Task, given: Collection[str], rows: int) -> dict[str, int]:
    """Return the rows of each part; 0 takes the data's own split whole, a default is a share of the training `rows`."""
    default = {part: 0 if part in given else max(1, round(share * rows)) for part, share in SHARES.items()}
    default["calibration"] = min(default["calibration"], MOST_CALIBRATION)
    return {part: getattr(task, part) or size for part, size in default.items()}


def _check_rows(tables: dict[str, Dataset], task: Task) -> None:
    """Raise HarnessError for the first row that the kind cannot use."""
    if task.kind.problem is None:
        return
    for split, rows in tables.items():
        for number, row in enumerate(rows):
            problem = task.kind.problem(row, task.inputs)
            if problem:
                remedy = "; to leave rows out, copy the data to a Folder" if isinstance(task.dataset, Hub) else ""
                raise HarnessError(f"task {task.name}: distinct row {number} of {split}: {problem}{remedy}")


def _check_sizes(
    task: Task, sizes: dict[str, int], tables: dict[str, Dataset], train: Dataset, labels: tuple[str, ...]
) -> None:
    """Raise HarnessError where the rows do not suffice."""
    for part in tables:
        if sizes[part] > len(tables[part]):
            raise HarnessError(
                f"task {task.name}: {part}={sizes[part]} is more than the {len(tables[part])} distinct rows of {part}"
            )
    drawn = {part: size for part, size in sizes.items() if part not in tables}
    if sum(drawn.values()) >= len(train):
        raise HarnessError(
            f"task {task.name}: {', '.join(drawn)} take {sum(drawn.values())} of {len(train)} distinct rows and leave "
            "none to train on; ask for fewer"
        )
    counts = Counter(train["label"]) if task.kind.label == "one" else None
    rare = [name for index, name in enumerate(labels) if counts is not None and counts[index] < 2]
    if drawn and rare:
        raise HarnessError(
            f"task {task.name}: too few rows of {', '.join(rare)} to train on and to test with; "
            "add rows or drop the labels"
        )


def _check_labels(test: Dataset, train: Dataset, labels: tuple[str, ...], owner: str) -> None:
    unseen = sorted(_used_labels(test) - _used_labels(train)) if labels else []
    if unseen:
        raise HarnessError(
            f"{owner}: the test rows have labels that training never sees: "
            f"{', '.join(labels[i] for i in unseen)}; add rows or drop the labels"
        )


def _draw(rows: Dataset, size: int, task: Task, part: str) -> tuple[Dataset, Dataset]:
    """Return the remaining rows, and `size` rows drawn for a part."""
    try:
        column = "label" if task.kind.label == "one" else None
        halves = rows.train_test_split(test_size=size, stratify_by_column=column, seed=task.split_seed)
    except ValueError as error:
        raise HarnessError(f"task {task.name}: cannot set apart {size} rows for {part}: {error}") from error
    return halves["train"], halves["test"]


def _exact_digest(rows: Dataset) -> str:
    import pyarrow as pa

    digest = hashlib.sha256()
    for batch in rows.with_format("arrow").iter(1000):
        with pa.ipc.new_stream(sink := pa.BufferOutputStream(), batch.schema) as stream:
            stream.write_table(batch.combine_chunks())
        digest.update(sink.getvalue())
    return digest.hexdigest()


def _folded_digest(rows: Dataset) -> str:
    return hashlib.sha256("".join(_row_digests(rows, tuple(rows.column_names))).encode()).hexdigest()


def _row_digests(rows: Dataset, columns: tuple[str, ...]) -> Iterator[str]:
    from datasets import Image

    for name in columns:
        if isinstance(rows.features[name], Image):
            rows = rows.cast_column(name, Image(decode=False))
    return (_row_digest(row, columns) for row in rows)


def _row_digest(row: Row, columns: tuple[str, ...]) -> str:
    """Return a digest of these columns: white space folded in texts, shape and values of arrays, bytes of images."""
    digest = hashlib.sha256()
    for name in columns:
        value = row[name]
        if isinstance(value, str):
            digest.update(json.dumps(" ".join(value.split())).encode())
        elif isinstance(value, dict) and "bytes" in value:  # an image: `datasets` has its bytes or its path
            digest.update(value["bytes"] or Path(value["path"]).read_bytes())
        elif isinstance(value, dict) or (array := _numbers(value)) is None:
            digest.update(json.dumps(value).encode())
        else:
            digest.update(f"{array.dtype.kind}{array.shape}".encode() + array.astype(np.float64).tobytes())
    return digest.hexdigest()


def _numbers(value: object) -> NDArray[Any] | None:
    """Return the value as an array if it holds numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return None if array.dtype.kind in "OSU" else array
