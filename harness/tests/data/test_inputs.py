"""Batches, probes and predictions of encoded rows."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from answers import images, texts, windows
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.kind import NO_LABEL
from harness.data.inputs import split_rows
from harness.kinds import image_classification


def test_batch_holds_the_rows_in_order():
    inputs = images()
    batch = inputs.batch([3, 1, 3])["pixel_values"]
    assert (3, 1, 2, 2) == batch.shape
    np.testing.assert_array_equal(inputs.encoded.examples[1][0]["pixel_values"], batch[1])
    np.testing.assert_array_equal(batch[0], batch[2])


@pytest.mark.parametrize(("rows", "sizes"), [(1, []), (2, [2]), (15, [2]), (16, [2, 16]), (100, [2, 16])])
def test_probes_are_the_batches_that_rows_can_fill(rows, sizes):
    inputs = images(rows)
    for size, probe in zip(sizes, inputs.probes(), strict=True):
        np.testing.assert_array_equal(inputs.batch(range(size))["pixel_values"], probe["pixel_values"])


def test_equally_long_rows_are_cut_to_need_padding():
    whole, larger, cut = texts([96] * 20).probes()
    assert [(2, 96), (16, 96), (16, 48)] == [batch["input_ids"].shape for batch in (whole, larger, cut)]
    lengths = cut["attention_mask"].sum(axis=1).tolist()
    assert (8, 48) == (min(lengths), max(lengths))
    assert lengths == sorted(set(lengths))


@pytest.mark.parametrize(
    ("lengths", "cut"),
    [([40] * 3, [8, 14, 20]), ([3, 40], [3, 20]), ([40], [8]), ([8, 16], None), ([1], None)],
    ids=str,
)
def test_cut_keeps_eight_tokens_or_the_shortest_row(lengths, cut):
    *_, last = texts(lengths).probes() or [None]
    if cut is None:
        assert last is None or 16 == last["input_ids"].shape[1]
    else:
        assert cut == last["attention_mask"].sum(axis=1).tolist()


def test_rows_without_length_are_not_cut():
    assert [(2, 96), (16, 96)] == [batch["input_ids"].shape for batch in texts([96] * 20, axes=("batch",)).probes()]


def test_every_probe_entry_is_named_by_its_row():
    inputs = windows([2, 1] * 10)
    names = inputs.probe_names()
    entries = [len(next(iter(batch.values()))) for batch in inputs.probes()]
    assert [3, 24] == entries
    assert ["0 in a padded batch"] * 2 + ["1 in a padded batch"] == names[:3]
    assert "15 in a padded batch" == names[sum(entries) - 1]


def test_outputs_of_a_batch_are_split_by_row():
    outputs = {"logits": np.arange(6)[:, None]}
    rows = split_rows(outputs, windows([2, 1, 3]).entries([2, 0, 1]))
    assert [[0, 1, 2], [3, 4], [5]] == [row["logits"][:, 0].tolist() for row in rows]


def test_tie_goes_to_the_first_label():
    outputs = [{"logits": np.array([row])} for row in ([2.0, 2.0], [1.0, 2.0])]
    assert [0, 1] == image_classification.predict(images(2).encoded, outputs)


def test_labels_of_the_head_become_the_tasks():
    inputs = replace(images(3), labels=("a", "b"), order=[1, -1, 0])
    predictions = inputs.predictions([{"logits": np.eye(3)[[label]]} for label in range(3)])
    assert [1, -1, 0] == predictions
    assert ["b", NO_LABEL, "a"] == list(map(inputs.describe, predictions))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(1, 8))
def test_unpadded_batches_hold_rows_of_one_length(lengths, size):
    inputs = texts(lengths)
    batches = list(inputs.unpadded_batches(range(len(lengths)), size))
    assert list(range(len(lengths))) == sorted(row for rows in batches for row in rows)
    for rows in batches:
        assert len(rows) <= size
        assert 1 == len({lengths[row] for row in rows})
    groups = Counter(lengths).values()
    assert sum(math.ceil(count / size) for count in groups) == len(batches)


def test_row_with_more_entries_than_a_batch_is_a_batch():
    assert [[0], [1, 2], [3]] == list(windows([5, 1, 2, 3]).unpadded_batches(range(4), 4))
