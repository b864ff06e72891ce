"""Masks of images: pictures whose pixels are numbers of labels, beside the images or in a column of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import UNTAUGHT
from harness.data import layout
from harness.data.images import IMAGES, undecoded
from harness.data.media import row_name
from harness.errors import HarnessError
from harness.kinds.pictures import picture_size

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

FOLDERS = {
    "images": ("images", "image", "imgs", "pictures", "jpegimages"),
    "masks": ("masks", "mask", "annotations", "labels", "segmentation", "segmentationclass"),
}
"""Names of the folders in which images and their masks lie, in small letters."""
MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
"""Modes of pictures that have one whole number a pixel."""


def are_beside(path: Path) -> bool:
    """Return whether a path is of a folder that has one of masks in it."""
    return any(folder.is_dir() and folder.name.lower() in FOLDERS["masks"] for folder in path.rglob("*"))


def read_files(task: Task, path: Path) -> dict[str, Dataset]:
    """Return split → rows of the images below a folder, each with the mask of the same name; HarnessError without."""
    from datasets import Dataset

    images, masks = _sides(path)
    splits = {key: layout.split_of(path, file.relative_to(path)) or "" for key, file in images.items()}
    if "train" not in (names := {*splits.values()}) and names != {""}:
        raise HarnessError(f"{path} has the splits {', '.join(sorted(names))}; name one after train, or none at all")
    parts = {}
    for split in sorted(names):
        keys = [key for key in images if splits[key] == split]
        columns = {"image": [str(images[key]) for key in keys], task.label: [str(masks[key]) for key in keys]}
        rows = Dataset.from_dict(columns)
        for name in columns:
            rows = rows.cast_column(name, IMAGES.feature())
        parts[split or "train"] = rows
    return parts


def _sides(path: Path) -> tuple[dict[tuple[str, ...], Path], dict[tuple[str, ...], Path]]:
    """Return the images and the masks below a folder by a key that both of a pair have."""
    images, masks = dict[tuple[str, ...], Path](), dict[tuple[str, ...], Path]()
    odd = []
    for file in (file for file in sorted(path.rglob("*")) if file.suffix.lower() in IMAGES.endings()):
        folders = [part.lower() for part in file.relative_to(path).parts[:-1]]
        names = next((names for names in FOLDERS.values() if {*names} & {*folders}), ())
        key = (*(part for part in folders if part not in names), file.stem)
        side = images if names == FOLDERS["images"] else masks
        if key in side or not names:
            odd.append(file)
        side.setdefault(key, file)
    odd += [side[key] for side in (images, masks) for key in side if key not in images or key not in masks]
    if odd or not images:
        shown = f"; {len(odd):,} files have no partner or share its name, the first {odd[0]}" if odd else ""
        raise HarnessError(
            f"{path} holds {len(images):,} images and {len(masks):,} masks: write images to a folder images, and masks "
            f"of the same names in a folder masks beside it, also in train, validation and test{shown}"
        )
    return images, masks


def load_mask(value: Any) -> NDArray[np.int64]:
    """Return the number of each pixel, shape (height, width); ValueError for a picture of colours."""
    from PIL import Image

    if not isinstance(value, Mapping):
        array = np.asarray(value)
    else:
        data = value.get("bytes")
        with Image.open(value["path"] if data is None else BytesIO(data)) as picture:
            if picture.mode not in MODES:
                raise ValueError(
                    f"it has the mode {picture.mode}, colours instead of numbers of labels; save it as PNG with one "
                    "channel, in which a pixel holds the number of its label"
                )
            array = np.asarray(picture)
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise ValueError(f"it holds {array.dtype} of the shape {array.shape}; expected whole numbers (height, width)")
    return array.astype(np.int64)


@cache
def feature() -> Any:
    """Return the feature of a row's mask, its labels and its size."""
    from datasets import Image, List, Value

    class Mask(Image):  # type: ignore[misc]
        def decode_example(self, value: dict[str, Any], token_per_repo_id: object = None) -> Any:
            return load_mask(value)

    return {"mask": Mask(), "labels": List(Value("int64"))}


def settle(task: Task, parts: dict[str, Dataset]) -> tuple[dict[str, Dataset], list[str]]:
    """Return the parts with masks in which pixels that count for nothing are UNTAUGHT, and notes, after reading each.

    HarnessError for masks of another size than their image, with numbers that nobody declared, or in colours.
    """
    ignored, total = 0, 0
    for split, rows in parts.items():
        column = task.inputs[0]
        files = undecoded(undecoded(rows, column), "label")
        settled, problems = [], list[str]()
        for number, row in enumerate(files):
            try:
                mask = _checked(task, row["label"], picture_size(row[column]))
            except (ValueError, OSError) as error:
                problems.append(f"{row_name(row['label'], number, split)}: {error}")
                continue
            counts = np.unique(mask)
            ignored, total = ignored + int((mask == UNTAUGHT).sum()), total + mask.size
            labels = [int(label) for label in counts if label != UNTAUGHT]
            settled.append({"mask": {"bytes": _png(mask), "path": None}, "labels": labels})
        if problems:
            raise HarnessError(
                f"task {task.name}: {len(problems):,} of {len(rows):,} masks of {split} cannot be used, the first "
                f"{problems[0]}; mend them, or leave their images out"
            )
        # add_column makes its own Image of a Mask.
        parts[split] = rows.remove_columns("label").add_column("label", settled, feature=feature())
        parts[split] = parts[split].cast_column("label", feature())
    return parts, [
        f"{ignored / total:.1%} of all pixels are {task.ignore} (ignore=) and count for nothing"
    ] if ignored else []


def _checked(task: Task, value: Any, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return a mask with UNTAUGHT in the place of the number that counts for nothing; ValueError if it is unfit."""
    mask = load_mask(value)
    if mask.shape != size:
        raise ValueError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels large, its image {size[1]} x {size[0]}; give both "
            "one size"
        )
    known = np.isin(mask, [*range(len(task.classes)), *([] if task.ignore is None else [task.ignore])])
    if not known.all():
        others = Counter(mask[~known].tolist()).most_common(3)
        shown = ", ".join(f"{number} ({pixels:,} pixels)" for number, pixels in others)
        raise ValueError(
            f"it holds {shown}, and classes= names 0 to {len(task.classes) - 1}; name them all, or declare the number "
            "that counts for nothing, as in Task(ignore=255)"
        )
    return mask if task.ignore is None else np.where(mask == task.ignore, UNTAUGHT, mask)


def _png(mask: NDArray[np.int64]) -> bytes:
    from PIL import Image

    Image.fromarray(mask.astype(np.uint8)).save(stream := BytesIO(), "PNG")
    return stream.getvalue()
