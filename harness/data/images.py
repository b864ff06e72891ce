"""Images: rows of files in folders named by label, and a check of every image before anything is trained on it."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.data import layout, tables
from harness.data.delimited import Dialect
from harness.data.row_checks import spelling_twins
from harness.errors import HarnessError, brief_error
from harness.kinds.image_classification import (
    DEEP,
    GREY,
    Picture,
    fit_channels,
    image_array,
    load_image,
    load_plugins,
)
from harness.util.console import current

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

METADATA = re.compile(r"metadata\.(csv|jsonl|parquet)", re.IGNORECASE)
"""Names of files that describe images, which they name in the column `file_name`, relative to their own folder."""
LEFTOVER = re.compile(r"\..*|thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|__macosx|@eadir", re.IGNORECASE)
"""Names of hidden files, and of those that an operating system leaves behind."""
UNREAD = {
    ".heic": "pillow-heif",
    ".heif": "pillow-heif",
    ".jxl": "pillow-jxl-plugin",
    ".svg": "",
    ".dcm": "",
    ".dng": "",
}
"""Ending of images that Pillow does not read by itself → the package that teaches it to; empty if there is none."""
CHUNK = 256
"""Images that are checked at a time."""
LEAST_PEAK = 1 << 14
"""Smallest value that images of 16 bits must reach: if they hold 12 bits, the upper 8 are nearly black."""


@cache
def endings() -> frozenset[str]:
    """Return the endings of files that hold images."""
    from PIL import Image

    load_plugins()
    return frozenset((*Image.registered_extensions(), *UNREAD))


def holds_images(files: Sequence[Path]) -> bool:
    """Return true for files of which some have the ending of an image, or none that of a table."""
    suffixes = {file.suffix.lower() for file in files if not METADATA.fullmatch(file.name)}
    return ".parquet" not in suffixes and (not suffixes.isdisjoint(endings()) or suffixes.isdisjoint(layout.SUFFIXES))


def read_images(task: Task, path: Path) -> tuple[dict[str, Dataset], list[str]]:
    """Return split → rows of the images below `path`, sorted by path, and a note on files that were left out.

    Columns are `image` and the label: the name of the folder, or from a metadata file. Every file is read, left out
    with a reason, or raises HarnessError.
    """
    from datasets import Dataset, Image

    files, left_out = list(_files(path)), defaultdict[str, list[Path]](list)
    images: list[Path] = []
    for file in files:
        if not METADATA.fullmatch(file.name):
            reason = _reason_to_leave_out(file, path)
            (left_out[reason] if reason else images).append(file)
    try:
        if described := [file for file in files if METADATA.fullmatch(file.name)]:
            rows = [row for file in described for row in _described_rows(task, path, file)]
            named = {file for _, file, _ in rows}
            left_out["not named by the metadata"] = [file for file in images if file not in named]
        else:
            rows = _labelled_rows(path, images)
        if not rows:
            raise ValueError("it holds no image")
        if twins := spelling_twins([str(label) for *_, label in rows]):
            raise ValueError(f"the labels {twins} differ in spelling only; give them one name")
        if "train" not in (splits := sorted({split for split, *_ in rows})):
            raise ValueError(f"its folders are named after {', '.join(splits)}, and none after train")
    except ValueError as error:
        counts = f"it holds {len(files):,} files, {len(images):,} of them images"
        raise HarnessError(f"{path}: {error} ({counts})") from error
    label = task.label if described and task.label else "label"
    columns = {split: [(str(file), name) for part, file, name in rows if part == split] for split in splits}
    parts = {
        split: Dataset.from_dict(dict(zip(("image", label), zip(*values, strict=True), strict=True)))
        for split, values in columns.items()
    }
    reasons = [f"{len(some):,} {reason} ({_short(some[0])})" for reason, some in left_out.items() if some]
    total = sum(map(len, left_out.values()))
    notes = [f"{total:,} of {len(files):,} files were left out: {', '.join(reasons)}"] if reasons else []
    return {split: part.cast_column("image", Image()) for split, part in parts.items()}, notes


def _files(path: Path) -> Iterator[Path]:
    """Yield every file below a folder, in an order that depends on their names alone."""
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _reason_to_leave_out(file: Path, root: Path) -> str:
    """Return why a file does not count; empty for an image, and for one that is none but should be."""
    from PIL import Image

    if any(LEFTOVER.fullmatch(part) for part in file.relative_to(root).parts):
        return "hidden or of the operating system"
    if file.suffix.lower() in endings():
        return ""
    is_text = False
    try:
        with file.open("rb") as stream:
            is_text = b"\0" not in stream.read(4096)
        Image.open(file).close()
    except Exception:  # of many kinds; an image that cannot be loaded is a problem later
        return "of text" if is_text else ""
    return ""


def _labelled_rows(path: Path, images: list[Path]) -> list[tuple[str, Path, Any]]:
    """Return split, file and label of each image; ValueError unless folders are named by label or split."""
    places = {file: file.relative_to(path).parts[:-1] for file in images}
    tops = {place[0] for place in places.values() if place}
    splits = {top: layout.NAMES.get(top.lower()) for top in tops}
    depth = 2 if all(splits.values()) and any(len(place) > 1 for place in places.values()) else 1
    strays = [file for file, place in places.items() if len(place) != depth]
    rule = "images lie in folders named by label, these in the folder itself or in train, validation and test"
    if strays or (depth == 1 and all(splits.values())):
        stray = f"{len(strays):,} of them lie elsewhere, the first {strays[0]}" if strays else "these have no label"
        raise ValueError(f"{rule}; {stray}")
    if depth == 2 and len({*splits.values()}) < len(tops):
        raise ValueError(f"two of the folders {', '.join(sorted(tops))} are the same split; join them")
    used = {path.joinpath(*place[:level]) for place in places.values() for level in (1, depth)}
    folders = {folder for level in (1, depth) for folder in path.glob("*/" * level)} - used
    if empty := sorted(f for f in folders if not any(map(LEFTOVER.fullmatch, f.relative_to(path).parts))):
        raise ValueError(f"{empty[0]} holds no image; add images, or remove the folder")
    return [(splits[place[0]] or "" if depth == 2 else "train", file, place[-1]) for file, place in places.items()]


def _described_rows(task: Task, path: Path, metadata: Path) -> list[tuple[str, Path, Any]]:
    """Return split, file and label of each row of a metadata file; ValueError for a row without an image."""
    wanted = SimpleNamespace(columns=("file_name", *filter(None, [task.label])), label=task.label, kind=task.kind)
    table, _ = tables.read([metadata], "metadata", wanted, Dialect())
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
    labels = table.rows[task.label] if task.label else [""] * len(names)
    return [(part, metadata.parent / name, label) for part, name, label in zip(splits, names, labels, strict=True)]


@cache
def _feature() -> Any:
    """Return the feature of `datasets` whose values `load_image` decodes."""
    from datasets import Image

    class Loaded(Image):  # type: ignore[misc]
        def decode_example(self, value: dict[str, Any], token_per_repo_id: object = None) -> Any:
            return load_image(value).image

    return Loaded()


def check_images(task: Task, split: str, rows: Dataset, column: str) -> tuple[Dataset, list[str]]:
    """Return the rows with a column of images, and notes on what was changed to read them, after loading every one.

    HarnessError, with the first and their number, for images that cannot be read or have no certain range of values.
    """
    from datasets import Image, Value

    feature = rows.features[column]
    if (
        isinstance(feature, Image)
        or feature in (Value("binary"), Value("large_binary"))
        or (isinstance(feature, dict) and "bytes" in feature)
    ):
        files = rows.cast_column(column, Image(decode=False))
        rows = files.cast_column(column, _feature())
    elif feature in (Value("string"), Value("large_string")):
        raise HarnessError(
            f"task {task.name}: column {column} of {split} holds text ({rows[0][column][:80]!r}), not images; put the "
            "files into folders named by label, or name them in the column file_name of a metadata.csv beside them"
        )
    else:
        files = rows
    remarks, problems, peak = defaultdict[str, list[str]](list), list[str](), 0
    with current().bar(f"reading the images of {task.name}, {split}", len(files)) as stage:
        for number, value, result in _examined(files, column):
            stage.update()
            if isinstance(result, str):
                problems.append(f"{_name(value, number, split)}: {result}")
                continue
            for remark in result.remarks:
                remarks[remark].append(_name(value, number, split, short=True))
            peak = max(peak, result.peak)
    if DEEP in remarks and peak < LEAST_PEAK:
        raise HarnessError(
            f"task {task.name}: the images of 16 bits of {split}, the first {remarks[DEEP][0]}, reach only {peak:,} of "
            "65,535, so that little is left of them in 8 bits; save them with 8 bits, scaled as the model expects"
        )
    total = f"of {len(files):,} images of {split}"
    if problems:
        raise HarnessError(
            f"task {task.name}: {len(problems):,} {total} cannot be used, the first {problems[0]}; repair them, or "
            "leave them out"
        )
    return rows, [f"{len(some):,} {total} {remark}; the first is {some[0]}" for remark, some in remarks.items()]


def check_fit(owner: str, processor: Any, split: Any, column: str) -> None:
    """Raise HarnessError, with the first and their number, for a Split's images that do not fit a model."""
    from datasets import Image

    channels, problems, sizes = getattr(processor, "num_channels", None), list[str](), dict[tuple[int, ...], str]()
    resized = getattr(processor, "do_resize", None) is not False
    for part in split.sizes():
        rows = getattr(split, part)
        is_file = isinstance(rows.features[column], Image)
        if resized and (channels is None or (channels == 3 and is_file)):
            continue
        raw = rows.cast_column(column, Image(decode=False)) if is_file else rows
        for number, row in enumerate(rows):
            array = image_array(row[column])
            try:
                fit_channels(array, channels)
            except ValueError as error:
                problems.append(problems[0] if problems else f"{_name(raw[number][column], number, part)}: {error}")
            if array.shape[:2] not in sizes:
                sizes[array.shape[:2]] = _name(raw[number][column], number, part)
    if problems:
        raise HarnessError(
            f"{owner}: the model reads {channels} channels (num_channels), which {len(problems):,} of "
            f"{sum(split.sizes().values()):,} images do not have, the first {problems[0]}; convert the images"
        )
    if not resized and len(sizes) > 1:
        some = ", ".join(f"{height} x {width} ({name})" for (height, width), name in [*sizes.items()][:3])
        raise HarnessError(
            f"{owner}: its image processor has do_resize=false, and the images have {len(sizes)} sizes, such as "
            f"{some}; let it resize them, or give them one size"
        )


