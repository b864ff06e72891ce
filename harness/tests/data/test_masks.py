"""Masks beside images and in rows: read as the numbers of declared labels, and refused by file where they are not."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset, Features, Image
from PIL import Image as Pictures

from harness import Folder, HarnessError, Task
from harness.contracts.kind import UNTAUGHT
from harness.data import reading, splits

TASK = Task(
    name="roads", kind="semantic-segmentation", dataset=Folder("own"), inputs=("image",), label="mask",
    metric="mean-iou", classes=("ground", "road", "sign"), ignore=9, test=4, validation=2, calibration=2,
)  # fmt: skip
SIZE = (6, 8)


def pixels(seed, labels=2):
    """A mask with some pixels that count for nothing."""
    mask = np.random.default_rng(seed).integers(0, labels, SIZE, dtype=np.uint8)
    mask[0, 0] = 9
    return mask


def save(file, array, mode=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Pictures.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file)


def write(folder, numbers=range(12), first=0):
    for number in numbers:
        image = np.random.default_rng(first + number).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        save(folder / "images" / f"{number}.jpg", image)
        save(folder / "masks" / f"{number}.png", pixels(number, 3))


@pytest.fixture
def own(tmp_path):
    write(tmp_path / "own")
    return tmp_path / "own"


def read(own, **changed):
    parts, _, notes = reading.read(replace(TASK, **changed), own.parent)
    return parts, notes


def refusal(own, **changed):
    with pytest.raises(HarnessError) as caught:
        read(own, **changed)
    return str(caught.value)


def test_masks_lie_beside_images_of_their_name(own):
    parts, notes = read(own)
    rows = parts["train"]
    assert 12 == len(rows)
    for number, row in zip(sorted(map(str, range(12))), rows, strict=True):
        expected = pixels(int(number), 3)
        expected[0, 0] = UNTAUGHT
        np.testing.assert_array_equal(expected, row["label"]["mask"])
    assert ["2.1% of all pixels are 9 (ignore=) and count for nothing"] == notes


def test_labels_are_those_declared(own):
    split = splits.load(TASK, own.parent)
    assert TASK.classes == split.labels
    assert [0, 1, 2] == split.test[0]["label"]["labels"]
    assert {"train": 4, "validation": 2, "calibration": 2, "test": 4} == split.sizes()
    assert 4 == len({*split.sha256.values(), split.content}) - 1


def test_masks_change_the_digest_of_a_part(own):
    before = splits.load(TASK, own.parent).sha256["test"]
    splits.load.cache_clear()
    for number in range(12):
        save(own / "masks" / f"{number}.png", pixels(number + 50, 3))
    assert before != splits.load(TASK, own.parent).sha256["test"]


@pytest.mark.parametrize("form", ["{split}/{side}", "{side}/{split}"])
def test_splits_may_lie_above_or_below(tmp_path, form):
    for first, split in enumerate(("train", "val")):
        write(tmp_path / "new", first=12 * first)
        for side in ("images", "masks"):
            target = tmp_path / "own" / form.format(split=split, side=side)
            target.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "new" / side).rename(target)
    parts, _ = read(tmp_path / "own")
    assert {"train": 12, "validation": 12} == {split: len(rows) for split, rows in parts.items()}


def test_rows_may_hold_both(tmp_path):
    columns = {"image": [Pictures.fromarray(np.full((*SIZE, 3), n, np.uint8)) for n in range(4)]}
    columns["mask"] = [Pictures.fromarray(pixels(n)) for n in range(4)]
    rows = Dataset.from_dict(columns, features=Features({"image": Image(), "mask": Image()}))
    rows.to_parquet(tmp_path / "rows.parquet")
    parts, _ = read(tmp_path / "own", dataset=Folder("rows.parquet"))
    assert UNTAUGHT == parts["train"][2]["label"]["mask"][0, 0]
    np.testing.assert_array_equal(pixels(2)[1:], parts["train"][2]["label"]["mask"][1:])


@pytest.mark.parametrize("mode", ["P", "1", "I;16"])
def test_pictures_of_one_number_a_pixel_are_masks(own, mode):
    plain = np.zeros(SIZE, np.uint8)
    plain[1] = 1
    save(own / "masks" / "3.png", plain * (255 if mode == "1" else 1), mode)
    rows = read(own)[0]["train"]
    (row,) = [row for row in rows if row["label"]["mask"].sum() == SIZE[1]]
    np.testing.assert_array_equal(plain, row["label"]["mask"])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((8, 6), np.uint8), "3.png: the mask is 6 x 8 pixels large, its image 8 x 6; give both one size"),
        (np.full(SIZE, 7, np.uint8), "3.png: it holds 7 (48 pixels), and classes= names 0 to 2; name them all"),
        (np.zeros((*SIZE, 3), np.uint8), "3.png: it has the mode RGB, colours instead of numbers of labels; save"),
    ],
)  # fmt: skip
def test_masks_that_are_unfit_are_refused_by_file(own, array, words):
    save(own / "masks" / "3.png", array)
    text = refusal(own)
    assert words in text
    assert "1 of 12 masks of train cannot be used, the first" in text


def test_numbers_that_count_for_nothing_are_declared(own):
    assert "it holds 9 (1 pixels), and classes= names 0 to 2" in refusal(own, ignore=None)


@pytest.mark.parametrize("side", ["images", "masks"])
def test_files_without_a_partner_are_refused(own, side):
    file = next((own / side).glob("5.*"))
    file.unlink()
    assert "1 files have no partner or share its name, the first" in refusal(own)


def test_images_beside_the_folders_are_refused(own):
    save(own / "stray.png", np.zeros(SIZE, np.uint8))
    assert "the first" in (text := refusal(own))
    assert "stray.png" in text


def test_labels_that_training_never_sees_are_refused(tmp_path):
    write(tmp_path / "own" / "train")
    write(tmp_path / "own" / "test", first=12)
    for number in range(12):
        save(tmp_path / "own" / "train" / "masks" / f"{number}.png", pixels(number, 2))
    with pytest.raises(HarnessError, match="labels that training never sees: sign"):
        splits.load(replace(TASK, test=None), tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classes": ()}, r"classes=\(\) must name the labels that the numbers in masks stand for"),
        ({"classes": ("road", "road")}, "each once"),
        ({"ignore": 1}, "ignore=1 is the number of 'road' in classes="),
        ({"kind": "image-classification", "metric": "accuracy"}, r"classes=\(.*\) is for kinds whose label is mask"),
    ],
)
def test_classes_are_declared_for_masks_alone(changed, words):
    with pytest.raises(HarnessError, match=words):
        replace(TASK, **changed)
