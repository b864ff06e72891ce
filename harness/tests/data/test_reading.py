"""Rows of the user's own: files and folders as `datasets` reads them, divided as they come or as the task asks."""

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
from harness.kinds import fill_mask, image_classification, question_answering, text_classification, token_classification
from harness.spec import Task
from harness.util.fingerprints import file_sha256


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
    split = splits.load(task(f"rows{suffix}"), tmp_path)
    assert {"train": 60, "validation": 12, "calibration": 8, "test": 20} == split.sizes()
    assert ("a", "b") == split.labels


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    split = splits.load(task(write(rows(), tmp_path / "rows.csv")), Path("/nowhere"))
    assert 20 == len(split.test)


def test_what_a_folder_sets_apart_itself_is_taken_whole(tmp_path):
    write(rows(100), tmp_path / "own" / "train.csv")
    write(rows(30, first=100), tmp_path / "own" / "test.csv")
    split = splits.load(task("own", test=None), tmp_path)
    assert {"train": 80, "validation": 12, "calibration": 8, "test": 30} == split.sizes()
    assert {f"row {number}" for number in range(100, 130)} == set(split.test["text"])


def test_a_part_that_comes_apart_may_be_taken_in_part(tmp_path):
    for name, first in (("train", 0), ("validation", 100), ("test", 200)):
        write(rows(100, first), tmp_path / "own" / f"{name}.csv")
    split = splits.load(task("own", validation=None, test=50), tmp_path)
    assert {"train": 92, "validation": 100, "calibration": 8, "test": 50} == split.sizes()
    assert 25 == list(split.test["label"]).count(0)


def test_nobody_trains_on_a_test_row(tmp_path):
    write(rows(100), tmp_path / "own" / "train.csv")
    write(rows(30, first=90), tmp_path / "own" / "test.csv")
    split = splits.load(task("own", test=None), tmp_path)
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
    split = splits.load(wanted, tmp_path)
    assert ("cat", "dog") == split.labels
    assert (4, 4, 3) == np.asarray(split.test[0]["image"]).shape  # colours, whatever the file had
    assert split.sha256 == splits.load.__wrapped__(wanted, tmp_path).sha256


def test_a_label_that_is_a_number_is_a_name(tmp_path):
    table = rows()
    write(table.assign(topic=[3, 10] * 50), tmp_path / "rows.csv")
    assert ("3", "10") == splits.load(task("rows.csv"), tmp_path).labels


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
        splits.load(task(name), tmp_path)


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(HarnessError, match=r"Folder\(path='gone.csv'.*there is no .*gone.csv; the path is relative to"):
        splits.load(task("gone.csv"), tmp_path)


def test_a_part_without_a_size_must_come_with_the_rows(tmp_path):
    write(rows(), tmp_path / "rows.csv")
    with pytest.raises(HarnessError, match=r"its rows come in train; say how many of them are set apart for test$"):
        splits.load(task("rows.csv", test=None), tmp_path)


def test_more_rows_than_there_are_are_refused(tmp_path):
    write(rows(100), tmp_path / "own" / "train.csv")
    write(rows(30, first=100), tmp_path / "own" / "test.csv")
    with pytest.raises(HarnessError, match=r"asks for 31 test rows of 30 distinct ones"):
        splits.load(task("own", test=31), tmp_path)


def test_splits_of_other_names_are_refused(tmp_path):
    write(rows(30), tmp_path / "own" / "test.csv")
    with pytest.raises(HarnessError, match=r"comes in test; name its files after train, validation and test"):
        splits.load(task("own"), tmp_path)


def labelled(labels, **more):
    features = Features({"text": Value("string"), "topic": ClassLabel(names=["a", "b"])})
    rows = {"text": [f"row {number}" for number in range(len(labels))], "topic": labels} | more
    return Dataset.from_dict(rows, features=features)


def test_labels_that_are_not_published_are_refused(tmp_path):
    labelled([0, 1, 1, -1]).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(
        HarnessError, match=r"1 of 4 rows of train have no label \(-1\): those of this set are not published"
    ):
        splits.load(task("rows.parquet"), tmp_path)


def test_labels_with_names_are_known_by_them(tmp_path):
    labelled([0, 1] * 50).to_parquet(tmp_path / "rows.parquet")
    assert ("a", "b") == splits.load(task("rows.parquet"), tmp_path).labels


def test_labels_stand_in_the_order_in_which_their_source_lists_them(tmp_path):
    names = ["one star", "two stars", "no stars", "ten stars"]
    features = Features({"text": Value("string"), "topic": ClassLabel(names=names)})
    known = [number % 3 for number in range(90)]  # nothing has ten
    table = Dataset.from_dict({"text": [f"row {number}" for number in range(90)], "topic": known}, features=features)
    table.to_parquet(tmp_path / "rows.parquet")
    split = splits.load(task("rows.parquet"), tmp_path)
    assert tuple(names[:3]) == split.labels
    for row in split.test:
        assert known[int(row["text"].removeprefix("row "))] == row["label"]


