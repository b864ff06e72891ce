"""Boxes in images: read from the fields that data sets use, and checked against the images that they lie in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.data.images import undecoded
from harness.errors import HarnessError
from harness.kinds.pictures import picture_size

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

Box = Sequence[float]
Size = tuple[int, int]
"""Height and width."""
FORMS: dict[str, Callable[[Box, Size], list[float]]] = {
    "xywh": lambda box, size: [box[0], box[1], box[0] + box[2], box[1] + box[3]],
    "xyxy": lambda box, size: [*box],
    "yolo": lambda box, size: [
        size[1] * (box[0] - box[2] / 2), size[0] * (box[1] - box[3] / 2),
        size[1] * (box[0] + box[2] / 2), size[0] * (box[1] + box[3] / 2),
    ],
}  # fmt: skip
"""Form of boxes → function from a box to (x0, y0, x1, y1) in pixels, as in `Task.boxes`."""
FIELDS = {
    "box": ("bbox", "bboxes", "boxes", "box", *FORMS),
    "label": ("category", "categories", "label", "labels", "category_id", "class"),
    "crowd": ("iscrowd", "is_crowd"),
}
"""Names of the fields of an annotated object; a field named after a form states it."""
SLACK = 1.0
"""Pixels by which a box may leave its image, as rounding does; it is cut there."""


def parse(task: Task, split: str, column: str, values: list[Any], feature: Any, listed: list[str]) -> list[Any]:
    """Return each row's objects as a mapping of their boxes, labels by name, crowds, and the form that is stated.

    A row has a list of mappings, or a mapping of lists. Names of labels that the feature lists are added to `listed`.
    """
    inner = getattr(feature, "feature", feature)
    place = f"task {task.name}: column {column} of {split}"
    if not isinstance(inner, dict):
        raise HarnessError(
            f"{place} must hold the objects of each image, each with a box and a label, as in "
            f'{{"bbox": [[…]], "category": […]}}; row 0 has {str(values[0])[:80]!r}; choose another column or kind'
        )
    names = {sort: next((name for name in choices if name in inner), "") for sort, choices in FIELDS.items()}
    for sort in ("box", "label"):
        if not names[sort]:
            raise HarnessError(
                f"{place} has the fields {', '.join(inner)}, none of which is the {sort} of an object; call it "
                f"{' or '.join(FIELDS[sort][:3])}"
            )
    known = getattr(inner[names["label"]], "feature", inner[names["label"]])
    classes = getattr(known, "names", None)
    listed += classes or []
    rows = []
    for number, value in enumerate(values):
        if isinstance(value, Mapping):
            columns = {sort: list(value[name] or ()) for sort, name in names.items() if name}
        else:
            columns = {sort: [part[name] for part in value] for sort, name in names.items() if name}
        columns.setdefault("crowd", [0] * len(columns["box"]))
        if problem := _problem(columns, classes):
            raise HarnessError(f"task {task.name}: row {number} of {split}: {problem}; mend it, or leave it out")
        labels = [classes[label] if classes else str(label) for label in columns["label"]]
        boxes, crowd = [[float(n) for n in box] for box in columns["box"]], [bool(flag) for flag in columns["crowd"]]
        form = names["box"] if names["box"] in FORMS else ""
        rows.append({"boxes": boxes, "labels": labels, "crowd": crowd, "form": form, "size": []})
    return rows


def _problem(columns: Mapping[str, list[Any]], classes: Sequence[str] | None) -> str:
    """Return what is wrong with the objects of a row, whatever the form of boxes."""
    boxes, labels = columns["box"], columns["label"]
    if len({*map(len, columns.values())}) > 1:
        return f"it has {len(boxes)} boxes and {len(labels)} labels; each box needs one"
    for box, label in zip(boxes, labels, strict=True):
        with suppress(TypeError, ValueError):
            if len(box) == 4 and all(math.isfinite(n) for n in box):
                if classes and not 0 <= label < len(classes):
                    return f"a box has the label {label}, and the column declares {len(classes)} ({', '.join(classes)})"
                if isinstance(label, str | int) and not isinstance(label, bool):
                    continue
                return f"a box has the label {label!r}, which is neither a name nor a whole number"
        return f"the box {box!r} is not four finite numbers"
    return ""


def feature(label: Any) -> Any:
    """Return the feature of a row's objects, whose labels have the feature `label`."""
    from datasets import List, Value

    return {
        "boxes": List(List(Value("float64"))), "labels": List(label), "crowd": List(Value("bool")),
        "form": Value("string"), "size": List(Value("int64")),
    }  # fmt: skip


