"""Split a task's rows into four disjoint parts, with labels as indices and a digest of each part.

Parts that the data comes with are kept; the others are drawn from its training rows with the task's seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data import boxes, metric_settings, reading, row_checks
from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.metrics import Metric
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
    """Rows dropped because another row has the same inputs: of two the training row; both if their labels differ."""
    notes: tuple[str, ...] = ()
    """Sentences about how the rows were read, such as files left out, that a reader of the results must know."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """The task's metrics by name, with what they assume of these rows."""

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each part."""
        return {name: len(getattr(self, name)) for name in PARTS}

    @cached_property
    def content(self) -> str:
        """Digest of the exact content of all rows."""
        import pyarrow as pa

        digest = hashlib.sha256()
        for name in PARTS:
            rows = getattr(self, name)
            digest.update(repr(rows.features).encode())
            for batch in rows.with_format("arrow").iter(1000):
                batch = batch.replace_schema_metadata(None)  # which names the steps by which `datasets` made the rows
                with pa.ipc.new_stream(sink := pa.BufferOutputStream(), batch.schema) as stream:
                    stream.write_table(batch.combine_chunks())
                digest.update(sink.getvalue())
        return digest.hexdigest()

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Digest of each part's rows, in order, in which white space in texts is folded."""
        digests = {name: "".join(row_checks.row_digests(getattr(self, name))) for name in PARTS}
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in digests.items()}


@cache
def load(task: Task, folder: Path) -> Split:
    """Read, deduplicate and split a task's rows for a suite in `folder`; drawn parts have the labels in proportion."""
    from datasets import ClassLabel, List, Value, disable_progress_bars

    disable_progress_bars()
    tables, listed, notes = reading.read(task, folder)
    tables = {part: tables[part] for part in PARTS if part in tables}
    row_checks.check_rows(tables, task)
    distinct, remarks = row_checks.distinct_rows(tables, task)
    texts = (*task.inputs, "label") if task.kind.label == "text" else task.inputs
    notes = [*notes, *row_checks.blank_notes(tables, texts), *remarks]
    duplicates = sum(map(len, tables.values())) - sum(map(len, distinct.values()))
    tables = distinct
    labels: tuple[str, ...] = ()
    if task.kind.names_labels:
        labels = task.classes or _label_names(tables, task, listed)
        notes += row_checks.equal_numbers(tables, {*labels} - {*listed})
        index = ClassLabel(names=list(labels))
        features = {"each": List(index), "boxes": boxes.feature(index)}
        for name, rows in tables.items():
            if task.kind.label == "many":
                flags = [[label in own for label in labels] for own in map(set, rows["label"][:])]
                rows = rows.remove_columns("label").add_column("label", flags, feature=List(Value("bool")))
            elif task.kind.label != "mask":
                rows = rows.cast_column("label", features.get(task.kind.label, index))
            tables[name] = rows
    train = tables.pop("train")
    parts: dict[str, Dataset] = {}
    for part, size in _sizes(task, tables, train, labels).items():
        own = tables.get(part)
        if own is None:
            train, parts[part] = _draw(train, size, task, part)
        else:
            parts[part] = own if size in (0, len(own)) else _draw(own, size, task, part)[1]
    _check_labels(parts["test"], train, labels, f"task {task.name}")
    if task.kind.counts_labels or task.kind.label == "number":
        _check_variety(parts["test"], labels, task)
    metrics, remarks = metric_settings.settle(task, labels, {"train": train, **parts})
    notes = [*notes, *remarks]
    return Split(train=train, labels=labels, duplicates=duplicates, notes=tuple(notes), metrics=metrics, **parts)


def _check_variety(test: Dataset, labels: tuple[str, ...], task: Task) -> None:
    """Raise HarnessError if the test rows have one label alone, or one number: no score could tell models apart."""
    used = [labels[label] if labels else f"{label:g}" for label in row_checks.used_labels(test)]
    if len(used) < 2:
        noun = "label" if labels else "number"
        only = f"every test row has the {noun} {used[0]}" if used else "no test row has a label"
        if task.kind.label == "many" and used:
            only = f"no test row has another label than {used[0]}"
        raise HarnessError(f"task {task.name}: {only}; ask for more test rows")


def take_training_rows(split: Split, rows: int | None, owner: str) -> Dataset:
    """Return the first `rows` training rows, which are shuffled, or all; HarnessError if they do not suffice."""
    if rows is None:
        return split.train
    if rows > len(split.train):
        raise HarnessError(f"{owner}: the recipe asks for {rows} training rows; the task has {len(split.train)}")
    chosen = split.train.select(range(rows))
    _check_labels(split.test, chosen, split.labels, f"{owner}: with {rows} training rows")
    return chosen


