"""Rows as their source has them: one table for each split that it comes in, with a task's columns alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, load_dataset

from harness.dataset import columns
from harness.errors import HarnessError
from harness.fingerprints import tree_sha256
from harness.origins import content, hub
from harness.origins.sources import Folder, Hub, Local, Native, Package, Row, Rows, Scratch, Source
from harness.spec import Task

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
            return hub.fetch(source, "model", folder)
        case Local():
            return source.locate(folder)
        case Native() | Scratch():
            return None


def _path(source: Rows, folder: Path) -> Path:
    match source:
        case Package():
            return locate(source)
        case Hub():
            return hub.fetch(source, "dataset", folder)
        case Folder():
            return source.locate(folder)


def read(task: Task, folder: Path) -> dict[str, Dataset]:
    """Split → rows, in the source's order; columns are the task's inputs and `label`. There is `train`."""
    path, known = _path(task.dataset, folder), content.of_rows(task.dataset, folder)
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
    return {name: columns.of_task(task, name, rows) for name, rows in found.items()}


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
    return columns.of_task(task, "train", found)


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
