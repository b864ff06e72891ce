"""Rows of files and folders, as `datasets` reads them: splits, labels and columns, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from PIL import Image

from harness.contracts.sources import Folder
from harness.data import splits
from harness.errors import HarnessError
from harness.kinds import (
    fill_mask,
    image_classification,
    question_answering,
    text_classification,
    token_classification,
    translation,
)
from harness.spec import Task
from harness.util.identity import file_sha256


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give `datasets` a cache for this test only."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def task(path, **changes):
    arguments = {
        "name": "toy", "kind": text_classification, "dataset": Folder(str(path)), "inputs": ("text",),
        "label": "topic", "metric": "accuracy", "test": 20, "validation": 12, "calibration": 8,
    }  # fmt: skip
    return Task(**(arguments | changes))


WORDS = {"kind": token_classification, "metric": "entity-f1"}
QUESTIONS = {"kind": question_answering, "metric": "exact-match"}


def rows(count=100, first=0, **columns):
    texts = [f"row {number}" for number in range(first, first + count)]
    return pd.DataFrame({"text": texts, "topic": ["a", "b"] * (count // 2)}).assign(**columns)


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


def write_splits(folder, **tables):
    for name, table in tables.items():
        write(table, folder / "own" / f"{name}.csv")


# Splits


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_file_of_rows_is_divided(suffix, tmp_path):
    write(rows(), tmp_path / f"rows{suffix}")
    split = splits.load(task(f"rows{suffix}"), tmp_path)
    assert {"train": 60, "validation": 12, "calibration": 8, "test": 20} == split.sizes()
    assert ("a", "b") == split.labels


def test_absolute_path_ignores_the_suites_folder(tmp_path):
    assert 20 == len(splits.load(task(write(rows(), tmp_path / "rows.csv")), Path("/nowhere")).test)


def test_split_of_the_data_is_kept_whole(tmp_path):
    write_splits(tmp_path, train=rows(100), test=rows(30, first=90))
    split = splits.load(task("own", test=None), tmp_path)
    assert {"train": 70, "validation": 12, "calibration": 8, "test": 30} == split.sizes()
    assert {f"row {number}" for number in range(90, 120)} == set(split.test["text"])
    assert 10 == split.duplicates  # rows of the test are dropped from training


def test_split_of_the_data_may_be_sampled(tmp_path):
    write_splits(tmp_path, train=rows(100), validation=rows(100, first=100), test=rows(100, first=200))
    split = splits.load(task("own", validation=None, test=50), tmp_path)
    assert {"train": 92, "validation": 100, "calibration": 8, "test": 50} == split.sizes()
    assert 25 == list(split.test["label"]).count(0)


def test_folders_of_images_are_named_by_label(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for number in range(12):
            path = tmp_path / "own" / label / f"{number}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(rng.integers(0, 255, (4, 4), dtype=np.uint8)).save(path)
    sizes = {"test": 6, "validation": 4, "calibration": 2}
    images = task("own", kind=image_classification, inputs=("image",), label="label", **sizes)
    split = splits.load(images, tmp_path)
    assert ("cat", "dog") == split.labels
    assert (4, 4, 3) == np.asarray(split.test[0]["image"]).shape  # always RGB
    assert split.sha256 == splits.load.__wrapped__(images, tmp_path).sha256


def test_file_changed_within_a_second_is_read_again(tmp_path):
    path = write(rows(), tmp_path / "rows.csv")
    splits.load(task("rows.csv"), tmp_path)
    before = path.stat()
    write(rows(first=500), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    file_sha256.cache_clear()
    split = splits.load.__wrapped__(task("rows.csv"), tmp_path)
    assert {f"row {number}" for number in range(500, 600)} >= set(split.test["text"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "text\nx\n", r"train has no column topic; it has text"),
        ("rows.csv", "text,topic\nx,a\ny,\n", r"row 1 of train has no value in topic, as have 1 of 2 rows"),
        ("rows.csv", "text,topic\n", "train has no rows"),
        ("rows.jsonl", '{"text": "x"', r".*rows.jsonl: line 1 is not JSON: .*; the file must hold one object a line"),
        ("rows.xlsx", "x", r".*rows.xlsx has an unknown type; expected one of .csv, .tsv, .json, .jsonl, .parquet"),
    ],
)
def test_file_without_usable_rows_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(HarnessError, match=f"task toy: (.*: )?{message}"):
        splits.load(task(name), tmp_path)


def test_missing_path_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"Folder\(path='gone.csv'"):
        splits.load(task("gone.csv"), tmp_path)


def test_more_rows_than_a_split_has_are_refused(tmp_path):
    write_splits(tmp_path, train=rows(100), test=rows(30, first=100))
    with pytest.raises(HarnessError, match=r"test=31 is more than the 30 distinct rows of test"):
        splits.load(task("own", test=31), tmp_path)


def test_unusual_split_files_are_refused(tmp_path):
    write_splits(tmp_path, test=rows(30))
    with pytest.raises(HarnessError, match=r"has the splits test; name its files after train, validation and test"):
        splits.load(task("own"), tmp_path)


# Labels


def labelled(path, labels, names=("a", "b")):
    features = Features({"text": Value("string"), "topic": ClassLabel(names=list(names))})
    table = {"text": [f"row {number}" for number in range(len(labels))], "topic": labels}
    Dataset.from_dict(table, features=features).to_parquet(path / "rows.parquet")
    return task("rows.parquet")


def tagged(path, feature, tags):
    """A task of words with tags, `tags(number)` for each row."""
    features = Features({"text": List(Value("string")), "topic": List(feature)})
    words = [[f"word{number}"] * len(tags(number)) for number in range(60)]
    table = {"text": words, "topic": list(map(tags, range(60)))}
    Dataset.from_dict(table, features=features).to_parquet(path / "rows.parquet")
    return task("rows.parquet", **WORDS)


def test_labels_keep_the_order_of_their_source(tmp_path):
    names = ["one star", "two stars", "no stars", "ten stars"]
    labels = [number % 3 for number in range(90)]  # no row has ten
    split = splits.load(labelled(tmp_path, labels, names), tmp_path)
    assert tuple(names[:3]) == split.labels
    for row in split.test:
        assert labels[int(row["text"].removeprefix("row "))] == row["label"]


@pytest.mark.parametrize("number", [int, str])
def test_numbers_as_labels_are_sorted_by_size(number, tmp_path):
    write(rows(topic=[number(row % 12) for row in range(100)]), tmp_path / "rows.csv")
    split = splits.load(task("rows.csv", test=40, validation=24, calibration=24), tmp_path)
    assert tuple(map(str, range(12))) == split.labels


def test_labels_of_equal_size_are_sorted_as_text(tmp_path):
    names = [f"3.1{'0' * zeros}" for zeros in range(20)]
    write(rows(200, topic=names * 10), tmp_path / "rows.csv")
    assert tuple(names) == splits.load(task("rows.csv", test=40, validation=40, calibration=40), tmp_path).labels


@pytest.mark.parametrize("files", [("rows.csv",), ("own/train.csv", "own/README.md")], ids=str)
def test_label_may_be_called_none(files, tmp_path):
    for name in files:
        write(rows(topic=["None", "NA"] * 50), tmp_path / name)
    if len(files) > 1:
        (tmp_path / files[1]).write_text("# rows of ours")
    assert ("NA", "None") == splits.load(task(files[0].split("/")[0]), tmp_path).labels


@pytest.mark.parametrize(
    ("feature", "tags", "labels", "indices"),
    [
        (Value("string"), ["O", "B-A"], ("B-A", "O"), [1, 0]),
        (ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC"]), [0, 3, 1], ("O", "B-PER", "B-LOC"), [0, 2, 1]),
    ],
    ids=["names", "class labels"],
)
def test_labels_of_words_are_lists_of_indices(feature, tags, labels, indices, tmp_path):
    split = splits.load(tagged(tmp_path, feature, lambda number: tags[: 1 + number % len(tags)]), tmp_path)
    assert labels == split.labels
    assert all(indices[: len(row["text"])] == row["label"] for row in split.test)
    assert {"train": 20, "validation": 12, "calibration": 8, "test": 20} == split.sizes()


def test_large_lists_are_read_as_lists(tmp_path):
    table = pa.table(
        {
            "text": pa.array([["a", "b", str(n)] for n in range(60)], pa.large_list(pa.string())),
            "topic": pa.array([["O", "A", "O"]] * 60, pa.large_list(pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    assert ("A", "O") == splits.load(task("rows.parquet", **WORDS), tmp_path).labels


def test_unpublished_labels_are_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"1 of 4 rows of train have the label -1: their labels are not published"):
        splits.load(labelled(tmp_path, [0, 1, 1, -1]), tmp_path)
    words = tagged(tmp_path, ClassLabel(names=["O", "A"]), lambda number: [0, -1 if number < 7 else 1])
    with pytest.raises(HarnessError, match=r"7 of 60 rows of train have the label -1"):
        splits.load.__wrapped__(words, tmp_path)


def test_word_without_a_label_is_refused(tmp_path):
    words = tagged(tmp_path, Value("string"), lambda number: ["O", None if number == 7 else "A"])
    with pytest.raises(HarnessError, match="row 7 of train has a word without a label in topic"):
        splits.load(words, tmp_path)


def test_f1_of_many_labels_needs_one_of_them(tmp_path):
    write(rows(topic=["a", "b", "c", "a"] * 25), tmp_path / "rows.csv")
    with pytest.raises(HarnessError, match="f1 counts one label, and the rows have 'a', 'b', 'c'"):
        splits.load(task("rows.csv", also=("f1",)), tmp_path)


def test_number_of_labels_per_row_must_fit_the_kind(tmp_path):
    write(rows(), tmp_path / "rows.csv")
    message = "task toy: column topic of train must hold a list of labels per row, but row 0 has the str a;"
    with pytest.raises(HarnessError, match=message):
        splits.load(task("rows.csv", **WORDS), tmp_path)
    table = Dataset.from_dict({"text": ["x", "y"] * 30, "topic": [["a"], ["a", "b"]] * 30})
    table.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(HarnessError, match="column topic of train must hold one label per row, but row 0 has the list"):
        splits.load(task("rows.parquet"), tmp_path)


@pytest.mark.parametrize("label", [["one", "two"], {"en": "one"}])
def test_text_to_be_written_must_be_one_text(tmp_path, label):
    Dataset.from_dict({"text": ["x", "y"] * 30, "topic": [label] * 60}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(
        HarnessError, match=r"topic of train must hold one text per row, but row 0 has .*'one'.*; write"
    ):
        splits.load(task("rows.parquet", kind=translation, metric="bleu"), tmp_path)


def test_blank_texts_to_be_written_are_noted(tmp_path):
    write(rows(topic=["some words here", *[" ", "further words here"] * 49, "and words"]), tmp_path / "rows.jsonl")
    notes = splits.load(task("rows.jsonl", kind=translation, metric="chrf"), tmp_path).notes
    assert "label is blank in 49 rows, the first of which is row 1 of train" in notes


def test_labels_that_are_one_number_are_noted_with_their_rows(tmp_path):
    write(rows(topic=[*["1", "2", "1.0", "2"] * 20, *["01", "x"] * 10]), tmp_path / "rows.csv")
    split = splits.load(task("rows.csv"), tmp_path)
    assert ("01", "1", "1.0", "2", "x") == split.labels
    note = "the labels '01' (10), '1' (20), '1.0' (20) are one number and stay 3 labels; write them alike if they are"
    assert [note] == [one.removesuffix(" one") for one in split.notes]


def test_free_label_is_kept_as_it_is(tmp_path):
    answers = [{"text": [f"row {number}"], "answer_start": [3]} for number in range(60)]
    contexts = [f"in row {number}" for number in range(60)]
    table = {"question": [f"what is {number}?" for number in range(60)], "context": contexts, "topic": answers}
    Dataset.from_dict(table).to_parquet(tmp_path / "rows.parquet")
    split = splits.load(task("rows.parquet", inputs=("question", "context"), **QUESTIONS), tmp_path)
    assert () == split.labels
    for row in split.test:
        assert answers[int(row["question"][8:-1])] == row["label"]


def test_kind_without_labels_has_no_label_column(tmp_path):
    write(rows(text=[f"words {number}" for number in range(100)]), tmp_path / "rows.csv")
    split = splits.load(task("rows.csv", kind=fill_mask, label=None, metric="top-1"), tmp_path)
    assert ((), ["text"]) == (split.labels, split.test.column_names)


def test_row_that_the_kind_cannot_use_is_named(tmp_path):
    texts = [f"words {number}" for number in range(99)]
    write(rows(text=[*texts, "a 1"]), tmp_path / "rows.csv")
    with pytest.raises(HarnessError, match="task toy: row 99 of train: it has no word of four letters; leave it out"):
        splits.load(task("rows.csv", kind=fill_mask, label=None, metric="top-1"), tmp_path)


def test_texts_that_bring_their_mask_are_refused(tmp_path):
    texts = [f"words {number}" for number in range(97)]
    for mask in ("[MASK]", "<mask>"):
        write(rows(text=[*texts, f"the {mask} word", "no more", f"another {mask}"]), tmp_path / "rows.csv")
        with pytest.raises(HarnessError) as error:
            splits.load(task("rows.csv", name=f"toy{len(mask)}", kind=fill_mask, label=None, metric="top-1"), tmp_path)
        assert f": row 97 of train: it holds {mask} already; write the missing word there" in str(error.value)
        assert "(2 of 100 rows cannot be used)" in str(error.value)


# Fields of columns


def test_field_of_a_column_is_named_by_its_path(tmp_path):
    table = rows()
    nested = pd.DataFrame({"id": range(100), "news": [{"body": {"text": text}} for text in table["text"]]})
    nested["told"] = [{"topic": topic} for topic in table["topic"]]
    write(nested, tmp_path / "rows.jsonl")
    split = splits.load(task("rows.jsonl", inputs=("news.body.text",), label="told.topic"), tmp_path)
    assert ["news.body.text", "label"] == split.test.column_names
    truth = dict(zip(table["text"], table["topic"], strict=True))
    assert all(truth[row["news.body.text"]] == split.labels[row["label"]] for row in split.test)


def test_label_of_several_fields_stays_whole(tmp_path):
    answers = [{"text": [f"row {number}"], "answer_start": [0]} for number in range(100)]
    write(rows(topic=answers, meta=[{"q": "which?"}] * 100), tmp_path / "rows.jsonl")
    split = splits.load(task("rows.jsonl", inputs=("meta.q", "text"), **QUESTIONS), tmp_path)
    assert all([row["text"]] == row["label"]["text"] for row in split.test)


def test_missing_field_is_refused_with_the_others(tmp_path):
    write(pd.DataFrame({"news": [{"text": text} for text in rows()["text"]], "topic": "a"}), tmp_path / "rows.jsonl")
    with pytest.raises(HarnessError, match=r"no column news\.body; it has news\.text, topic"):
        splits.load(task("rows.jsonl", inputs=("news.body",)), tmp_path)


def test_column_name_may_hold_a_dot(tmp_path):
    write(rows().rename(columns={"text": "news.text"}), tmp_path / "rows.csv")
    assert "news.text" in splits.load(task("rows.csv", inputs=("news.text",)), tmp_path).test.column_names