def _label_names(tables: dict[str, Dataset], task: Task, listed: list[str]) -> tuple[str, ...]:
    """Return the names of the labels that occur, in the order of `listed`; others are sorted, numbers by size."""
    used = set[str]().union(*map(row_checks.used_labels, tables.values()))
    if unset := [name for name in task.label_columns if isinstance(task.label, tuple) and name not in used]:
        raise HarnessError(
            f"task {task.name}: {unset[0]} is 0 in every row, so nothing can learn it; leave it out of label="
        )
    if twins := row_checks.spelling_twins(sorted(used - {*listed})):
        raise HarnessError(f"task {task.name}: the labels {twins} differ in spelling only; give them one name")
    if "" in {name.strip() for name in used}:
        raise HarnessError(f"task {task.name}: some rows have a label of nothing but spaces; give them a name")
    if task.kind.label != "each":
        _check_labels_of_splits(tables, task)
    try:
        unlisted = sorted(sorted(used - {*listed}), key=float)
    except ValueError:
        unlisted = sorted(used - {*listed})
    labels = (*(name for name in dict.fromkeys(listed) if name in used), *unlisted)
    if len(labels) < (1 if task.kind.label == "boxes" else 2):
        only = f"every row has the label {labels[0]}" if task.kind.label == "one" else f"all labels are {labels}"
        raise HarnessError(f"task {task.name}: {only}; a classifier needs at least two")
    return labels


def _check_labels_of_splits(tables: dict[str, Dataset], task: Task) -> None:
    """Raise HarnessError for labels that another split has and `train` has not."""
    for part in tables:
        if alone := sorted(row_checks.used_labels(tables[part]) - row_checks.used_labels(tables["train"])):
            count = sum(not {*labels}.isdisjoint(alone) for labels in row_checks.label_lists(tables[part]))
            others = ", ".join(sorted(row_checks.used_labels(tables["train"])))
            raise HarnessError(
                f"task {task.name}: {count:,} of {len(tables[part]):,} rows of {part} have labels that training never "
                f"sees: {', '.join(alone)}; train has {others}; write labels alike in both, add rows or drop the labels"
            )


def _sizes(task: Task, tables: dict[str, Dataset], train: Dataset, labels: tuple[str, ...]) -> dict[str, int]:
    """Return the rows of each part; 0 takes the data's own split whole, a default is a share of `train`.

    HarnessError where the rows do not suffice.
    """
    sizes = {}
    for part, share in SHARES.items():
        most = MOST_CALIBRATION if part == "calibration" else len(train)
        default = 0 if part in tables else min(max(1, round(share * len(train))), most)
        size = sizes[part] = getattr(task, part) or default
        if part in tables and size > (rows := len(tables[part])):
            raise HarnessError(
                f"task {task.name}: {part}={size} is more than the {rows} distinct rows of {part}; ask for fewer"
            )
    drawn = {part: size for part, size in sizes.items() if part not in tables}
    if (size := sum(drawn.values())) >= len(train):
        raise HarnessError(
            f"task {task.name}: {', '.join(drawn)} take {size} of {len(train)} distinct rows and leave none to train "
            "on; ask for fewer"
        )
    counts = Counter(train["label"][:]) if drawn and task.kind.label == "one" else None
    if counts and (rare := [name for index, name in enumerate(labels) if counts[index] < 2]):
        some = ", ".join(rare[:5]) + (f" and {len(rare) - 5:,} more labels" if len(rare) > 5 else "")
        column = f"; is {task.label} the column of labels?" if len(rare) > len(labels) / 2 else ""
        raise HarnessError(f"task {task.name}: too few rows of {some} to split; add rows or drop the labels{column}")
    return sizes


def _check_labels(test: Dataset, train: Dataset, labels: tuple[str, ...], owner: str) -> None:
    unseen = sorted(row_checks.used_labels(test) - row_checks.used_labels(train)) if labels else []
    if unseen:
        raise HarnessError(
            f"{owner}: the test rows have labels that training never sees: "
            f"{', '.join(labels[i] for i in unseen)}; add rows or drop the labels"
        )


def _draw(rows: Dataset, size: int, task: Task, part: str) -> tuple[Dataset, Dataset]:
    """Return the remaining rows, and `size` rows drawn for a part."""
    from datasets.utils.stratify import stratified_shuffle_split_generate_indices as stratified

    # As Dataset.train_test_split does, which takes a minute to read 100,000 labels.
    draw = np.random.default_rng(task.split_seed)
    try:
        if task.kind.label == "one":
            labels = rows.select_columns("label").with_format("numpy")[:]["label"]
            rest, drawn = next(stratified(labels, len(rows) - size, size, rng=draw))
        else:
            drawn, rest = np.split(draw.permutation(len(rows)), [size])
    except ValueError as error:
        cause = "the least populated class has one row" if "Minimum class" in str(error) else error
        raise HarnessError(
            f"task {task.name}: cannot set apart {size} rows for {part}: {cause}; change {part}= or add rows"
        ) from error
    return row_checks.take(rows, rest), row_checks.take(rows, drawn)
