"""Identify the content of a source: the commit of a repository, or a digest of local files.

ALSO: A table held to what its task reads: its columns are there, whole, and of the right sort.
ALSO: Rows as their source has them: one table for each split that it comes in, with a task's columns alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, Image, LargeList, List, Value, concatenate_datasets, load_dataset

from harness.contracts.sources import Folder, Hub, Local, Native, Package, Row, Rows, Scratch, Source
from harness.data import hub
from harness.errors import HarnessError
from harness.spec import Task
from harness.util.fingerprints import tree_sha256


def of_rows(source: Rows, folder: Path) -> str:
    """Return the identity of a task's rows for a suite in `folder`; HarnessError if they are missing or not pinned."""
    match source:
        case Package():
            return source.sha256
        case Hub():
            return source.commit
        case Folder():
            return tree_sha256(source.locate(folder))


def of_model(source: Source, folder: Path) -> str | None:
    """Return the identity of a model before training; None for an architecture with random weights."""
    match source:
        case Package():
            return source.sha256
        case Hub():
            return source.commit
        case Local():
            return tree_sha256(source.locate(folder))
        case Native():
            return tree_sha256(source.locate(folder)[0])
        case Scratch():
            return None


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


READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".parquet": ("parquet", {}),
}
"""Suffix of a file of rows → the reader of `datasets` for it."""

SPLITS = ("train", "validation", "test")


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


def pretrained(source: Source, folder: Path) -> Path | None:
    """Where a model's checkpoint lies, verified, for a suite in `folder`; None where it starts from random weights."""
    match source:
        case Package():
            return locate(source)
        case Hub():
            return hub.fetch(source, "model")
        case Local():
            return source.locate(folder)
        case Native() | Scratch():
            return None


def _path(source: Rows, folder: Path) -> Path:
    match source:
        case Package():
            return locate(source)
        case Hub():
            return hub.fetch(source, "dataset")
        case Folder():
            return source.locate(folder)


def read(task: Task, folder: Path) -> dict[str, Dataset]:
    """Split → rows, in the source's order; columns are the task's inputs and `label`. There is `train`."""
    path, known = _path(task.dataset, folder), of_rows(task.dataset, folder)
    match task.dataset:
        case Package(read=None):
            raise HarnessError(f"task {task.name}: its Package needs read=, a function from the path to rows")
        case Package(read=reader):
            assert reader is not None
            return {"train": _package(task, path, reader)}
        case Hub():  # what else it comes in, unlabelled rows for one, is nobody's mistake
            tables = _tables(task, path, known)
            unknown = sorted(set(task.dataset.sample) - set(tables))
            if unknown:
                raise HarnessError(f"{task.dataset}: sample= names {', '.join(unknown)}; it has {', '.join(tables)}")
            parts = task.dataset.splits or {name: name for name in SPLITS if name in tables}
            missing = sorted({*parts.values()} - {*tables})
            if missing:
                raise HarnessError(f"{task.dataset}: splits= names {', '.join(missing)}; it has {', '.join(tables)}")
            found = {part: _sampled(task.dataset, name, tables[name]) for part, name in parts.items()}
        case Folder():
            found = _tables(task, path, known)
    if "train" not in found or set(found) - set(SPLITS):
        mend = "name its files after train, validation and test, or have one split only"
        if isinstance(task.dataset, Hub):
            mend = f"splits= names train, validation and test after those it has: {', '.join(tables)}"
        raise HarnessError(f"task {task.name}: {path} comes in {', '.join(found) or 'none of them'}; {mend}")
    return {name: of_task(task, name, rows) for name, rows in found.items()}


def _package(task: Task, path: Path, reader: Callable[[Path], Iterable[Row]]) -> Dataset:
    try:
        rows = list(reader(path))
    except Exception as error:
        raise HarnessError(f"task {task.name}: reading {path} failed: {type(error).__name__}: {error}") from error
    wanted = dict.fromkeys(name if rows and name in rows[0] else name.partition(".")[0] for name in task.columns)
    for number, row in enumerate(rows):
        missing = [name for name in wanted if name not in row]
        if missing:
            raise HarnessError(
                f"task {task.name}: row {number} has no column {', '.join(missing)}; its columns are {', '.join(row)}"
            )
        empty = [name for name in wanted if _is_nothing(row[name])]
        if empty:
            raise HarnessError(
                f"task {task.name}: row {number} has nothing in {', '.join(empty)}; leave it out in read()"
            )
    if not rows:
        raise HarnessError(f"task {task.name}: {path} gave no rows")
    found = Dataset.from_dict({name: [row[name] for row in rows] for name in wanted})
    return of_task(task, "train", found)


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _tables(task: Task, path: Path, known: str) -> dict[str, Dataset]:
    """What is a split, and how a file is read, is told by names, as `datasets` does; a file is one split.

    `datasets` knows files again by path and time; it is given a cache for each content, `known`, of its own.
    """
    config = task.dataset.config if isinstance(task.dataset, Hub) else None
    if config is not None and (path / config).is_dir() and not (path / "README.md").exists():
        path, config = path / config, None  # the Hub's own conversion to parquet, which has no card
    kept = str(Path(datasets.config.HF_DATASETS_CACHE) / "shipbench" / known[:16])
    suffixes = {file.suffix.lower() for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}
    # A label may well be called "None" or "NA". A card, or a file without a suffix, is nobody's rows.
    rows = suffixes - {"", ".md"}
    plain = {"keep_default_na": False, "na_values": [""]} if rows and rows <= {".csv", ".tsv"} else {}
    if path.is_file() and path.suffix.lower() not in READERS:
        raise HarnessError(f"task {task.name}: {path} is none of {', '.join(READERS)}")
    try:
        if path.is_file():
            module, settings = READERS[path.suffix.lower()]
            found = load_dataset(module, data_files=str(path), cache_dir=kept, **settings, **plain)
        else:
            found = load_dataset(str(path), config, cache_dir=kept, **plain)
    except Exception as error:  # datasets raises what its readers raise
        raise HarnessError(f"task {task.name}: reading {path} failed: {type(error).__name__}: {error}") from error
    return {str(name): rows for name, rows in found.items()}


def _sampled(source: Hub, split: str, rows: Dataset) -> Dataset:
    if split not in source.sample:
        return rows
    if source.sample[split] > len(rows):
        raise HarnessError(f"{source}: sample asks for {source.sample[split]} rows of {split}, there are {len(rows)}")
    # Flattened, so that what is looked at below is the sample alone.
    return rows.shuffle(seed=source.seed).select(range(source.sample[split])).flatten_indices()
