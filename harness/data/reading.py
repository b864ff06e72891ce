"""Read the rows of a task from their source.

Rows come as one table per split of the source, with the task's columns only; a single file is the split `train`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.sources import Folder, Hub, Package
from harness.data import audio, boxes, coco, hub, hub_files, images, layout, masks, media, tables
from harness.data.columns import check_columns, select_columns
from harness.data.delimited import Dialect
from harness.data.sources import locate
from harness.data.tables import Table
from harness.errors import HarnessError, brief_error

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

MEDIA = {"audio": audio.RECORDINGS, "image": images.IMAGES}
"""A kind's `media` → the files that it reads; one that is not decided yet is "any"."""
SPLITS = ("train", "validation", "test")


def read(task: Task, folder: Path) -> tuple[dict[str, Dataset], list[str], list[str]]:
    """Return split → rows in the source's order, the names of labels that it lists, in its order, and notes on reading.

    `train` is among the splits. Columns are the task's inputs and `label`.
    """
    try:
        parts, notes = read_tables(task, folder)
        listed: list[str] = []
        rows = {name: select_columns(task, name, table, listed, notes) for name, table in parts.items()}
        if settle := {"boxes": boxes.settle, "mask": masks.settle}.get(task.kind.label):
            rows, remarks = settle(task, rows)
            notes += remarks
        return rows, listed, notes
    except HarnessError as error:
        raise HarnessError(f"task {task.name}: {str(error).removeprefix(f'task {task.name}: ')}") from error.__cause__


def read_tables(task: Task, folder: Path) -> tuple[dict[str, Table], list[str]]:
    """Return split → rows as they stand in the source, before any is checked, and notes on reading."""
    match task.dataset:
        case Package() as package:
            return {"train": Table(_read_package(task, package), [])}, []
        case Hub() as source:
            return _read_hub(task, source)
        case Folder() as source:
            return _read_folder(task, source, source.locate(folder))


def _read_package(task: Task, package: Package) -> Dataset:
    from datasets import Dataset

    if package.read is None:
        raise HarnessError(f"task {task.name}: its Package needs read=, a function from the path to rows")
    path = locate(package)
    try:
        rows = list(package.read(path))
    except Exception as error:
        raise HarnessError(
            f"task {task.name}: reading {path} failed: {brief_error(error)}; correct read= or the file"
        ) from error
    if not rows:
        raise HarnessError(f"task {task.name}: {path} has no rows; add some, or correct read=")
    columns = dict.fromkeys(name if name in rows[0] else name.partition(".")[0] for name in task.columns)
    check_columns(task, "train", [name for name in columns if name not in rows[0]], rows[0])
    values = {name: [row.get(name) for row in rows] for name in columns}
    return Dataset.from_dict(
        {n: [None if isinstance(v, float) and math.isnan(v) else v for v in values[n]] for n in values}
    )


def _read_folder(task: Task, source: Folder, path: Path) -> tuple[dict[str, Table], list[str]]:
    """Return split → rows of a file or a folder, and notes."""
    dialect = Dialect(source.encoding, source.quotes)
    if {"boxes", "any"} & {task.kind.label, task.kind.media} and (found := _annotations(path)):
        parts, notes = coco.read_files(task, path if path.is_dir() else path.parent, found)
        return {split: Table(rows, []) for split, rows in parts.items()}, notes
    if task.kind.label == "mask" and masks.are_beside(path):
        return {split: Table(rows, []) for split, rows in masks.read_files(task, path).items()}, []
    if path.is_file():
        table, notes = tables.read([path], "train", task, dialect)
        return {"train": table}, notes
    files, notes = layout.list_files(path)
    if not files:
        raise HarnessError(f"{path} has no file of rows; expected {', '.join(layout.SUFFIXES)}, or images")
    endings = {layout.suffix_of(file) for file in files}
    if "" not in endings and endings.isdisjoint({*layout.SUFFIXES, *images.endings(), *audio.ENDINGS}):
        expected = f"neither tables ({', '.join(layout.SUFFIXES)}) nor images nor recordings"
        raise HarnessError(f"{path} holds {', '.join(sorted(endings)[:5])}, {expected}; give a folder with rows")
    if medium := media.choose([m for name, m in MEDIA.items() if task.kind.media in (name, "any")], files):
        return _medium(task, path, medium)
    splits, more = layout.split_files(path, files)
    parts, read = _read_splits(task, splits, dialect)
    if "train" not in parts:
        raise HarnessError(
            f"{path} has the splits {', '.join(parts)}; name its files after train, validation and test, or have one "
            "split only"
        )
    return parts, [*notes, *more, *read]


def _annotations(path: Path) -> dict[Path, dict[str, Any]]:
    """Return the files in COCO's format that a path names or holds, with their contents."""
    files = [path] if path.is_file() else layout.list_files(path)[0]
    return coco.annotation_files(path, files)


def _read_hub(task: Task, source: Hub) -> tuple[dict[str, Table], list[str]]:
    """Return the chosen splits of a repository, and notes."""
    path = hub.fetch(source, "dataset")
    chosen = hub_files.select(source, path)
    if not chosen.splits:
        parts, notes = _medium(task, path, MEDIA[task.kind.media or "image"])
    else:
        splits = {split: [path / name for name in names] for split, names in chosen.splits.items()}
        wanted = {*(source.splits.values() or SPLITS), *source.sample}
        parts, notes = _read_splits(task, {s: f for s, f in splits.items() if s in wanted}, chosen.dialect)
        if not parts:
            raise HarnessError(f"{source}: splits= must name a split for train; it has {', '.join(splits)}")
        features = hub_files.features(path, chosen.config)
        for name, table in parts.items():
            for column in {*features} & {*table.rows.column_names}:
                table = table._replace(rows=table.rows.cast_column(column, features[column]))
            parts[name] = table
    return _hub_splits(source, parts, [*(chosen.splits or parts)]), [*chosen.notes, *notes]


def _read_splits(task: Task, splits: dict[str, list[Path]], dialect: Dialect) -> tuple[dict[str, Table], list[str]]:
    read = {split: tables.read(files, split, task, dialect) for split, files in splits.items()}
    return {split: table for split, (table, _) in read.items()}, [note for _, notes in read.values() for note in notes]


def _medium(task: Task, path: Path, medium: media.Medium) -> tuple[dict[str, Table], list[str]]:
    parts, notes = media.read_files(task, path, medium)
    return {split: Table(rows, []) for split, rows in parts.items()}, notes


def _hub_splits(source: Hub, parts: dict[str, Table], names: Sequence[str]) -> dict[str, Table]:
    """Return the chosen of a repository's splits under the names train, validation and test, sampled as declared."""
    # Further splits, such as unlabelled rows, are left alone.
    chosen = source.splits or {name: name for name in SPLITS if name in parts}
    for argument, wanted in (("sample", {*source.sample}), ("splits", {*chosen.values()})):
        if missing := sorted(wanted - {*parts}):
            raise HarnessError(f"{source}: {argument}= names {', '.join(missing)}; it has {', '.join(names)}")
    if "train" not in chosen or set(chosen) - set(SPLITS):
        raise HarnessError(f"{source}: splits= must map train, optionally validation, test; it has {', '.join(names)}")
    for name, size in source.sample.items():
        if size > len(rows := parts[name].rows):
            raise HarnessError(f"{source}: sample asks for {size} rows of {name}, which has {len(rows)}; ask for fewer")
        # Flattened, so that later checks see the sample only.
        parts[name] = Table(rows.shuffle(seed=source.seed).select(range(size)).flatten_indices(), [])
    return {part: parts[name] for part, name in chosen.items()}
