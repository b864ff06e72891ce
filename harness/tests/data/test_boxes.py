"""Boxes of rows and of COCO's JSON: read in the form that is stated or that alone fits, and refused by row else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Pictures

from harness import Folder, HarnessError, Task
from harness.data import reading, splits

pytest.importorskip("pycocotools")

TASK = Task(
    name="shelf", kind="object-detection", dataset=Folder("own"), inputs=("image",), label="objects", metric="map",
    test=3, validation=2, calibration=2,
)  # fmt: skip
WIDTH, HEIGHT = 40, 30
BOXES = [[4, 5, 20, 10], [30, 20, 10, 10]]
"""Corner and size: as two corners the second would end before it begins."""


def draw(file, seed, size=(HEIGHT, WIDTH)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Pictures.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)).save(file)


def coco(images=12, **changed):
    """Contents of an annotation file; each image has a cup and a jug."""
    entries = [{"id": n + 7, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in range(images)]
    boxes = [(one["id"], category, box) for one in entries for category, box in zip((3, 9), BOXES, strict=True)]
    annotations = [
        {"id": n, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
        for n, (image, category, box) in enumerate(boxes)
    ]
    categories = [{"id": 9, "name": "jug"}, {"id": 3, "name": "cup"}, {"id": 1, "name": "unused"}]
    return {"images": entries, "annotations": annotations, "categories": categories} | changed


@pytest.fixture
def own(tmp_path):
    for number in range(12):
        draw(tmp_path / "own" / "pictures" / f"{number}.png", number)
    (tmp_path / "own" / "labels.json").write_text(json.dumps(coco()))
    return tmp_path / "own"


def edit(own, change):
    content = coco()
    change(content)
    (own / "labels.json").write_text(json.dumps(content))


def read(own, **changed):
    parts, _, notes = reading.read(replace(TASK, **changed), own.parent)
    return parts["train"], notes


def refusal(own, **changed):
    with pytest.raises(HarnessError) as caught:
        read(own, **changed)
    return str(caught.value)


def rows_of(objects, feature=None):
    """A parquet file's rows with these objects, each on an image of its own."""
    images = [
        np.random.default_rng(n).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8) for n in range(len(objects))
    ]
    rows = {"image": [Pictures.fromarray(image) for image in images], "objects": objects}
    features = Features({"image": Image(), "objects": feature}) if feature else None
    return Dataset.from_dict(rows, features=features)


def read_rows(tmp_path, objects, feature=None, **changed):
    rows_of(objects, feature).to_parquet(tmp_path / "rows.parquet")
    return read(tmp_path / "own", dataset=Folder("rows.parquet"), **changed)


def refused_rows(tmp_path, objects, **changed):
    with pytest.raises(HarnessError) as caught:
        read_rows(tmp_path, objects, **changed)
    return str(caught.value)


OBJECTS = [{"bbox": BOXES, "category": ["cup", "jug"]} for _ in range(4)]


def test_coco_names_images_and_boxes(own):
    rows, notes = read(own)
    assert [] == notes
    assert 12 == len(rows)
    label = rows[3]["label"]
    assert [[4, 5, 24, 15], [30, 20, 40, 30]] == label["boxes"]
    assert ["cup", "jug"] == label["labels"]
    assert [HEIGHT, WIDTH] == label["size"]
    assert (HEIGHT, WIDTH, 3) == np.asarray(rows[3]["image"]).shape


def test_labels_keep_the_order_of_the_categories_that_occur(own):
    split = splits.load(TASK, own.parent)
    assert ("jug", "cup") == split.labels
    assert [1, 0] == split.test[0]["label"]["labels"]
    assert {"train": 5, "validation": 2, "calibration": 2, "test": 3} == split.sizes()


@pytest.mark.parametrize("names", [("train", "valid"), ("instances_train2017", "instances_val2017")])
def test_annotation_files_are_named_after_splits(own, names):
    (own / "labels.json").unlink()
    for name in names:
        (own / f"{name}.json").write_text(json.dumps(coco()))
    parts, _, _ = reading.read(TASK, own.parent)
    assert ["train", "validation"] == [*parts]