def settle(task: Task, parts: dict[str, Dataset]) -> tuple[dict[str, Dataset], list[str]]:
    """Return the parts with boxes as (x0, y0, x1, y1) in pixels beside their images' sizes, and notes.

    HarnessError if no form of boxes, or more than one, fits all of them, or one is declared that does not.
    """
    from datasets import Value

    sizes = {
        split: [picture_size(value) for value in undecoded(rows, task.inputs[0])[task.inputs[0]]]
        for split, rows in parts.items()
    }
    objects = {split: rows["label"][:] for split, rows in parts.items()}
    form, note = _form(task, objects, sizes)
    cut = 0
    for split, rows in parts.items():
        for row, size in zip(objects[split], sizes[split], strict=True):
            corners = [FORMS[form](box, size) for box in row["boxes"]]
            row["boxes"] = [_cut(box, size) for box in corners]
            row["size"] = size
            cut += sum(own != box for own, box in zip(row["boxes"], corners, strict=True))
        parts[split] = rows.remove_columns("label").add_column(
            "label", objects[split], feature=feature(Value("string"))
        )
    total = sum(len(row["boxes"]) for rows in objects.values() for row in rows)
    empty = sum(not row["boxes"] for rows in objects.values() for row in rows)
    notes = [note] if note else []
    notes += [f"{cut:,} of {total:,} boxes leave their image by up to a pixel and are cut there"] if cut else []
    notes += [f"{empty:,} of {sum(map(len, objects.values())):,} images have no box"] if empty else []
    return parts, notes


def _form(task: Task, objects: Mapping[str, list[Any]], sizes: Mapping[str, list[Size]]) -> tuple[str, str]:
    """Return the form of all boxes, and a note if it is taken from them; HarnessError in doubt."""
    stated = {row["form"] for rows in objects.values() for row in rows if row["form"]}
    if task.boxes and stated - {task.boxes}:
        raise HarnessError(
            f"task {task.name}: boxes={task.boxes!r}, and the data states {' and '.join(stated)}; leave it out"
        )
    problems = {form: list(_misfits(form, objects, sizes)) for form in FORMS}
    fitting = [form for form, misfits in problems.items() if not misfits]
    if declared := task.boxes or next(iter(stated), None):
        if misfits := problems[declared]:
            others = f" (all boxes would fit as {' or '.join(fitting)})" if fitting else ""
            raise HarnessError(
                f"task {task.name}: as {declared}, {len(misfits):,} boxes cannot be used, the first in {misfits[0]}"
                f"{others}; mend them, leave the images out, or declare another form with boxes="
            )
        return declared, ""
    if len(fitting) != 1:
        first = "; ".join(
            f"as {form} the first misfit is {misfits[0]}" for form, misfits in problems.items() if misfits
        )
        fit = f"all boxes fit as {' and as '.join(fitting)}" if fitting else f"no form fits all boxes: {first}"
        raise HarnessError(
            f"task {task.name}: {fit}; declare Task(boxes=…): xywh (a corner, width and height, as COCO), xyxy (two "
            "corners, as Pascal VOC), or yolo (centre, width and height as shares of the image)"
        )
    return fitting[0], f"boxes are read as {fitting[0]}, which alone fits them all; declare Task(boxes=…) to be sure"


def _misfits(form: str, objects: Mapping[str, list[Any]], sizes: Mapping[str, list[Size]]) -> Iterator[str]:
    """Yield the place of each box that, read in a form, has no area or lies outside its image, and its fault."""
    numbers = [n for rows in objects.values() for row in rows for box in row["boxes"] for n in box]
    if form != "yolo" and numbers and max(numbers) <= 1:
        yield f"every row: no number exceeds 1, so they are no pixels (the largest is {max(numbers):g})"
        return
    for split, rows in objects.items():
        for number, (row, size) in enumerate(zip(rows, sizes[split], strict=True)):
            for box in row["boxes"]:
                x0, y0, x1, y1 = FORMS[form](box, size)
                fault = "has no area" if x1 <= x0 or y1 <= y0 else ""
                if min(x0, y0) < -SLACK or x1 > size[1] + SLACK or y1 > size[0] + SLACK:
                    fault = f"lies outside the image of {size[1]} x {size[0]} pixels"
                if fault:
                    yield f"row {number} of {split}, where {[*map(_short, box)]} {fault}"


def _short(number: float) -> float:
    return round(number, 3)


def _cut(box: Box, size: Size) -> list[float]:
    height, width = size
    return [max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3])]
