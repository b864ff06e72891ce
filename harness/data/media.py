"""Files in folders named by label, or described by a metadata file: rows whose input is one file each."""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from harness.data import layout, tables
from harness.data.delimited import Dialect
from harness.data.row_checks import spelling_twins
from harness.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

METADATA = re.compile(r"metadata\.(csv|jsonl|parquet)", re.IGNORECASE)
"""Names of files that describe others, which they name in the column `file_name`, relative to their own folder."""
LEFTOVER = re.compile(r"\..*|thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|__macosx|@eadir", re.IGNORECASE)
"""Names of hidden files, and of those that an operating system leaves behind."""

CHUNK = 256
"""Files that are checked at a time."""

Found = TypeVar("Found")


class Medium(NamedTuple):
    """A sort of files, of which each is one row's input."""

    noun: str
    column: str
    """Name of the rows' column."""
    endings: Callable[[], Collection[str]]
    """Endings of such files."""
    open: Callable[[Path], object]
    """Fails for a file that is none."""
    feature: Callable[[], Any]
    """Feature of `datasets` for paths and bytes of such files."""


def choose(media: Sequence[Medium], files: Sequence[Path]) -> Medium | None:
    """Return the medium of which some files have an ending, else the last if none is a table; None for tables."""
    suffixes = {file.suffix.lower() for file in files if not METADATA.fullmatch(file.name)}
    if not media or ".parquet" in suffixes:
        return None
    usual = media[-1] if suffixes.isdisjoint(layout.SUFFIXES) else None
    return next((medium for medium in media if not suffixes.isdisjoint(medium.endings())), usual)


def read_files(task: Task, path: Path, medium: Medium) -> tuple[dict[str, Dataset], list[str]]:
    """Return split → rows of the files of a medium below `path`, sorted by path, and a note on those left out.

    Columns are that of the medium and the label: the name of the folder, or from a metadata file. Without a label, all
    columns of that are read. Every file is read, left out with a reason, or raises HarnessError.
    """
    from datasets import Dataset

    files, left_out = list(_files(path)), defaultdict[str, list[Path]](list)
    members: list[Path] = []
    for file in files:
        if not METADATA.fullmatch(file.name):
            reason = _reason_to_leave_out(file, path, medium)
            (left_out[reason] if reason else members).append(file)
    try:
        if described := [file for file in files if METADATA.fullmatch(file.name)]:
            rows = [row for file in described for row in _described_rows(task, path, file)]
            named = {file for _, file, _ in rows}
            left_out["not named by the metadata"] = [file for file in members if file not in named]
        else:
            rows = _labelled_rows(path, members, medium.noun)
        if not rows:
            raise ValueError(f"it holds no {medium.noun}")
        labels = [str(label) for *_, columns in rows for label in columns.values()] if task.kind.label == "one" else []
        if twins := spelling_twins(labels):
            raise ValueError(f"the labels {twins} differ in spelling only; give them one name")
        if "train" not in (splits := sorted({split for split, *_ in rows})):
            raise ValueError(f"its folders are named after {', '.join(splits)}, and none after train")
    except ValueError as error:
        counts = f"it holds {len(files):,} files, {len(members):,} of them {medium.noun}s"
        raise HarnessError(f"{path}: {error} ({counts})") from error
    parts = {}
    for split in splits:
        own = [{medium.column: ""} | columns | {medium.column: str(f)} for part, f, columns in rows if part == split]
        names = dict.fromkeys(name for row in own for name in row)
        parts[split] = Dataset.from_dict({name: [row.get(name) for row in own] for name in names})
    reasons = [f"{len(some):,} {reason} ({short_name(some[0])})" for reason, some in left_out.items() if some]
    total = sum(map(len, left_out.values()))
    notes = [f"{total:,} of {len(files):,} files were left out: {', '.join(reasons)}"] if reasons else []
    return {split: part.cast_column(medium.column, medium.feature()) for split, part in parts.items()}, notes


