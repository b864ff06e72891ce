"""Read the rows of a task from their source, and locate pretrained checkpoints.

Rows come as one table per split of the source, with the task's columns only. `datasets` infers splits and file formats
from names; a single file is the split `train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.sources import Folder, Hub, Local, Native, Package, Scratch
from harness.data import hub
from harness.errors import HarnessError, brief_error
from harness.util.identity import tree_sha256

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.contracts.sources import Source
    from harness.spec import Task

READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
"""Suffix of a file of rows → reader of `datasets`."""

SPLITS = ("train", "validation", "test")


def pretrained(source: Source, folder: Path) -> Path | None:
    """Return the verified folder of a model's checkpoint for a suite in `folder`; None for random weights."""
    match source:
        case Package():
            return locate(source)
        case Hub():
            return hub.fetch(source, "model")
        case Local():
            return source.locate(folder)
        case Native() | Scratch():
            return None


def locate(package: Package) -> Path:
    """Return the path of a package's files; HarnessError if they are missing or have another hash."""
    name = package.distribution
    try:
        path = Path(str(metadata.distribution(name).locate_file(package.path)))
    except metadata.PackageNotFoundError:
        raise HarnessError(f"the package {name} is not installed; run: python -m pip install {name}") from None
    if not path.exists():
        raise HarnessError(f"{name}: the installed version has no {package.path}")
    digest = tree_sha256(path)
    if digest != package.sha256:
        raise HarnessError(
            f"{name}: {package.path} has sha256 {digest}, the suite pins {package.sha256}; "
            "install the version the suite was written for, or pin the new hash"
        )
    return path


def read(task: Task, folder: Path) -> tuple[dict[str, Dataset], list[str], list[str]]:
    """Return split → rows in the source's order, the names of labels that it lists, in its order, and notes on reading.

    `train` is among the splits. Columns are the task's inputs and `label`.
    """
    match task.dataset:
        case Package() as package:
            tables = {"train": _read_package(task, package)}
        case Hub() as source:
            path = hub.fetch(source, "dataset")
            tables = _hub_splits(source, _read_files(task, path, source.content(folder), source.config))
        case Folder() as source:
            path = source.locate(folder)
            tables = _read_files(task, path, source.content(folder))
            if "train" not in tables or set(tables) - set(SPLITS):
                raise HarnessError(
                    f"task {task.name}: {path} has the splits {', '.join(tables)}; "
                    "name its files after train, validation and test, or have one split only"
                )
    listed: list[str] = []
    tables = {name: _select_columns(task, name, rows, listed) for name, rows in tables.items()}
    return tables, listed, []


def _read_package(task: Task, package: Package) -> Dataset:
    from datasets import Dataset

    if package.read is None:
        raise HarnessError(f"task {task.name}: its Package needs read=, a function from the path to rows")
    path = locate(package)
    try:
        rows = list(package.read(path))
    except Exception as error:
        raise HarnessError(f"task {task.name}: reading {path} failed: {brief_error(error)}") from error
    if not rows:
        raise HarnessError(f"task {task.name}: {path} has no rows")
    columns = dict.fromkeys(name if name in rows[0] else name.partition(".")[0] for name in task.columns)
    _check_columns(task, "train", [name for name in columns if name not in rows[0]], rows[0])
    values = {name: [row.get(name) for row in rows] for name in columns}
    return Dataset.from_dict(
        {n: [None if isinstance(v, float) and math.isnan(v) else v for v in values[n]] for n in values}
    )


def _read_files(task: Task, path: Path, content: str, config: str | None = None) -> dict[str, Dataset]:
    """Return split → rows of a file or a folder.

    `datasets` recognises files by path and time, so each `content` gets a cache of its own.
    """
    from datasets import config as settings
    from datasets import load_dataset

    if config is not None and (path / config).is_dir() and not (path / hub.CARD).exists():
        path, config = path / config, None  # the Hub's own conversion to parquet, which has no card
    suffixes = {file.suffix.lower() for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}
    # A label may be called "None" or "NA". Cards and files without a suffix hold no rows.
    rows = suffixes - {"", ".md"}
    arguments: dict[str, Any] = {"cache_dir": str(Path(settings.HF_DATASETS_CACHE) / "shipbench" / content[:16])}
    if rows and rows <= {".csv", ".tsv"}:
        arguments |= {"keep_default_na": False, "na_values": [""]}
    reader = str(path)
    if path.is_file():
        (suffix,) = suffixes
        if suffix not in READERS:
            raise HarnessError(f"task {task.name}: {path} has an unknown type; expected one of {', '.join(READERS)}")
        reader = READERS[suffix]
        arguments |= {"data_files": str(path)} | ({"sep": "\t"} if suffix == ".tsv" else {})
    try:
        tables = load_dataset(reader, config, **arguments)
    except Exception as error:  # readers of `datasets` raise errors of many kinds
        raise HarnessError(f"task {task.name}: reading {path} failed: {brief_error(error)}") from error
    return {str(name): rows for name, rows in tables.items()}