def _examined(files: Dataset, column: str) -> Iterator[tuple[int, Any, Picture | str]]:
    """Yield the number and the value of each row, and what it holds or what is wrong with it."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of large images, and of metadata that Pillow cannot read
        for start in range(0, len(files), CHUNK):
            values = files[start : start + CHUNK][column]
            for number, (value, result) in enumerate(zip(values, pool.map(_examine, values), strict=True), start):
                yield number, value, result


def _examine(value: Any) -> Picture | str:
    """Return the image without its pixels, or what is wrong with it."""
    try:
        if isinstance(value, Mapping):
            return load_image(value)._replace(image=None)
        return Picture(None, (GREY,) if image_array(value).shape[2] == 1 else ())
    except Exception as error:  # Pillow's formats raise errors of many kinds
        return _explain(value, error)


def _explain(value: Any, error: Exception) -> str:
    """Return why an image cannot be loaded, and what to do."""
    from PIL import UnidentifiedImageError

    head, path = b"?", Path()
    if isinstance(value, Mapping):
        path = Path(value.get("path") or "")
        with suppress(OSError), path.open("rb") if value.get("bytes") is None else io.BytesIO(value["bytes"]) as stream:
            head = stream.read(100)
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the image itself; run: git lfs pull"
    if not isinstance(error, UnidentifiedImageError):
        return str(error) if isinstance(error, OSError | ValueError) else brief_error(error)
    package = UNREAD.get(path.suffix.lower())
    return "Pillow knows no such format" + (f"; run: python -m pip install {package}" if package else "")


def _name(value: Any, number: int, split: str, *, short: bool = False) -> str:
    """Return an image's file, or its row; `short` keeps folders of this machine out of results."""
    if not isinstance(value, Mapping) or value.get("bytes") is not None or not value.get("path"):
        return f"row {number} of {split}"
    return _short(Path(value["path"])) if short else value["path"]


def _short(file: Path) -> str:
    return "/".join(file.parts[-2:])
