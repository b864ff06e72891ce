"""Splits: four disjoint parts of distinct rows, with labels as indices; refused where a score would mean nothing."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.contracts.sources import Folder, Package
from harness.data import splits
from harness.data.sources import locate
from harness.data.splits import PARTS, take_training_rows
from harness.errors import HarnessError
from harness.kinds import image_classification, text_classification
from harness.spec import Task
from harness.util.identity import tree_sha256


def read(path):
    """Yield one JSON object per line; an image is a nested list."""
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        yield {name: np.array(value, np.uint8) if isinstance(value, list) else value for name, value in row.items()}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make `importlib.metadata` find a distribution `toydata` with these rows; return the package."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(rows, reader=read):
        metadata = tmp_path / "toydata-1.0.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toydata\nVersion: 1.0\n")
        file = tmp_path / f"rows{len(list(tmp_path.iterdir()))}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Package("toydata", file.name, sha256=tree_sha256(file), read=reader)

    return put


ARGUMENTS = {
    "name": "toy", "kind": text_classification, "inputs": ("text",), "label": "desk", "metric": "accuracy",
    "test": 20, "validation": 12, "calibration": 8,
}  # fmt: skip


def load(package, **changes):
    """Return the split of a toy task over the package."""
    return splits.load(Task(**(ARGUMENTS | {"dataset": package} | changes)), Path())


def articles(count=100, desks=("a", "b", "b", "c")):
    return [{"text": f"article {number}", "desk": desks[number % len(desks)]} for number in range(count)]


def pictures(*shapes):
    """Sixty pictures of each shape, with two labels."""
    return [
        {"image": np.full(shape, number).tolist(), "desk": str(number % 2)} for shape in shapes for number in range(60)
    ]


def texts(part):
    return list(part["text"])


# Parts


def test_labels_of_other_splits_are_refused_with_counts(tmp_path):
    for split, desks in {"train": "ab", "test": "a0"}.items():
        rows = [f"{split} {number},{desks[number % 2]}{'.0' * (split == 'test')}" for number in range(100)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,desk", *rows]))
    message = (
        "100 of 100 rows of test have labels that training never sees: 0.0, a.0; train has a, b; write labels alike"
    )
    with pytest.raises(HarnessError, match=message):
        load(Folder(str(tmp_path)), test=None)


def test_labels_may_differ_in_one_letter(install):
    assert ("A", "Masse", "Maße", "a") == load(install(articles(desks=("Masse", "Maße", "A", "a")))).labels


def test_every_row_is_in_one_part_of_the_asked_size(install):
    split = load(install(articles()))
    counts = Counter(text for name in PARTS for text in texts(getattr(split, name)))
    assert {row["text"]: 1 for row in articles()} == counts
    assert {"train": 60, "validation": 12, "calibration": 8, "test": 20} == split.sizes()


def test_sizes_default_to_shares(install):
    split = load(install(articles(1000)), test=None, validation=None, calibration=None)
    assert {"train": 500, "validation": 100, "calibration": 100, "test": 300} == split.sizes()


def test_every_part_has_labels_in_proportion(install):
    split = load(install(articles()))
    for name, size in split.sizes().items():
        assert {0: size // 4, 1: size // 2, 2: size // 4} == Counter(getattr(split, name)["label"]), name


def test_labels_are_indices_into_sorted_names(install):
    rows = articles(desks=("10", "9", "x"))
    split = load(install(rows))
    assert ("10", "9", "x") == split.labels
    truth = {row["text"]: row["desk"] for row in rows}
    for name in PARTS:
        assert all(truth[row["text"]] == split.labels[row["label"]] for row in getattr(split, name))


def test_same_rows_and_seed_give_the_same_parts(install):
    package = install(articles())
    split, again, other = load(package), load(install(articles())), load(package, split_seed=1)
    assert split.sha256 == again.sha256
    assert texts(split.train) == texts(again.train)
    assert set(texts(split.test)) != set(texts(other.test))
    assert all(split.sha256[name] != other.sha256[name] for name in PARTS)
    assert load(package) is split


@pytest.mark.parametrize("change", [{"text": "another text"}, {"desk": "b"}], ids=str)
def test_digest_shows_a_changed_row(install, change):
    rows = articles()
    split, other = load(install(rows)), load(install([*rows[:-1], rows[-1] | change]))
    assert split.sha256 != other.sha256
    assert split.content != other.content


def test_only_columns_of_the_task_are_kept(install):
    split = load(install([row | {"secret": "x"} for row in articles()]))
    assert {("text", "label")} == {tuple(getattr(split, name).column_names) for name in PARTS}


# Duplicates


def test_duplicates_are_dropped_and_counted(install):
    spaced = [row | {"text": f"  {row['text'].replace(' ', chr(10))}\t"} for row in articles(10)]
    split = load(install(articles() + articles(30) + spaced))
    assert 40 == split.duplicates
    assert 100 == sum(split.sizes().values())


def test_repeats_are_noted_for_each_split(install):
    note = "rows that repeat the inputs of another row are left out: 5 of 105 in train"
    assert (note,) == load(install(articles() + articles(5))).notes
    (note,) = load(install(articles() + articles(30))).notes
    assert "30 of 130 in train; so many may mean that inputs= lacks a column that tells rows apart" in note
    assert () == load(install(articles())).notes


def test_few_contradictory_rows_are_all_left_out(install):
    split = load(install([*articles(), {"text": "article 0", "desk": "c"}, {"text": " article  0", "desk": "a"}]))
    assert "article 0" not in [row["text"] for name in PARTS for row in getattr(split, name)]
    assert 3 == split.duplicates
    assert (
        "1 of 100 distinct inputs have rows with different labels, as row 0 of train ('a') and row 100 of train ('c'); "
        "all 3 rows of such inputs are left out",
    ) == split.notes


def test_many_contradictory_rows_are_refused(install):
    rows = [*articles(), {"text": "article 4", "desk": "b"}, {"text": "article 0", "desk": "c"}]
    with pytest.raises(HarnessError) as error:
        load(install(rows))
    expected = "2 of 100 distinct inputs have rows with different labels, as row 4 of train ('a') and row 100 of train"
    assert expected in str(error.value)
    assert "keep one row for each input" in str(error.value)


def test_long_form_of_several_labels_is_refused(install):
    rows = [row | {"desk": desk} for row in articles() for desk in ("a", "b")]
    with pytest.raises(HarnessError, match="100 of 100 distinct inputs have rows with different labels"):
        load(install(rows))


def test_blank_texts_are_noted(install):
    rows = articles()
    rows[7]["text"] = " \u200b\t"
    assert ("text is blank in row 7 of train",) == load(install(rows)).notes


def test_duplicates_agree_in_every_input(install):
    rows = [{"text": "same", "other": f"{i}", "desk": "ab"[i % 2]} for i in range(50)]
    rows += [{"text": f"{i} a", "other": "b", "desk": "ab"[i % 2]} for i in range(50)]
    rows += [{"text": f"{i}", "other": "a b", "desk": "ab"[i % 2]} for i in range(50)]
    assert 0 == load(install(rows), inputs=("text", "other")).duplicates


def test_duplicate_images_have_the_same_shape(install):
    rows = pictures((1, 4), (2, 2))
    split = load(install(rows + rows[:5]), kind=image_classification, inputs=("image",))
    assert 5 == split.duplicates
    values = Counter(np.asarray(image)[0, 0] for name in PARTS for image in getattr(split, name)["image"])
    assert dict.fromkeys(range(60), 2) == values


# Training rows of a recipe


def test_recipe_takes_the_first_training_rows(install):
    split = load(install(articles()))
    assert texts(split.train) == texts(take_training_rows(split, None, "toy-model"))
    assert texts(split.train)[:30] == texts(take_training_rows(split, 30, "toy-model"))


def test_too_many_training_rows_are_refused(install):
    with pytest.raises(HarnessError, match="toy-model: the recipe asks for 61 training rows; the task has 60"):
        take_training_rows(load(install(articles())), 61, "toy-model")


def test_too_few_training_rows_for_every_label_are_refused(install):
    split = load(install(articles()))
    labels = split.train["label"]
    rows = next(count for count in range(1, 60) if len(set(labels[:count])) == 2)
    (missing,) = {0, 1, 2} - set(labels[:rows])
    message = f"toy-model: with {rows} training rows: the test rows have labels that training never sees"
    with pytest.raises(HarnessError, match=f"{message}: {split.labels[missing]}; add rows or drop the labels"):
        take_training_rows(split, rows, "toy-model")


# Packages


def test_missing_package_is_named_with_the_command():
    message = "the package no-such-toy is not installed; run: python -m pip install no-such-toy"
    with pytest.raises(HarnessError, match=message):
        locate(Package("no-such-toy", "rows.jsonl", sha256="0"))


def test_missing_file_of_a_package_is_named(install):
    install(articles())
    with pytest.raises(HarnessError, match=r"toydata: the installed version has no other\.jsonl"):
        locate(Package("toydata", "other.jsonl", sha256="0"))


def test_changed_package_is_refused_with_both_hashes(install, tmp_path):
    package = install(articles())
    assert tmp_path / package.path == locate(package)
    with pytest.raises(HarnessError, match=f"has sha256 {package.sha256}, the suite pins 0; install the version"):
        locate(Package("toydata", package.path, sha256="0"))


def test_package_without_reader_is_refused(install):
    with pytest.raises(HarnessError, match="task toy: its Package needs read=, a function from the path to rows"):
        load(install(articles(), reader=None))


def test_package_without_rows_is_refused(install):
    with pytest.raises(HarnessError, match=r"task toy: .*jsonl has no rows"):
        load(install([]))


@pytest.mark.parametrize("value", [None, float("nan"), "absent"], ids=str)
@pytest.mark.parametrize("column", ["text", "desk"])
def test_row_without_a_value_is_named(install, column, value):
    rows = articles()
    rows[3][column] = value
    if value == "absent":
        del rows[3][column]
    with pytest.raises(HarnessError, match=f"task toy: row 3 of train has no value in {column}, as have 1 of 100 rows"):
        load(install(rows))


def test_missing_column_is_named_with_the_others(install):
    with pytest.raises(HarnessError, match=r"toydata: rows1\.jsonl: train has no column body; it has text, desk"):
        load(install(articles()), inputs=("body",))


def test_reader_error_is_shown_with_its_cause(install, tmp_path):
    def broken(path):
        yield {"text": "one", "desk": "a"}
        raise UnicodeError("no text")

    package = install(articles(), reader=broken)
    message = f"task toy: reading {tmp_path / package.path} failed: UnicodeError: no text"
    with pytest.raises(HarnessError, match=message):
        load(package)


# Rows that cannot be split, and labels that a score could not tell apart

LONELY = [*articles(), {"text": "lonely", "desk": "y"}, {"text": "alone", "desk": "z"}]
PAIR = [*articles(), {"text": "one", "desk": "z"}, {"text": "two", "desk": "z"}]
RARE = [{"text": f"article {number}", "desk": "rare" if number < 5 else "common"} for number in range(100)]
REFUSALS = {
    "no training rows": (
        articles(40), {}, "test, validation, calibration take 40 of 40 distinct rows and leave none to train on"
    ),
    "duplicates do not count": (articles(40) * 3, {}, "take 40 of 40 distinct rows"),
    "a column that is no label": (
        [{"text": f"article {n}", "desk": f"desk {n}"} for n in range(100)], {},
        r"too few rows of desk 0, desk 1, desk 10, desk 11, desk 12 and 95 more labels .*; is desk the column of labels"
    ),
    "a label of one row": (LONELY, {}, "too few rows of y, z to split; add rows or drop"),
    "a label of two rows": (PAIR, {"test": 60}, "cannot set apart 12 rows for validation: .*least populated class"),
    "fewer rows than labels": (articles(), {"calibration": 2}, "cannot set apart 2 rows for calibration: "),
    "a test of one row": (articles(), {"test": 1}, "cannot set apart 1 rows for test"),
    "a label that training never sees": (
        RARE, {"test": 10, "validation": 10, "calibration": 75, "split_seed": 1},
        "the test rows have labels that training never sees: rare; add rows or drop the labels",
    ),
    "labels that differ in case": (articles(desks=("Pos", "pos")), {}, "'Pos' and 'pos' differ in spelling only"),
    "labels that differ in spaces": (articles(desks=("no", "no\u00a0")), {}, "differ in spelling only; give them one"),
    "labels that differ in accents": (articles(desks=("é.", "e\u0301.")), {}, "differ in spelling only; give them one"),
    "labels that differ in nothing visible": (articles(desks=("no", "no\u200b")), {}, "differ in spelling only; give"),
    "a blank label": (articles(desks=("a", "b", " ")), {}, "some rows have a label of nothing but spaces"),
    "one label": (articles(desks=("a",)), {}, "every row has the label a; a classifier needs at least two"),
    "a test of one label": (
        articles(desks=("a",) * 49 + ("b",)), {"test": 3}, "every test row has the label a; ask for more test rows"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSALS)
def test_unusable_rows_are_refused(install, reason):
    rows, changes, message = REFUSALS[reason]
    with pytest.raises(HarnessError, match=f"task toy: .*{message}"):
        load(install(rows), **changes)


def test_parts_are_read_without_a_list_of_row_numbers(install, monkeypatch):
    package = install([*articles(), *articles(5)])
    small = load(package)
    assert {None} == {getattr(small, name)._indices for name in PARTS}
    monkeypatch.setattr(splits.row_checks, "MOST_COPIED", 0)
    large = splits.load.__wrapped__(Task(**ARGUMENTS | {"dataset": package}), Path())
    assert large.train._indices is not None
    assert (small.sha256, small.content) == (large.sha256, large.content)