def tagged(tmp_path, feature, tags):
    """A task of words with tags, in a file of its own."""
    features = Features({"text": List(Value("string")), "topic": List(feature)})
    words = [[f"word{number}"] * len(tags(number)) for number in range(60)]
    Dataset.from_dict({"text": words, "topic": list(map(tags, range(60)))}, features=features).to_parquet(
        tmp_path / "rows.parquet"
    )
    return task("rows.parquet", kind=token_classification, metric="entity-f1")


def test_a_label_for_each_word_is_a_list_of_indices(tmp_path):
    found = tagged(tmp_path, Value("string"), lambda number: ["O", "B-A"][: 1 + number % 2])
    split = splits.load(found, tmp_path)
    assert ("B-A", "O") == split.labels
    assert all([1, 0][: len(row["text"])] == row["label"] for row in split.test)
    assert (20, 12, 8, 20) == tuple(split.sizes()[name] for name in ("train", "validation", "calibration", "test"))


def test_labels_of_words_stand_in_the_order_in_which_their_source_lists_them(tmp_path):
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    split = splits.load(tagged(tmp_path, ClassLabel(names=names), lambda number: [0, 3, 1][: 1 + number % 3]), tmp_path)
    assert ("O", "B-PER", "B-LOC") == split.labels
    assert all([0, 2, 1][: len(row["text"])] == row["label"] for row in split.test)


def test_labels_of_words_that_are_not_published_are_refused(tmp_path):
    hidden = tagged(tmp_path, ClassLabel(names=["O", "A"]), lambda number: [0, -1 if number < 7 else 1])
    with pytest.raises(HarnessError, match=r"7 of 60 rows of train have no label \(-1\)"):
        splits.load(hidden, tmp_path)


def test_lists_as_large_as_polars_writes_them_are_lists(tmp_path):
    known = pa.table(
        {
            "text": pa.array([["a", "b", str(n)] for n in range(60)], pa.large_list(pa.string())),
            "topic": pa.array([["O", "A", "O"]] * 60, pa.large_list(pa.string())),
        }
    )
    pq.write_table(known, tmp_path / "rows.parquet")
    split = splits.load(task("rows.parquet", kind=token_classification, metric="entity-f1"), tmp_path)
    assert ("A", "O") == split.labels


def test_a_word_without_a_label_is_refused(tmp_path):
    hidden = tagged(tmp_path, Value("string"), lambda number: ["O", None if number == 7 else "A"])
    with pytest.raises(HarnessError, match="row 7 of train has a word without a label in topic"):
        splits.load(hidden, tmp_path)


def test_labels_that_are_numbers_stand_in_their_order(tmp_path):
    write(rows().assign(topic=[str(number % 12) for number in range(100)]), tmp_path / "rows.csv")
    names = splits.load(task("rows.csv", test=40, validation=24, calibration=24), tmp_path).labels
    assert tuple(map(str, range(12))) == names


def test_f1_is_of_two_labels(tmp_path):
    write(rows().assign(topic=["a", "b", "c", "a"] * 25), tmp_path / "rows.csv")
    with pytest.raises(HarnessError, match="f1 is of the second of two labels, there are 3; use f1-macro"):
        splits.load(task("rows.csv", also=("f1",)), tmp_path)


def test_one_label_is_not_one_for_each_word(tmp_path):
    write(rows(), tmp_path / "rows.csv")
    said = "task toy: column topic of train is to hold a label for each word, and holds str"
    with pytest.raises(HarnessError, match=said):
        splits.load(task("rows.csv", kind=token_classification, metric="entity-f1"), tmp_path)


def test_several_labels_a_row_are_refused_where_one_is_read(tmp_path):
    Dataset.from_dict({"text": ["x", "y"] * 30, "topic": [["a"], ["a", "b"]] * 30}).to_parquet(
        tmp_path / "rows.parquet"
    )
    with pytest.raises(HarnessError, match="column topic of train is to hold one label a row, and holds list"):
        splits.load(task("rows.parquet"), tmp_path)


def test_a_label_that_a_kind_reads_itself_stays_as_it_is(tmp_path):
    answers = [{"text": [f"row {number}"], "answer_start": [3]} for number in range(60)]
    contexts = [f"in row {number}" for number in range(60)]
    table = {"question": [f"what is {number}?" for number in range(60)], "context": contexts, "topic": answers}
    Dataset.from_dict(table).to_parquet(tmp_path / "rows.parquet")
    asked = task("rows.parquet", kind=question_answering, inputs=("question", "context"), metric="exact-match")
    split = splits.load(asked, tmp_path)
    assert () == split.labels
    for row in split.test:
        number = int(row["question"][8:-1])
        assert answers[number] == row["label"]


