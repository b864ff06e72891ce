"""Laws of rows: read from a verified package, distinct, split into four parts that never share one."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.contracts.sources import Package
from harness.data import splits
from harness.data.reading import locate
from harness.data.splits import PARTS
from harness.errors import HarnessError
from harness.kinds import image_classification, text_classification
from harness.spec import Task
from harness.util.fingerprints import tree_sha256


def read(path):
    """One JSON object a line; an image is a nested list."""
    for text in Path(path).read_text().splitlines():
        row = json.loads(text)
        yield {name: np.array(value, np.uint8) if isinstance(value, list) else value for name, value in row.items()}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes `importlib.metadata` find a distribution `toydata` with these rows; returns what a suite would pin."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(rows, reader=read):
        described = tmp_path / "toydata-1.0.dist-info"
        described.mkdir(exist_ok=True)
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: toydata\nVersion: 1.0\n")
        file = tmp_path / f"rows{len(list(tmp_path.iterdir()))}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Package("toydata", file.name, sha256=tree_sha256(file), read=reader)

    return put


def task(package, **changed):
    """A toy task over the package."""
    known = {
        "name": "toy",
        "kind": text_classification,
        "dataset": package,
        "inputs": ("text",),
        "label": "desk",
        "metric": "accuracy",
        "test": 20,
        "validation": 12,
        "calibration": 8,
    }
    return Task(**(known | changed))


def load(task, folder=Path()):
    return splits.load(task, folder)


def articles(count=100, desks=("a", "b", "b", "c")):
    return [{"text": f"article {number}", "desk": desks[number % len(desks)]} for number in range(count)]


def texts(part):
    return list(part["text"])


# Splits


def test_every_distinct_row_is_in_exactly_one_part(install):
    split = load(task(install(articles())))
    found = Counter(text for name in PARTS for text in texts(getattr(split, name)))
    assert {row["text"]: 1 for row in articles()} == found


def test_parts_have_the_sizes_that_were_asked_for(install):
    split = load(task(install(articles())))
    assert {"train": 60, "validation": 12, "calibration": 8, "test": 20} == split.sizes()


def test_every_part_has_the_labels_in_proportion(install):
    split = load(task(install(articles())))
    for name, size in split.sizes().items():
        counts = Counter(getattr(split, name)["label"])
        assert {0: size // 4, 1: size // 2, 2: size // 4} == counts, name


def test_labels_are_indices_into_their_sorted_names(install):
    split = load(task(install(articles(desks=("10", "9", "x")))))
    assert ("10", "9", "x") == split.labels
    truth = {row["text"]: row["desk"] for row in articles(desks=("10", "9", "x"))}
    for name in PARTS:
        assert all(truth[row["text"]] == split.labels[row["label"]] for row in getattr(split, name))


def test_labels_may_be_numbers(install):
    split = load(task(install([row | {"desk": i % 2} for i, row in enumerate(articles())])))
    assert ("0", "1") == split.labels


def test_the_same_rows_and_seed_give_the_same_parts(install):
    one, other = load(task(install(articles()))), load(task(install(articles())))
    assert one.sha256 == other.sha256
    assert texts(one.train) == texts(other.train)


def test_another_seed_gives_other_parts_of_the_same_rows(install):
    package = install(articles())
    one, other = load(task(package)), load(task(package, split_seed=1))
    assert set(texts(one.test)) != set(texts(other.test))
    assert one.sizes() == other.sizes()
    assert set(PARTS) == {name for name in PARTS if one.sha256[name] != other.sha256[name]}


def test_a_digest_tells_every_change_of_a_row(install):
    rows = articles()
    changed = [*rows[:-1], rows[-1] | {"text": "another text"}]
    one, other = load(task(install(rows))), load(task(install(changed)))
    (part,) = [name for name in PARTS if one.sha256[name] != other.sha256[name]]
    assert rows[-1]["text"] in texts(getattr(one, part))


def test_a_digest_tells_a_changed_label(install):
    rows = articles()
    swapped = [*rows[:-2], rows[-2] | {"desk": rows[-1]["desk"]}, rows[-1] | {"desk": rows[-2]["desk"]}]
    assert load(task(install(rows))).sha256 != load(task(install(swapped))).sha256


def test_columns_that_the_task_does_not_name_are_left_out(install):
    split = load(task(install([row | {"secret": "x"} for row in articles()])))
    assert {("text", "label")} == {tuple(getattr(split, name).column_names) for name in PARTS}


def test_a_split_is_made_once(install):
    package = install(articles())
    assert load(task(package)) is load(task(package))


def test_images_are_split_like_texts(install):
    rows = [{"image": [[number, number // 3], [1, 2]], "desk": str(number % 2)} for number in range(60)]
    split = load(task(install(rows + rows[:5]), kind=image_classification, inputs=("image",), test=12))
    assert 5 == split.duplicates
    assert 60 == sum(split.sizes().values())
    found = sorted(np.asarray(image)[0, 0] for name in PARTS for image in getattr(split, name)["image"])
    assert list(range(60)) == found


# Duplicates


def test_duplicates_are_dropped_and_counted(install):
    split = load(task(install(articles() + articles(30))))
    assert 30 == split.duplicates
    assert 100 == sum(split.sizes().values())


def test_texts_that_differ_in_white_space_only_are_duplicates(install):
    again = [row | {"text": f"  {row['text'].replace(' ', chr(10))}\t"} for row in articles(10)]
    assert 10 == load(task(install(articles() + again))).duplicates


def test_of_duplicates_the_first_row_stays(install):
    again = [{"text": "article 0", "desk": "c"}]
    split = load(task(install(articles() + again)))
    (label,) = [row["label"] for name in PARTS for row in getattr(split, name) if row["text"] == "article 0"]
    assert "a" == split.labels[label]


def test_rows_are_duplicates_only_if_all_inputs_are(install):
    rows = [{"text": "same", "other": f"{i}", "desk": "ab"[i % 2]} for i in range(100)]
    assert 0 == load(task(install(rows), inputs=("text", "other"))).duplicates


def test_words_do_not_wander_between_inputs(install):
    rows = [{"text": f"{i} a", "other": "b", "desk": "ab"[i % 2]} for i in range(50)]
    rows += [{"text": f"{i}", "other": "a b", "desk": "ab"[i % 2]} for i in range(50)]
    assert 0 == load(task(install(rows), inputs=("text", "other"))).duplicates


def test_images_of_other_shape_are_no_duplicates(install):
    rows = [{"image": [[number] * 4], "desk": str(number % 2)} for number in range(60)]
    rows += [{"image": [[number] * 2] * 2, "desk": str(number % 2)} for number in range(60)]
    one = task(install(rows), kind=image_classification, inputs=("image",))
    assert 0 == load(one).duplicates


# Budget


def test_a_recipe_without_a_budget_takes_every_training_row(install):
    split = load(task(install(articles())))
    assert texts(split.train) == texts(splits.budget(split, None, "toy-model"))


def test_a_budget_is_the_first_training_rows(install):
    split = load(task(install(articles())))
    assert texts(split.train)[:30] == texts(splits.budget(split, 30, "toy-model"))


def test_a_budget_beyond_the_training_rows_is_refused(install):
    split = load(task(install(articles())))
    with pytest.raises(HarnessError, match="toy-model: the recipe asks for 61 training rows, there are 60"):
        splits.budget(split, 61, "toy-model")


def test_a_budget_in_which_a_test_label_is_missing_is_refused(install):
    split = load(task(install(articles())))
    seen = split.train["label"]
    rows = next(count for count in range(1, 60) if len(set(seen[:count])) == 2)
    (missing,) = {0, 1, 2} - set(seen[:rows])
    said = f"toy-model: with {rows} training rows: the test rows have labels that training never sees"
    with pytest.raises(HarnessError, match=f"{said}: {split.labels[missing]}; add rows or drop the labels"):
        splits.budget(split, rows, "toy-model")


# What is refused


def test_a_package_that_is_not_installed_is_named_with_the_command():
    said = "the package no-such-toy is not installed; run: python -m pip install no-such-toy"
    with pytest.raises(HarnessError, match=said):
        locate(Package("no-such-toy", "rows.jsonl", sha256="0"))


def test_a_path_that_the_installed_version_lacks_is_named(install):
    install(articles())
    with pytest.raises(HarnessError, match=r"toydata: the installed version has no other\.jsonl"):
        locate(Package("toydata", "other.jsonl", sha256="0"))


def test_files_of_another_hash_are_refused_with_both(install):
    package = install(articles())
    said = (
        f"toydata: {package.path} has sha256 {package.sha256}, the suite pins 0; "
        "install the version the suite was written for, or pin the new hash"
    )
    with pytest.raises(HarnessError, match=said):
        locate(Package("toydata", package.path, sha256="0"))


def test_a_located_package_is_a_path_to_its_files(install, tmp_path):
    package = install(articles())
    assert tmp_path / package.path == locate(package)


def test_a_package_without_a_reader_is_no_dataset(install):
    with pytest.raises(HarnessError, match="task toy: its Package needs read=, a function from the path to rows"):
        load(task(install(articles(), reader=None)))


def test_a_package_that_gives_no_rows_is_refused(install):
    with pytest.raises(HarnessError, match=r"task toy: .*jsonl gave no rows"):
        load(task(install([])))


@pytest.mark.parametrize("lacking", ["text", "desk"])
def test_a_row_without_a_column_is_named(install, lacking):
    rows = articles()
    del rows[3][lacking]
    (left,) = rows[3]
    said = f"task toy: row 3 has no column {lacking}; its columns are {left}"
    with pytest.raises(HarnessError, match=said):
        load(task(install(rows)))


@pytest.mark.parametrize("count", [40, 39])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(install, count):
    said = f"test, validation, calibration take 40 rows and leave none of {count} distinct ones to train on"
    with pytest.raises(HarnessError, match=f"task toy: {said}; ask for fewer"):
        load(task(install(articles(count))))


def test_duplicates_do_not_count_as_rows_to_train_on(install):
    with pytest.raises(HarnessError, match="leave none of 40 distinct ones"):
        load(task(install(articles(40) * 3)))


def test_labels_of_a_single_row_are_refused_and_named(install):
    rows = [*articles(), {"text": "lonely", "desk": "y"}, {"text": "alone", "desk": "z"}]
    said = "task toy: too few rows of y, z to train on and to test with; add rows or drop the labels"
    with pytest.raises(HarnessError, match=said):
        load(task(install(rows)))


def test_a_label_too_rare_to_divide_is_refused(install):
    rows = [*articles(), {"text": "one", "desk": "z"}, {"text": "two", "desk": "z"}]
    with pytest.raises(
        HarnessError, match=r"task toy: cannot set apart 12 rows for validation: .*least populated class"
    ):
        load(task(install(rows), test=60))


def test_an_error_in_a_reader_is_told_with_its_cause(install, tmp_path):
    def broken(path):
        yield {"text": "one", "desk": "a"}
        raise UnicodeError("no text")

    package = install(articles(), reader=broken)
    with pytest.raises(
        HarnessError, match=f"task toy: reading {tmp_path / package.path} failed: UnicodeError: no text"
    ):
        load(task(package))


def test_a_part_smaller_than_the_number_of_labels_is_refused(install):
    with pytest.raises(HarnessError, match="task toy: cannot set apart 2 rows for calibration: "):
        load(task(install(articles()), calibration=2))


def test_a_test_label_that_training_never_sees_is_refused(install):
    rows = [{"text": f"article {number}", "desk": "rare" if number < 5 else "common"} for number in range(100)]
    few = task(install(rows), test=10, validation=10, calibration=75, split_seed=1)
    said = "task toy: the test rows have labels that training never sees: rare; add rows or drop the labels"
    with pytest.raises(HarnessError, match=said):
        load(few)


# Labels that a score could not tell apart


def test_rows_of_one_label_are_refused(install):
    with pytest.raises(HarnessError, match="task toy: every row has the label a, so there is nothing to tell apart"):
        load(task(install(articles(desks=("a",)))))


def test_test_rows_of_one_label_are_refused(install):
    package = install(articles(desks=("a",) * 49 + ("b",)))
    with pytest.raises(HarnessError, match="task toy: every test row has the label a; ask for more test rows"):
        load(task(package, test=3))


def test_a_test_of_fewer_rows_than_labels_is_refused(install):
    with pytest.raises(HarnessError, match="task toy: cannot set apart 1 rows for test"):
        load(task(install(articles()), test=1))
