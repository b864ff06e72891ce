"""COCO's annotations in JSON: images and the boxes in them, beside the folders of the images."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data import layout
from harness.data.images import IMAGES
from harness.errors import HarnessError
from harness.kinds.pictures import picture_size

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

PARTS = ("images", "annotations", "categories")
PREFIX = "instances_"
"""Beginning of the names of COCO's own files."""
FORM = "xywh"


def annotation_files(path: Path, files: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Return the files in COCO's format among those of a folder, with their contents."""
    contents = {}
    for file in files:
        if file.suffix.lower() != ".json":
            continue
        layout.check_pointer(file)
        try:
            content = json.loads(file.read_text("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise HarnessError(f"{file} is not JSON: {error}; copy it again, or remove it") from error
        if isinstance(content, dict) and all(isinstance(content.get(part), list) for part in PARTS):
            contents[file] = content
    return contents


def read_files(task: Task, path: Path, contents: Mapping[Path, dict[str, Any]]) -> tuple[dict[str, Dataset], list[str]]:
    """Return split → rows of the images that COCO's annotations below `path` name, and a note on the others."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    images = defaultdict[str, list[Path]](list)
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in IMAGES.endings():
            images[file.name].append(file)
    parts, unnamed = dict[str, Dataset](), {file for files in images.values() for file in files}
    for split, file in _splits(path, [*contents]).items():
        names, rows = _rows(file, contents[file], images)
        unnamed -= {Path(row["image"]) for row in rows}
        label = List(ClassLabel(names=names))
        objects = {FORM: List(List(Value("float64"))), "category": label, "iscrowd": List(Value("bool"))}
        columns = {"image": [row["image"] for row in rows], task.label or "label": [row["objects"] for row in rows]}
        features = Features(dict(zip(columns, (Value("string"), objects), strict=True)))
        parts[split] = Dataset.from_dict(columns, features=features).cast_column("image", IMAGES.feature())
    note = (
        f"{len(unnamed):,} images are in no annotation file and left out, the first {min(unnamed, default=path).name}"
    )
    return parts, [note] if unnamed else []


def _splits(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Return split → its file; the only one may have any name."""
    if len(files) == 1:
        return {"train": files[0]}
    places = [file.relative_to(path) for file in files]
    named = [layout.split_of(path, place.with_name(place.name.removeprefix(PREFIX))) for place in places]
    splits = {split: file for split, file in zip(named, files, strict=True) if split}
    if len(splits) < len(files) or "train" not in splits:
        shown = ", ".join(place.as_posix() for place in places)
        raise HarnessError(
            f"{path} has the annotation files {shown}; name each after another split, as train.json or "
            "train/annotations.json, one of them after train, or leave one file"
        )
    return splits


def _rows(
    file: Path, content: Mapping[str, Any], images: Mapping[str, list[Path]]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the categories and a row for each image; HarnessError for what contradicts itself."""
    try:
        categories, entries = (_by_id(file, content, sort) for sort in ("categories", "images"))
        names = [str(one["name"]) for one in categories.values()]
        files = {number: _image(file, one, images) for number, one in entries.items()}
        for sort, values in (("category", names), ("image", files.values())):
            if repeated := [value for value, count in Counter(values).items() if count > 1]:
                raise HarnessError(f"{file}: the {sort} {repeated[0]} occurs more than once; leave one")
        objects = _objects(file, content["annotations"], [*categories], [*entries])
    except KeyError as error:
        raise HarnessError(f"{file}: an entry lacks {error}, which COCO's format has; add it, or drop it") from error
    return names, [{"image": str(files[number]), "objects": objects[number]} for number in entries]


def _objects(
    file: Path, annotations: Sequence[Mapping[str, Any]], categories: list[Any], images: list[Any]
) -> dict[Any, dict[str, list[Any]]]:
    """Return the boxes of each image, their categories by place, and whether each is a crowd."""
    objects: dict[Any, dict[str, list[Any]]] = {number: {FORM: [], "category": [], "iscrowd": []} for number in images}
    places = {number: place for place, number in enumerate(categories)}
    for one in annotations:
        for sort, known in (("category_id", places), ("image_id", objects)):
            if one[sort] not in known:
                raise HarnessError(
                    f"{file}: annotation {one.get('id', '')} has the {sort} {one[sort]!r}, which the file does not "
                    "declare; declare it, or leave the annotation out"
                )
        own = objects[one["image_id"]]
        own[FORM].append(one["bbox"])
        own["category"].append(places[one["category_id"]])
        own["iscrowd"].append(bool(one.get("iscrowd", 0)))
    return objects


def _by_id(file: Path, content: Mapping[str, Any], sort: str) -> dict[Any, dict[str, Any]]:
    entries = {one["id"]: one for one in content[sort]}
    if lost := len(content[sort]) - len(entries):
        raise HarnessError(f"{file}: {lost:,} of {sort} repeat an id; leave one of each")
    return entries


def _image(file: Path, entry: Mapping[str, Any], images: Mapping[str, list[Path]]) -> Path:
    """Return the image that an entry means: relative to the annotation file, else the only one whose path ends so."""
    name = str(entry["file_name"])
    places = [file.parent / name]
    if not places[0].is_file():
        parts = Path(name).parts
        places = [path for path in images.get(Path(name).name, ()) if path.parts[-len(parts) :] == parts]
    if len(places) != 1:
        several = f"{len(places)} images have that name, the first {places[0]}" if places else "there is no such file"
        raise HarnessError(f"{file} names the image {name}, and {several}; name it relative to the annotation file")
    height, width = picture_size({"path": str(places[0])})
    stated = (entry.get("width", width), entry.get("height", height))
    if stated != (width, height):
        raise HarnessError(
            f"{file}: {name} is said to be {stated[0]} x {stated[1]} pixels large, and is {width} x {height} once "
            "upright; write the boxes for the image as it is"
        )
    return places[0]