def test_annotations_may_lie_in_folders_of_their_split(tmp_path):
    for first, split in enumerate(("train", "test")):
        for number in range(12):
            draw(tmp_path / "own" / split / f"{number}.png", 12 * first + number)
        (tmp_path / "own" / split / "_annotations.coco.json").write_text(json.dumps(coco()))
    parts, _, _ = reading.read(TASK, tmp_path)
    assert {"train", "test"} == {*parts}
    assert len({row["image"].tobytes() for part in parts.values() for row in part}) == 24


def test_annotation_files_of_unclear_names_are_refused(own):
    (own / "other.json").write_text(json.dumps(coco()))
    assert "annotation files labels.json, other.json; name each after another split" in refusal(own)


def test_images_of_no_annotation_are_left_out_with_a_note(own):
    draw(own / "pictures" / "stray.png", 99)
    assert ["1 images are in no annotation file and left out, the first stray.png"] == read(own)[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"][0].update(file_name="gone.png"), "names the image gone.png, and there is no such file"),
        (lambda c: c["annotations"][0].update(category_id=4), "has the category_id 4, which the file does not declare"),
        (lambda c: c["annotations"][0].update(image_id=4), "has the image_id 4, which the file does not declare"),
        (lambda c: c["images"][1].update(id=7), "1 of images repeat an id"),
        (lambda c: c["categories"][1].update(name="jug"), "the category jug occurs more than once"),
        (lambda c: c["images"][1].update(file_name="0.png"), "occurs more than once"),
        (lambda c: c["images"][0].update(width=HEIGHT), f"said to be {HEIGHT} x {HEIGHT} pixels large, and is {WIDTH}"),
        (lambda c: c["annotations"][0].pop("bbox"), "an entry lacks 'bbox'"),
        (lambda c: c["annotations"][2].update(bbox=[30, 5, 20, 9]), "row 1 of train, where [30.0, 5.0, 20.0, 9.0] "),
        (lambda c: c["annotations"][2].update(bbox=[30, 5, 0, 10]), "[30.0, 5.0, 0.0, 10.0] has no area"),
        (lambda c: c["annotations"][2].update(bbox=[30, 5, 10]), "is not four finite numbers"),
    ],
)  # fmt: skip
def test_annotations_that_contradict_themselves_are_refused(own, change, words):
    edit(own, change)
    assert words in refusal(own)


def test_two_images_of_one_name_are_refused(own):
    draw(own / "more" / "3.png", 99)
    assert "names the image 3.png, and 2 images have that name" in refusal(own)


def test_declared_form_that_contradicts_coco_is_refused(own):
    assert "boxes='xyxy', and the data states xywh" in refusal(own, boxes="xyxy")


def test_crowds_are_kept_and_empty_images_noted(own):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"] = content["annotations"][:-2]

    edit(own, change)
    rows, notes = read(own)
    assert [True, False] == rows[0]["label"]["crowd"]
    assert ["1 of 12 images have no box"] == notes


def test_boxes_that_leave_by_a_pixel_are_cut(own):
    edit(own, lambda content: content["annotations"][1].update(bbox=[30, 20, 10.6, 10]))
    rows, notes = read(own)
    assert [30, 20, 40, 30] == rows[0]["label"]["boxes"][1]
    assert ["1 of 24 boxes leave their image by up to a pixel and are cut there"] == notes


@pytest.mark.parametrize(
    "feature",
    [
        {"bbox": List(List(Value("float32"))), "category": List(ClassLabel(names=["cup", "jug"]))},
        List({"bbox": List(Value("float64")), "category": ClassLabel(names=["cup", "jug"])}),
        None,
    ],
)
def test_rows_hold_lists_or_mappings_of_objects(tmp_path, feature):
    objects = OBJECTS
    if isinstance(feature, List):
        objects = [[{"bbox": b, "category": n} for n, b in enumerate(BOXES)] for _ in range(4)]
    elif feature:
        objects = [{"bbox": BOXES, "category": [0, 1]} for _ in range(4)]
    rows, notes = read_rows(tmp_path, objects, feature)
    assert [[4, 5, 24, 15], [30, 20, 40, 30]] == rows[0]["label"]["boxes"]
    assert ["cup", "jug"] == rows[0]["label"]["labels"]
    assert ["boxes are read as xywh, which alone fits them all; declare Task(boxes=…) to be sure"] == notes