def _files(path: Path) -> Iterator[Path]:
    """Yield every file below a folder, in an order that depends on their names alone."""
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _reason_to_leave_out(file: Path, root: Path, medium: Medium) -> str:
    """Return why a file does not count; empty for one of the medium, and for one that should be but is damaged."""
    if any(LEFTOVER.fullmatch(part) for part in file.relative_to(root).parts):
        return "hidden or of the operating system"
    if file.suffix.lower() in medium.endings():
        return ""
    is_text = False
    try:
        with file.open("rb") as stream:
            is_text = b"\0" not in stream.read(4096)
        medium.open(file)
    except Exception:  # of many kinds; a file that cannot be loaded is a problem later
        return "of text" if is_text else ""
    return ""


def _labelled_rows(path: Path, members: list[Path], noun: str) -> list[tuple[str, Path, dict[str, Any]]]:
    """Return split, file and label of each member; ValueError unless folders are named by label or split."""
    places = {file: file.relative_to(path).parts[:-1] for file in members}
    tops = {place[0] for place in places.values() if place}
    splits = {top: layout.NAMES.get(top.lower()) for top in tops}
    depth = 2 if all(splits.values()) and any(len(place) > 1 for place in places.values()) else 1
    strays = [file for file, place in places.items() if len(place) != depth]
    rule = f"{noun}s lie in folders named by label, these in the folder itself or in train, validation and test"
    if strays or (depth == 1 and all(splits.values())):
        stray = f"{len(strays):,} of them lie elsewhere, the first {strays[0]}" if strays else "these have no label"
        raise ValueError(f"{rule}; {stray}")
    if depth == 2 and len({*splits.values()}) < len(tops):
        raise ValueError(f"two of the folders {', '.join(sorted(tops))} are the same split; join them")
    used = {path.joinpath(*place[:level]) for place in places.values() for level in (1, depth)}
    folders = {folder for level in (1, depth) for folder in path.glob("*/" * level)} - used
    if empty := sorted(f for f in folders if not any(map(LEFTOVER.fullmatch, f.relative_to(path).parts))):
        raise ValueError(f"{empty[0]} holds no {noun}; add {noun}s, or remove the folder")
    return [
        (splits[place[0]] or "" if depth == 2 else "train", file, {"label": place[-1]})
        for file, place in places.items()
    ]


def _described_rows(task: Task, path: Path, metadata: Path) -> list[tuple[str, Path, dict[str, Any]]]:
    """Return split, file and label, or all columns, of each row of a metadata file; ValueError for a missing file."""
    columns = ("file_name", task.label) if task.label else ()
    wanted = SimpleNamespace(columns=columns, label=task.label, kind=task.kind)
    table, _ = tables.read([metadata], "metadata", wanted, Dialect())
    if "file_name" not in table.rows.column_names:
        raise ValueError(f"{metadata} has no column file_name, which names the files")
    names = [Path(name or "") for name in table.rows["file_name"]]
    for row, name in enumerate(names):
        if not (metadata.parent / name).is_file() or name.is_absolute() or ".." in name.parts:
            raise ValueError(
                f"{table.place(row)}row {row} names {str(name)!r}, which is no file below {metadata.parent}"
            )
    places = [(metadata.parent / name).relative_to(path).parts[0] for name in names]
    splits = [layout.NAMES.get(place.lower(), "") for place in places]
    if not all(splits):
        splits = ["train"] * len(names)
    others = [{name: value for name, value in row.items() if name != "file_name"} for row in table.rows]
    return [(part, metadata.parent / name, row) for part, name, row in zip(splits, names, others, strict=True)]


def examined(
    files: Dataset, column: str, examine: Callable[[Any], Found | str]
) -> Iterator[tuple[int, Any, Found | str]]:
    """Yield the number and the value of each row, and what it holds or what is wrong with it."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of large images, and of metadata that Pillow cannot read
        for start in range(0, len(files), CHUNK):
            values = files[start : start + CHUNK][column]
            for number, (value, result) in enumerate(zip(values, pool.map(examine, values), strict=True), start):
                yield number, value, result


def row_name(value: Any, number: int, split: str, *, short: bool = False) -> str:
    """Return the file of a row's input, or its row; `short` keeps folders of this machine out of results."""
    if not isinstance(value, Mapping) or value.get("bytes") is not None or not value.get("path"):
        return f"row {number} of {split}"
    return short_name(Path(value["path"])) if short else value["path"]


def short_name(file: Path) -> str:
    """Return the end of a path, which tells nothing of this machine."""
    return "/".join(file.parts[-2:])
