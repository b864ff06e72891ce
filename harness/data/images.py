"""Images: rows of files in folders named by label, and a check of every image before anything is trained on it."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.media import Medium, examined, row_name
from harness.errors import HarnessError, brief_error
from harness.kinds.pictures import (
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

UNREAD = {
    ".heic": "pillow-heif",
    ".heif": "pillow-heif",
    ".jxl": "pillow-jxl-plugin",
    ".svg": "",
    ".dcm": "",
    ".dng": "",
}
"""Ending of images that Pillow does not read by itself → the package that teaches it to; empty if there is none."""
LEAST_PEAK = 1 << 14
"""Smallest value that images of 16 bits must reach: if they hold 12 bits, the upper 8 are nearly black."""


@cache
def endings() -> frozenset[str]:
    """Return the endings of files that hold images."""
    from PIL import Image

    load_plugins()
    return frozenset((*Image.registered_extensions(), *UNREAD))


def _open(file: Path) -> None:
    from PIL import Image

    Image.open(file).close()


def _stored() -> Any:
    from datasets import Image

    return Image()


IMAGES = Medium("image", "image", endings, _open, _stored)


@cache
def _feature() -> Any:
    """Return the feature of `datasets` whose values `load_image` decodes."""
    from datasets import Image

    class Loaded(Image):  # type: ignore[misc]
        def decode_example(self, value: dict[str, Any], token_per_repo_id: object = None) -> Any:
            return load_image(value).image

    return Loaded()


def undecoded(rows: Dataset, column: str) -> Dataset:
    """Return the rows with the images of a column as paths and bytes; arrays stay."""
    from datasets import Image

    return rows.cast_column(column, Image(decode=False)) if isinstance(rows.features[column], Image) else rows


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
        for number, value, result in examined(files, column, _examine):
            stage.update()
            if isinstance(result, str):
                problems.append(f"{row_name(value, number, split)}: {result}")
                continue
            for remark in result.remarks:
                remarks[remark].append(row_name(value, number, split, short=True))
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
        if resized and (channels is None or (channels == 3 and isinstance(rows.features[column], Image))):
            continue
        raw = undecoded(rows, column)
        for number, row in enumerate(rows):
            array = image_array(row[column])
            try:
                fit_channels(array, channels)
            except ValueError as error:
                problems.append(problems[0] if problems else f"{row_name(raw[number][column], number, part)}: {error}")
            if array.shape[:2] not in sizes:
                sizes[array.shape[:2]] = row_name(raw[number][column], number, part)
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