def _hub_splits(source: Hub, tables: dict[str, Dataset]) -> dict[str, Dataset]:
    """Return the chosen splits of a repository under the names train, validation and test, sampled as declared."""
    # Further splits, such as unlabelled rows, are left alone.
    chosen = source.splits or {name: name for name in SPLITS if name in tables}
    for argument, names in (("sample", {*source.sample}), ("splits", {*chosen.values()})):
        if missing := sorted(names - {*tables}):
            raise HarnessError(f"{source}: {argument}= names {', '.join(missing)}; it has {', '.join(tables)}")
    if "train" not in chosen or set(chosen) - set(SPLITS):
        raise HarnessError(f"{source}: splits= must map train, optionally validation, test; it has {', '.join(tables)}")
    for name, size in source.sample.items():
        if size > len(tables[name]):
            raise HarnessError(f"{source}: sample asks for {size} rows of {name}, which has {len(tables[name])}")
        # Flattened, so that later checks see the sample only.
        tables[name] = tables[name].shuffle(seed=source.seed).select(range(size)).flatten_indices()
    return {part: tables[name] for part, name in chosen.items()}


def _select_columns(task: Task, split: str, rows: Dataset, listed: list[str]) -> Dataset:
    """Return the task's inputs and `label`, and add to `listed`; HarnessError for a missing column or value."""
    from datasets import Image

    rows = _add_fields(task, rows)
    missing = [name for name in task.columns if name not in rows.column_names]
    _check_columns(task, split, missing, rows.flatten().column_names)
    for name in task.columns:
        empty = rows.data.column(name).is_null(nan_is_null=True).to_pylist()
        if any(empty):
            raise HarnessError(
                f"task {task.name}: row {empty.index(True)} of {split} has no value in {name}, "
                f"as have {sum(empty)} of {len(rows)} rows; leave them out"
            )
    if not len(rows):
        raise HarnessError(f"task {task.name}: {split} has no rows")
    selected = rows.select_columns(list(task.inputs))
    if task.label is not None:
        values, feature = _labels(task, split, rows, task.label, listed)
        selected = selected.add_column("label", values, feature=feature)
    for name in task.inputs:
        if isinstance(selected.features[name], Image):
            selected = selected.cast_column(name, Image(mode="RGB"))
    return selected


def _check_columns(task: Task, split: str, missing: list[str], columns: Iterable[str]) -> None:
    if missing:
        raise HarnessError(f"task {task.name}: {split} has no column {', '.join(missing)}; it has {', '.join(columns)}")


def _add_fields(task: Task, rows: Dataset) -> Dataset:
    """Return the rows with a column `a.b` for each field b of column a that the task names so."""
    from datasets import concatenate_datasets

    fields = [name for name in task.columns if name not in rows.column_names and "." in name]
    flat = rows.flatten() if fields else rows
    fields = [name for name in fields if name in flat.column_names]
    return concatenate_datasets([rows, flat.select_columns(fields)], axis=1) if fields else rows


def _labels(task: Task, split: str, rows: Dataset, column: str, listed: list[str]) -> tuple[list[Any], Any]:
    """Return the values of the label column, as names unless they are free, and their feature; add to `listed`.

    HarnessError for -1, by which `datasets` marks a label that is not published.
    """
    from datasets import ClassLabel, LargeList, List, Value

    feature, values = rows.features[column], list(rows[column])
    if task.kind.label == "free":
        return values, feature
    each = task.kind.label == "each"
    if not isinstance(feature, List | LargeList if each else ClassLabel | Value):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} must hold {'a list of labels' if each else 'one label'} "
            f"per row, but holds {type(values[0]).__name__}"
        )
    lists: list[list[Any]] = values if each else [[value] for value in values]
    if (row := next((row for row, labels in enumerate(lists) if None in labels), None)) is not None:
        raise HarnessError(f"task {task.name}: row {row} of {split} has a word without a label in {column}")
    name: Callable[[Any], str] = str
    if isinstance(inner := feature.feature if each else feature, ClassLabel):
        name = inner.int2str
        listed += inner.names
        if hidden := sum(min(labels, default=0) < 0 for labels in lists):
            rows_of = f"{hidden} of {len(values)} rows of {split}"
            raise HarnessError(
                f"task {task.name}: {rows_of} have the label -1: their labels are not published; use another split"
            )
    names = [[name(label) for label in labels] for labels in lists]
    return (names, List(Value("string"))) if each else ([label for (label,) in names], Value("string"))
