"""Read the rows of a task from their source, and locate pretrained checkpoints.

Rows come as one table per split of the source, with the task's columns only; a single file is the split `train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.sources import Folder, Hub, Local, Native, Package, Scratch
from harness.contracts.vetting import vet
from harness.data import audio, boxes, coco, conversion, hub, images, layout, masks, media, tables
from harness.data.delimited import Dialect
from harness.data.tables import Table
from harness.errors import HarnessError, brief_error
from harness.util.identity import tree_sha256

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.contracts.sources import Source
    from harness.spec import Task

MEDIA = {"audio": audio.RECORDINGS, "image": images.IMAGES}
"""A kind's `media` → the files that it reads; one that is not decided yet is "any"."""
SPLITS = ("train", "validation", "test")
FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def pretrained(source: Source, folder: Path) -> Path | None:
    """Return the verified and vetted folder of a model for a suite in `folder`; None for random weights."""
    match source:
        case Package():
            path = conversion.convert(locate(source), source.sha256)
        case Hub():
            path = hub.fetch(source, "model")
        case Local():
            return source.locate(folder)
        case Native() | Scratch():
            return None
    vet(path, pinned=True)
    return path


def locate(package: Package) -> Path:
    """Return the path of a package's files; HarnessError if they are missing or have another hash."""
    name = package.distribution
    try:
        path = Path(str(metadata.distribution(name).locate_file(package.path)))
    except metadata.PackageNotFoundError:
        raise HarnessError(f"the package {name} is not installed; run: python -m pip install {name}") from None
    if not path.exists():
        raise HarnessError(
            f"{name}: the installed version has no {package.path}; install the one that has, or correct the path"
        )
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
    try:
        parts, notes = read_tables(task, folder)
        listed: list[str] = []
        rows = {name: _select_columns(task, name, table, listed, notes) for name, table in parts.items()}
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
    _check_columns(task, "train", [name for name in columns if name not in rows[0]], rows[0])
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
    chosen = hub.select(source, path)
    if not chosen.splits:
        parts, notes = _medium(task, path, MEDIA[task.kind.media or "image"])
    else:
        splits = {split: [path / name for name in names] for split, names in chosen.splits.items()}
        wanted = {*(source.splits.values() or SPLITS), *source.sample}
        parts, notes = _read_splits(task, {s: f for s, f in splits.items() if s in wanted}, chosen.dialect)
        if not parts:
            raise HarnessError(f"{source}: splits= must name a split for train; it has {', '.join(splits)}")
        features = hub.features(path, chosen.config)
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


def _select_columns(task: Task, split: str, table: Table, listed: list[str], notes: list[str]) -> Dataset:
    """Return the task's inputs and `label`, and add to the lists; HarnessError for a missing column or value."""
    from datasets import Image

    rows = _add_fields(task, table.rows)
    missing = [name for name in task.columns if name not in rows.column_names]
    _check_columns(task, split, missing, rows.flatten().column_names)
    for name in task.columns:
        empty = rows.data.column(name).is_null(nan_is_null=True).to_pylist()
        if any(empty):
            raise HarnessError(
                f"{table.place(empty.index(True))}row {empty.index(True)} of {split} has no value in {name}, "
                f"as have {sum(empty)} of {len(rows)} rows; leave them out"
            )
    if not len(rows):
        raise HarnessError(f"task {task.name}: {task.dataset}: {split} has no rows; add some, or leave its file out")
    if not isinstance(task.dataset, Package):
        for name in task.columns if not task.kind.media else task.label_columns:
            rows = _as_text(task, rows, name)
    selected = rows.select_columns(list(task.inputs))
    if task.label is not None:
        values, feature = (
            _labels(task, split, rows, task.label, listed)
            if isinstance(task.label, str)
            else _flags(task, split, rows, task.label, listed)
        )
        selected = selected.add_column("label", values, feature=feature)
    for name in task.inputs:
        if task.kind.media == "audio":
            folders = [file.parent for file, count, _ in table.files for _ in range(count)]
            selected, remarks = audio.check(task, split, selected, name, folders)
            notes += remarks
        elif task.kind.media == "image" or isinstance(selected.features[name], Image):
            selected, remarks = images.check_images(task, split, selected, name)
            notes += remarks
    return selected