def test_form_that_is_in_doubt_is_refused(tmp_path):
    doubtful = [{"bbox": [[4, 5, 20, 10]], "category": ["cup"]}] * 4
    assert "all boxes fit as xywh and as xyxy; declare Task(boxes=…)" in refused_rows(tmp_path, doubtful)
    rows, notes = read_rows(tmp_path, doubtful, boxes="xyxy")
    assert ([], [4, 5, 20, 10]) == (notes, rows[0]["label"]["boxes"][0])


def test_shares_of_the_image_are_no_pixels(tmp_path):
    shares = [{"bbox": [[0.5, 0.5, 0.2, 0.4]], "category": ["cup"]}] * 4
    rows, (note,) = read_rows(tmp_path, shares)
    np.testing.assert_allclose([16, 9, 24, 21], rows[0]["label"]["boxes"][0])
    assert "read as yolo" in note
    text = refused_rows(tmp_path, shares, boxes="xywh")
    assert "no number exceeds 1, so they are no pixels (the largest is 0.5) (all boxes would fit as yolo)" in text


def test_another_form_than_declared_is_refused_with_the_row(tmp_path):
    text = refused_rows(tmp_path, OBJECTS, boxes="xyxy")
    assert "as xyxy, 4 boxes cannot be used, the first in row 0 of train, where [30.0, 20.0, 10.0, 10.0] has no" in text
    assert "(all boxes would fit as xywh)" in text


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"bbox": BOXES, "category": ["cup"]}, "row 0 of train: it has 2 boxes and 1 labels"),
        ({"bbox": BOXES[:1], "kind": ["cup"]}, "has the fields bbox, kind, none of which is the label of an object"),
        ({"corner": BOXES[:1], "category": ["cup"]}, "none of which is the box of an object; call it bbox"),
        ({"bbox": BOXES[:1], "category": [0.5]}, "a box has the label 0.5"),
        ({"bbox": [[1, 2, 3]], "category": ["cup"]}, "the box [1, 2, 3] is not four finite numbers"),
    ],
)
def test_objects_that_are_none_are_refused(tmp_path, objects, words):
    assert words in refused_rows(tmp_path, [objects] * 4)


def test_labels_nobody_declared_are_refused(tmp_path):
    feature = {"bbox": List(List(Value("float32"))), "category": List(Value("int64"))}
    rows = rows_of([{"bbox": BOXES, "category": [0, 7]}] * 4, feature)
    declared = Features({"image": Image(), "objects": feature | {"category": List(ClassLabel(names=["cup", "jug"]))}})
    rows = Dataset(rows.data, info=rows.info.copy())
    rows.info.features = declared
    rows.to_parquet(tmp_path / "rows.parquet")
    assert "a box has the label 7, and the column declares 2 (cup, jug)" in refusal(
        tmp_path / "own", dataset=Folder("rows.parquet")
    )


def test_texts_are_no_objects(tmp_path):
    assert "must hold the objects of each image" in refused_rows(tmp_path, ["cup"] * 4)


def test_metadata_may_describe_the_objects(tmp_path):
    for number in range(4):
        draw(tmp_path / "own" / f"{number}.png", number)
    lines = (json.dumps({"file_name": f"{n}.png", "objects": OBJECTS[0]}) + "\n" for n in range(4))
    (tmp_path / "own" / "metadata.jsonl").write_text("".join(lines))
    rows, _ = read(tmp_path / "own")
    assert ["cup", "jug"] == rows[0]["label"]["labels"]


def test_test_rows_without_a_box_are_refused(own):
    edit(own, lambda content: content.update(annotations=content["annotations"][:2]))
    with pytest.raises(HarnessError, match="no test image has one; ask for more test rows"):
        splits.load(TASK, own.parent)


def test_form_is_for_kinds_of_boxes():
    with pytest.raises(HarnessError, match="boxes='xywh' is for kinds whose label is boxes; leave it out"):
        replace(TASK, kind="image-classification", metric="accuracy", boxes="xywh")
    with pytest.raises(HarnessError, match="unknown boxes 'xyhw'"):
        replace(TASK, boxes="xyhw")
