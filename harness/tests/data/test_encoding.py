"""Rows are encoded once per content, kind and processor, and every example stays with its row."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.encoding import BATCH, Encoder
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.util.store import Store

CALLS = []
"""Number of rows in each call of `encode`."""


@dataclass(frozen=True)
class Alphabet:
    """A processor that numbers letters."""

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


def targets(encoded):
    return [
        [{"labels": row["label"] + at} for at, _ in enumerate(examples)]
        for row, examples in zip(encoded.rows, encoded.examples, strict=True)
    ]


KIND = replace(text_classification, encode=encode, targets=targets)
WORDS = ("bee", "a", "armadillo", "cow", "elephant")


@pytest.fixture(autouse=True)
def _no_calls():
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


def uncached(encoded):
    """Encode the rows again, without a cache."""
    return KIND.encode(encoded.processor, list(encoded.rows), encoded.inputs, 4)


# Once


def test_rows_are_encoded_in_batches(encoder):
    encoded = encoder.encode(rows(2 * BATCH + 7), "content")
    assert [1, BATCH, BATCH, 7] == CALLS
    assert uncached(encoded) == list(encoded.examples)


def test_same_rows_are_not_encoded_again(encoder):
    before = list(encoder.encode(rows(), "content").examples)
    CALLS.clear()
    assert before == list(replace(encoder, processor=Alphabet()).encode(rows(), "content").examples)
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
    before = list(encoder.encode(rows(), "content").examples)
    CALLS.clear()
    assert before != list(replace(encoder, **changed).encode(rows(), "content").examples)
    assert [1, 5] == CALLS


@pytest.mark.parametrize(
    ("table", "content"), [(Dataset.from_list(list(rows())[::-1]), "other"), (rows().select(range(2)), "content")]
)
def test_other_rows_are_encoded_again(encoder, table, content):
    encoder.encode(rows(), "content")
    CALLS.clear()
    encoded = encoder.encode(table, content)
    assert [1, len(table)] == CALLS
    assert len(table) == len(encoded.examples)
    assert uncached(encoded) == list(encoded.examples)


# Rows and examples


@settings(max_examples=30)
@given(st.data())
def test_every_example_stays_with_its_row(tmp_path_factory, data):
    lengths = data.draw(st.lists(st.integers(1, 13), min_size=1, max_size=12))
    table = Dataset.from_dict({"text": ["abcdefghijklm"[:length] for length in lengths]})
    encoder = Encoder(KIND, Alphabet(), ("text",), 4, Store(tmp_path_factory.getbasetemp(), print))
    encoded = encoder.encode(table, " ".join(map(str, lengths)))
    assert [-(-length // 4) for length in lengths] == [len(examples) for examples in encoded.examples]
    assert uncached(encoded) == list(encoded.examples)


def test_examples_have_negative_indices_and_slices(encoder):
    examples = encoder.encode(rows(), "content").examples
    whole = list(examples)
    assert (whole[-1], whole[1:4], whole[::-2]) == (examples[-1], examples[1:4], examples[::-2])
    with pytest.raises(IndexError):
        examples[len(whole)]


def test_every_training_example_has_its_target(encoder):
    expected = [
        {**example, "labels": 10 * row + at}
        for row, examples in enumerate(encoder.encode(rows(), "content").examples)
        for at, example in enumerate(examples)
    ]
    table = encoder.encode_targets(rows(), "content")
    assert {"input_ids", "labels"} == set(table[0])
    assert expected == [{name: example[name] for name in ("input_ids", "labels")} for example in table]


def test_rows_without_a_target_are_refused(encoder):
    kind = replace(KIND, targets=lambda encoded: [[{"labels": -100} for _ in row] for row in encoded.examples])
    with pytest.raises(HarnessError, match="none of the 5 training rows has a target to learn"):
        replace(encoder, kind=kind).encode_targets(rows(), "content")


# Values


def pixels(processor, rows, inputs, max_length):
    return [[{"pixel_values": np.full((1, 2, 3), row["text"] / 8, dtype=np.float32)}] for row in rows]


def floats(processor, rows, inputs, max_length):
    return [[{"features": [row["text"] / 8, 0.5]}] for row in rows]


def test_arrays_keep_their_shape_and_type(encoder):
    kind = replace(KIND, encode=pixels)
    examples = replace(encoder, kind=kind).encode(Dataset.from_dict({"text": [0, 3, 5]}), "numbers").examples
    for (example,), share in zip(examples, (0, 3 / 8, 5 / 8), strict=True):
        values = np.asarray(example["pixel_values"])
        assert ((1, 2, 3), np.float32) == (values.shape, values.dtype)
        np.testing.assert_array_equal(np.full((1, 2, 3), share), values)


def test_fractions_are_not_rounded(encoder):
    kind = replace(KIND, encode=floats)
    examples = replace(encoder, kind=kind).encode(Dataset.from_dict({"text": [0, 3]}), "numbers").examples
    assert [[{"features": [0.0, 0.5]}], [{"features": [0.375, 0.5]}]] == list(examples)