def _as_text(task: Task, rows: Dataset, name: str) -> Dataset:
    """Return the rows with the numbers, dates and truth values of a column as text; labels of a list remain its own."""
    import pyarrow as pa
    from datasets import Value

    feature = rows.features[name]
    if not isinstance(feature, Value) or feature.dtype == "string":
        return rows
    try:
        text = rows.data.column(name).cast(pa.string())
    except pa.ArrowException as error:
        problem = f"column {name} holds {feature.dtype}, which is no text: {error}; write it as text"
        raise HarnessError(f"task {task.name}: {task.dataset}: {problem}") from error
    at = rows.column_names
    return rows.remove_columns(name).add_column(name, text, feature=Value("string")).select_columns(at)


def _check_columns(task: Task, split: str, missing: list[str], columns: Iterable[str]) -> None:
    if missing:
        choices = [*columns]
        close = [match for name in missing for match in get_close_matches(name, choices, n=1)]
        hint = f"; did you mean {', '.join(map(repr, close))}?" if close else ""
        names = f"{', '.join(missing)}; it has {', '.join(choices)}"
        raise HarnessError(f"task {task.name}: {task.dataset}: {split} has no column {names}{hint}")


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

    feature, sort = rows.features[column], task.kind.label
    if sort in ("free", "mask"):
        given = images.undecoded(rows, column)
        return list(given[column][:]), given.features[column]
    values = rows.data.column(column).to_pylist()
    if sort == "boxes":
        return boxes.parse(task, split, column, values, feature, listed), boxes.feature(Value("string"))
    if sort == "number":
        return _numbers(task, split, column, values, feature), Value("float64")
    each = sort in ("each", "many")
    if not isinstance(feature, List | LargeList if each else ClassLabel | Value):
        flags = ", name a column of 0 and 1 for each label, as in label=('urgent', 'angry')" if sort == "many" else ""
        raise HarnessError(
            f"task {task.name}: column {column} of {split} must hold {'a list of labels' if each else 'one label'} "
            f"per row, but row 0 has the {type(values[0]).__name__} {str(values[0])[:80]}; mend it{flags}, or choose "
            f"another column or kind{'; multi-label-classification reads lists' if sort == 'one' else ''}"
        )
    lists: list[list[Any]] = values if each else [[value] for value in values]
    if (row := next((row for row, labels in enumerate(lists) if None in labels), None)) is not None:
        what, add = ("word without a label", "label") if sort == "each" else ("label without a name", "name")
        raise HarnessError(f"task {task.name}: row {row} of {split} has a {what} in {column}; give it a {add}")
    if sort == "many" and (row := next((n for n, labels in enumerate(lists) if len({*labels}) < len(labels)), -1)) >= 0:
        raise HarnessError(f"task {task.name}: row {row} of {split} has a label twice in {column}; name each once")
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
    if sort == "many":
        names = [sorted(labels) for labels in names]
    return (names, List(Value("string"))) if each else ([label for (label,) in names], Value("string"))


def _flags(task: Task, split: str, rows: Dataset, columns: Sequence[str], listed: list[str]) -> tuple[list[Any], Any]:
    """Return the names of each row's labels, of which each has a column of 0 and 1, and their feature."""
    from datasets import List, Value

    listed += columns
    flags = {name: [FLAGS.get(str(value).lower()) for value in rows.data.column(name).to_pylist()] for name in columns}
    for name, column in flags.items():
        if None in column:
            row = column.index(None)
            raise HarnessError(
                f"task {task.name}: row {row} of {split} has {rows.data.column(name)[row].as_py()!r} in {name}, which "
                f"as one of several columns in label= holds 0 or 1 ({column.count(None):,} of {len(column):,} rows do "
                "not); mend it, or leave the column out of label="
            )
    names = [sorted(name for name in columns if flags[name][row]) for row in range(len(rows))]
    return names, List(Value("string"))


def _numbers(task: Task, split: str, column: str, values: list[Any], feature: Any) -> list[float]:
    """Return the values as numbers; HarnessError for what is none, NaN and names of labels included."""
    from datasets import ClassLabel

    numbers = [_finite(value) for value in values]
    if isinstance(feature, ClassLabel):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} holds labels ({', '.join(feature.names[:5])}), no numbers; "
            "choose another column or kind"
        )
    if None in numbers:
        row = numbers.index(None)
        raise HarnessError(
            f"task {task.name}: row {row} of {split} has {str(values[row])[:80]!r} in {column}, which is no finite "
            f"number ({numbers.count(None):,} of {len(numbers):,} rows have none); write it like 4.5, leave the row "
            f"out, or choose another column or kind than {task.kind.name}"
        )
    return numbers  # type: ignore[return-value]


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) and "_" not in str(value) else None
