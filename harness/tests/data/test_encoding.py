"""Laws of encoded rows: made once for what they are made of, and each example stays with its row."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.encoding import BATCH, Encoder
from harness.kinds import text_classification
from harness.util.store import Store

LAW = settings(max_examples=30)
CALLS = []
"""How many rows `encode` was given, each time."""


@dataclass(frozen=True)
class Alphabet:
    """A processor: the number of each letter that it knows."""

    letters: str = "abcdefghijklmnopqrstuvwxyz"

    def save_pretrained(self, folder):
        (Path(folder) / "letters.txt").write_text(self.letters)


def encode(alphabet, rows, inputs, max_length):
    """Windows of `max_length` letters."""
    CALLS.append(len(rows))
    numbers = [[alphabet.letters.index(letter) for name in inputs for letter in row[name]] for row in rows]
    return [[{"input_ids": row[at : at + max_length]} for at in range(0, len(row), max_length)] for row in numbers]


def other_encode(alphabet, rows, inputs, max_length):
    """The windows in reverse."""
    return [examples[::-1] for examples in encode(alphabet, rows, inputs, max_length)]


def targets(asked):
    return [
        [{"labels": row["label"] + at} for at, _ in enumerate(examples)]
        for row, examples in zip(asked.rows, asked.examples, strict=True)
    ]


KIND = replace(text_classification, encode=encode, targets=targets)
WORDS = ("bee", "a", "armadillo", "cow", "elephant")


@pytest.fixture(autouse=True)
def _no_calls_yet():
    CALLS.clear()


@pytest.fixture
def encoder(tmp_path):
    return Encoder(KIND, Alphabet(), ("text",), 4, Store(tmp_path, print))


def rows(count=5):
    return Dataset.from_dict(
        {
            "text": [WORDS[number % len(WORDS)] for number in range(count)],
            "more": ["z"] * count,
            "label": [10 * number for number in range(count)],
        }
    )


def plainly(given):
    """What the kind makes of the rows, without any cache."""
    return KIND.encode(given.processor, list(given.rows), given.inputs, 4)


# Once


def test_rows_are_encoded_in_batches(encoder):
    encoder.asked(rows(2 * BATCH + 7), "known")
    assert [1, BATCH, BATCH, 7] == CALLS


def test_rows_that_are_known_are_not_encoded_again(encoder):
    before = list(encoder.asked(rows(), "known").examples)
    CALLS.clear()
    assert before == list(encoder.asked(rows(), "known").examples)
    assert [] == CALLS


def test_a_processor_is_known_by_what_it_saves(encoder):
    encoder.asked(rows(), "known")
    CALLS.clear()
    replace(encoder, processor=Alphabet()).asked(rows(), "known")
    assert [] == CALLS


@pytest.mark.parametrize(
    "changed",
    [
        {"max_length": 3},
        {"processor": Alphabet("zyxwvutsrqponmlkjihgfedcba")},
        {"inputs": ("text", "more")},
        {"kind": replace(KIND, encode=other_encode)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_changes_an_example_encodes_again(encoder, changed):
    before = list(encoder.asked(rows(), "known").examples)
    CALLS.clear()
    assert before != list(replace(encoder, **changed).asked(rows(), "known").examples)
    assert [1, 5] == CALLS


def test_other_content_is_encoded_again(encoder):
    encoder.asked(rows(), "known")
    CALLS.clear()
    turned = Dataset.from_list(list(rows())[::-1])
    found = encoder.asked(turned, "other")
    assert [1, 5] == CALLS
    assert plainly(found) == list(found.examples)


def test_fewer_of_the_same_rows_are_rows_of_their_own(encoder):
    encoder.asked(rows(), "known")
    found = encoder.asked(rows().select(range(2)), "known")
    assert (2, 2) == (len(found.rows), len(found.examples))
    assert plainly(found) == list(found.examples)


def test_rows_to_train_on_are_not_those_to_ask(encoder):
    asked, taught = encoder.asked(rows(), "known"), encoder.taught(rows(), "known")
    assert {"input_ids"} == set(asked.examples[0][0])
    assert {"input_ids", "labels"} == set(taught[0])


# Rows and examples


@LAW
@given(st.data())
def test_every_example_stays_with_its_row(tmp_path_factory, data):
    lengths = data.draw(st.lists(st.integers(1, 13), min_size=1, max_size=12))
    table = Dataset.from_dict({"text": ["abcdefghijklm"[:length] for length in lengths]})
    known = " ".join(map(str, lengths))
    found = Encoder(KIND, Alphabet(), ("text",), 4, Store(tmp_path_factory.getbasetemp(), print)).asked(table, known)
    assert [-(-length // 4) for length in lengths] == [len(examples) for examples in found.examples]
    assert plainly(found) == list(found.examples)


def test_rows_beyond_a_batch_keep_their_examples(encoder):
    found = encoder.asked(rows(BATCH + 10), "known")
    assert plainly(found) == list(found.examples)


def test_rows_are_found_from_both_ends_and_by_slices(encoder):
    examples = encoder.asked(rows(), "known").examples
    whole = list(examples)
    assert (whole[-1], whole[1:4], whole[::-2]) == (examples[-1], examples[1:4], examples[::-2])
    with pytest.raises(IndexError):
        examples[len(whole)]


def test_every_example_is_taught_its_own_target(encoder):
    found = encoder.taught(rows(), "known")
    expected = [
        {**example, "labels": 10 * row + at}
        for row, examples in enumerate(encoder.asked(rows(), "known").examples)
        for at, example in enumerate(examples)
    ]
    assert expected == [{name: example[name] for name in ("input_ids", "labels")} for example in found]


# Values


def pixels(processor, rows, inputs, max_length):
    return [[{"pixel_values": np.full((1, 2, 3), row["text"] / 8, dtype=np.float32)}] for row in rows]


def floats(processor, rows, inputs, max_length):
    return [[{"features": [row["text"] / 8, 0.5]}] for row in rows]


def test_arrays_come_back_in_their_shape_and_type(encoder):
    kind = replace(KIND, encode=pixels)
    found = replace(encoder, kind=kind).asked(Dataset.from_dict({"text": [0, 3, 5]}), "numbers").examples
    for number, ((example,), share) in enumerate(zip(found, (0, 3 / 8, 5 / 8), strict=True)):
        values = np.asarray(example["pixel_values"])
        assert ((1, 2, 3), np.float32) == (values.shape, values.dtype), number
        np.testing.assert_array_equal(np.full((1, 2, 3), share), values)


def test_numbers_with_a_fraction_come_back_whole(encoder):
    kind = replace(KIND, encode=floats)
    found = replace(encoder, kind=kind).asked(Dataset.from_dict({"text": [0, 3]}), "numbers").examples
    assert [[{"features": [0.0, 0.5]}], [{"features": [0.375, 0.5]}]] == list(found)