def test_rows_that_hold_their_answers_have_no_label(tmp_path):
    write(rows().assign(text=[f"words {number}" for number in range(100)]), tmp_path / "rows.csv")
    split = splits.load(task("rows.csv", kind=fill_mask, label=None, metric="top-1"), tmp_path)
    assert ((), ["text"]) == (split.labels, split.test.column_names)


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        (fill_mask, {"text": "a b c 1234"}, "there is no word of four letters in it; leave such rows out"),
        (token_classification, {"text": ["a", "b"], "label": [0]}, "it has 2 words and 1 labels; each word needs one"),
        (question_answering, {"text": "x", "label": []}, "it has no answer; leave such rows out"),
        (question_answering, {"text": "x", "label": "y"}, "its answer does not stand in its context"),
        (
            question_answering,
            {"text": "x y", "label": {"text": ["y"], "answer_start": [0]}},
            "its answer does not stand in its context at answer_start, 0",
        ),
        (fill_mask, {"text": "four letters"}, ""),
        (token_classification, {"text": ["a"], "label": [0]}, ""),
        (
            token_classification,
            {"text": ["a", None], "label": [0, 0]},
            "among its words in text is one that is no text",
        ),
        (question_answering, {"text": " ", "label": " "}, "its answer is empty; leave such rows out"),
        (question_answering, {"text": "x y", "label": {"text": ["y"], "answer_start": [2]}}, ""),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_row_that_cannot_be_asked_for_says_why(kind, row, said):
    assert said == kind.problem(row, ("text",))


def test_a_row_that_cannot_be_asked_for_stops_the_task_before_anything_is_trained(tmp_path):
    texts = [f"words {number}" for number in range(99)]
    write(rows().assign(text=[*texts, "a 1"]), tmp_path / "rows.csv")
    with pytest.raises(HarnessError, match="task toy: row 99 of the distinct ones of train: there is no word of four"):
        splits.load(task("rows.csv", kind=fill_mask, label=None, metric="top-1"), tmp_path)


# Fields of columns


def test_a_field_of_a_column_is_a_column_by_its_path(tmp_path):
    table = rows()
    nested = pd.DataFrame({"id": range(100), "news": [{"body": {"text": text}} for text in table["text"]]})
    nested["told"] = [{"topic": topic} for topic in table["topic"]]
    write(nested, tmp_path / "rows.jsonl")
    split = splits.load(task("rows.jsonl", inputs=("news.body.text",), label="told.topic"), tmp_path)
    assert ["news.body.text", "label"] == split.test.column_names
    known = dict(zip(table["text"], table["topic"], strict=True))
    assert all(known[row["news.body.text"]] == split.labels[row["label"]] for row in split.test)


def test_a_label_of_several_fields_stays_whole_beside_a_field_of_a_column(tmp_path):
    label = [{"text": [f"row {number}"], "answer_start": [0]} for number in range(100)]
    nested = pd.DataFrame({"meta": [{"q": "which?"}] * 100, "text": rows()["text"], "topic": label})
    write(nested, tmp_path / "rows.jsonl")
    asked = task("rows.jsonl", kind=question_answering, inputs=("meta.q", "text"), metric="exact-match")
    assert all([row["text"]] == row["label"]["text"] for row in splits.load(asked, tmp_path).test)


def test_a_field_that_no_column_has_is_refused_with_those_there_are(tmp_path):
    nested = pd.DataFrame({"news": [{"text": text} for text in rows()["text"]], "topic": rows()["topic"]})
    write(nested, tmp_path / "rows.jsonl")
    with pytest.raises(HarnessError, match=r"no column news\.body; its columns are news\.text, topic"):
        splits.load(task("rows.jsonl", inputs=("news.body",)), tmp_path)


def test_a_name_with_a_dot_is_a_column_where_there_is_one(tmp_path):
    write(rows().rename(columns={"text": "news.text"}), tmp_path / "rows.csv")
    assert "news.text" in splits.load(task("rows.csv", inputs=("news.text",)), tmp_path).test.column_names


def test_a_row_that_stands_there_twice_counts_once(tmp_path):
    write(pd.concat([rows(), rows().head(7)]), tmp_path / "rows.csv")
    assert 7 == splits.load(task("rows.csv"), tmp_path).duplicates


def test_a_label_may_be_called_none(tmp_path):
    write(rows().assign(topic=["None", "NA"] * 50), tmp_path / "rows.csv")
    assert ("NA", "None") == splits.load(task("rows.csv"), tmp_path).labels


def test_a_card_beside_the_rows_changes_no_label(tmp_path):
    write(rows().assign(topic=["None", "NA"] * 50), tmp_path / "own" / "train.csv")
    (tmp_path / "own" / "README.md").write_text("# rows of ours")
    assert ("NA", "None") == splits.load(task("own"), tmp_path).labels


def test_a_file_that_changed_within_the_same_second_is_read_again(tmp_path):
    path = write(rows(), tmp_path / "rows.csv")
    splits.load(task("rows.csv"), tmp_path)
    before = path.stat()
    write(rows(first=500), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    file_sha256.cache_clear()
    found = splits.load.__wrapped__(task("rows.csv"), tmp_path)
    assert {f"row {number}" for number in range(500, 600)} >= set(found.test["text"])


def test_numbers_are_no_text(tmp_path):
    with pytest.raises(HarnessError, match="column text is to be read as text, and holds int"):
        text_classification.encode(None, [{"text": 3}], ("text",), 8)
