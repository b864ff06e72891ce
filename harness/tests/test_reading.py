"""Rows of the user's own: files and folders as `datasets` reads them, divided as they come or as the task asks."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image

from harness import data
from harness.cache import file_sha256
from harness.errors import HarnessError
from harness.kinds import image_classification, text_classification
from harness.sources import Folder
from harness.spec import Task


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """`datasets` keeps what it has read; not beyond the test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def task(path, **changed):
    known = {
        "name": "toy",
        "kind": text_classification,
        "dataset": Folder(str(path)),
        "inputs": ("text",),
        "label": "topic",
        "metric": "accuracy",
        "test": 20,
        "validation": 12,
        "calibration": 8,
    }
    return Task(**(known | changed))


def rows(count=100, first=0):
    return pd.DataFrame(
        {"text": [f"row {number}" for number in range(first, first + count)], "topic": ["a", "b"] * (count // 2)}
    )


def write(table, path):
    path.parent.mkdir(exist_ok=True, parents=True)
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".tsv":
            table.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_of_a_file_are_divided(suffix, tmp_path):
    write(rows(), tmp_path / f"rows{suffix}")
    split = data.load(task(f"rows{suffix}"), tmp_path)
    assert {"train": 60, "validation": 12, "calibration": 8, "test": 20} == split.sizes()
    assert ("a", "b") == split.labels


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    split = data.load(task(write(rows(), tmp_path / "rows.csv")), Path("/nowhere"))
    assert 20 == len(split.test)


def test_what_a_folder_sets_apart_itself_is_taken_whole(tmp_path):
    write(rows(100), tmp_path / "own" / "train.csv")
    write(rows(30, first=100), tmp_path / "own" / "test.csv")
    split = data.load(task("own", test=None), tmp_path)
    assert {"train": 80, "validation": 12, "calibration": 8, "test": 30} == split.sizes()
    assert {f"row {number}" for number in range(100, 130)} == set(split.test["text"])


def test_a_part_that_comes_apart_may_be_taken_in_part(tmp_path):
    for name, first in (("train", 0), ("validation", 100), ("test", 200)):
        write(rows(100, first), tmp_path / "own" / f"{name}.csv")
    split = data.load(task("own", validation=None, test=50), tmp_path)
    assert {"train": 92, "validation": 100, "calibration": 8, "test": 50} == split.sizes()
    assert 25 == list(split.test["label"]).count(0)


def test_nobody_trains_on_a_test_row(tmp_path):
    write(rows(100), tmp_path / "own" / "train.csv")
    write(rows(30, first=90), tmp_path / "own" / "test.csv")
    split = data.load(task("own", test=None), tmp_path)
    assert (30, 10) == (len(split.test), split.duplicates)
    assert set() == set(split.test["text"]) & {
        text for part in (split.train, split.validation, split.calibration) for text in part["text"]
    }


def test_images_in_folders_named_by_label(tmp_path):
    dice = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for number in range(12):
            path = tmp_path / "own" / label / f"{number}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(dice.integers(0, 255, (4, 4), dtype=np.uint8)).save(path)
    wanted = task(
        "own", kind=image_classification, inputs=("image",), label="label", test=6, validation=4, calibration=2
    )
    split = data.load(wanted, tmp_path)
    assert ("cat", "dog") == split.labels
    assert (4, 4, 3) == np.asarray(split.test[0]["image"]).shape  # colours, whatever the file had
    assert split.sha256() == data.load.__wrapped__(wanted, tmp_path).sha256()


def test_a_label_that_is_a_number_is_a_name(tmp_path):
    table = rows()
    write(table.assign(topic=[3, 10] * 50), tmp_path / "rows.csv")
    assert ("10", "3") == data.load(task("rows.csv"), tmp_path).labels


# Refusals


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", "text\nx\n", r"train has no column topic; its columns are text"),
        ("rows.csv", "text,topic\nx,a\ny,\n", r"row 1 of train has nothing in topic \(1 rows have\)"),
        ("rows.csv", "text,topic\n", r"train has no rows|reading .* failed"),
        ("rows.jsonl", '{"text": "x"', "reading .*rows.jsonl failed: .*"),
        ("rows.xlsx", "x", r".*rows.xlsx is none of .csv, .tsv, .json, .jsonl, .parquet"),
        ("rows.csv", "text,topic\nx,a\ny,a\n", r"every row has the label a, so there is nothing to tell apart"),
    ],
)
def test_a_file_that_holds_no_rows_of_the_task_is_refused(name, content, said, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(HarnessError, match=f"task toy: (.*: )?{said}"):
        data.load(task(name), tmp_path)


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"Folder\(path='gone.csv'.*there is no .*gone.csv; the path is relative to"):
        data.load(task("gone.csv"), tmp_path)


def test_a_part_without_a_size_must_come_with_the_rows(tmp_path):
    write(rows(), tmp_path / "rows.csv")
    with pytest.raises(HarnessError, match=r"its rows come in train; say how many of them are set apart for test$"):
        data.load(task("rows.csv", test=None), tmp_path)


def test_more_rows_than_there_are_are_refused(tmp_path):
    write(rows(100), tmp_path / "own" / "train.csv")
    write(rows(30, first=100), tmp_path / "own" / "test.csv")
    with pytest.raises(HarnessError, match=r"asks for 31 test rows of 30 distinct ones"):
        data.load(task("own", test=31), tmp_path)


def test_splits_of_other_names_are_refused(tmp_path):
    write(rows(30), tmp_path / "own" / "test.csv")
    with pytest.raises(HarnessError, match=r"comes in test; name its files after train, validation and test"):
        data.load(task("own"), tmp_path)


def labelled(labels, **more):
    features = Features({"text": Value("string"), "topic": ClassLabel(names=["a", "b"])})
    rows = {"text": [f"row {number}" for number in range(len(labels))], "topic": labels} | more
    return Dataset.from_dict(rows, features=features)


def test_labels_that_are_not_published_are_refused(tmp_path):
    labelled([0, 1, 1, -1]).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(
        HarnessError, match=r"1 of 4 rows of train have no label \(-1\): those of this set are not published"
    ):
        data.load(task("rows.parquet"), tmp_path)


def test_labels_with_names_are_known_by_them(tmp_path):
    labelled([0, 1] * 50).to_parquet(tmp_path / "rows.parquet")
    assert ("a", "b") == data.load(task("rows.parquet"), tmp_path).labels


def test_a_row_that_stands_there_twice_counts_once(tmp_path):
    write(pd.concat([rows(), rows().head(7)]), tmp_path / "rows.csv")
    assert 7 == data.load(task("rows.csv"), tmp_path).duplicates


def test_a_label_may_be_called_none(tmp_path):
    write(rows().assign(topic=["None", "NA"] * 50), tmp_path / "rows.csv")
    assert ("NA", "None") == data.load(task("rows.csv"), tmp_path).labels


def test_a_file_that_changed_within_the_same_second_is_read_again(tmp_path):
    path = write(rows(), tmp_path / "rows.csv")
    data.load(task("rows.csv"), tmp_path)
    before = path.stat()
    write(rows(first=500), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    file_sha256.cache_clear()
    found = data.load.__wrapped__(task("rows.csv"), tmp_path)
    assert {f"row {number}" for number in range(500, 600)} >= set(found.test["text"])


def test_numbers_are_no_text(tmp_path):
    with pytest.raises(HarnessError, match="column text is to be read as text, and holds int"):
        text_classification.encode(None, [{"text": 3}], ("text",), 8)
