"""Rows survive their columns; length-sorted batching changes the work, never the answers nor their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends import ONNXRUNTIME_INT8, PYTORCH
from harness.backends.variants import by_length
from harness.contracts.backend import Backend, Session
from harness.errors import HarnessError
from harness.measure.adapters import columns_from_rows, rows_from_columns, with_length_sorting, with_shared_arrays

LAW = settings(max_examples=80)

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
cells = {
    "text": words,
    "words": st.lists(words, max_size=4),
    "nested": st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=3),
    "number": st.integers(-1000, 1000),
}


@LAW
@given(st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=5))
def test_rows_survive_their_columns(rows):
    columns = columns_from_rows(rows, tuple(cells))
    assert all(array.dtype.kind != "O" for array in columns.values())
    # Numbers may come back as arrays.
    assert rows == [
        {name: getattr(value, "tolist", lambda v=value: v)() for name, value in row.items()}
        for row in rows_from_columns(columns)
    ]


def test_images_become_one_array():
    images = [{"image": np.full((2, 3), shade, dtype=np.uint8)} for shade in (0, 255)]
    columns = columns_from_rows(images, ("image",))
    assert ((2, 2, 3), np.uint8) == (columns["image"].shape, columns["image"].dtype)
    for sent, received in zip(images, rows_from_columns(columns), strict=True):
        np.testing.assert_array_equal(sent["image"], received["image"])
    # `datasets` gives images of a package as nested lists; reading them from JSON would be timed as the model's work.
    assert {"image"} == columns_from_rows([{"image": [[1, 2], [3, 4]]}] * 2, ("image",)).keys()


def batch(lengths, left=False):
    """Return padded rows whose first number tells them apart."""
    width = max(lengths)
    ids, mask = np.zeros((2, len(lengths), width), dtype=np.int64)
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(0, length)
        ids[row, place], mask[row, place] = row + 1, 1
    return {"input_ids": ids, "attention_mask": mask}


def toy(shapes):
    """Return a backend that answers per row and per element, in numbers and vectors, and notes the batch shapes."""

    def run(arrays):
        ids, mask = arrays["input_ids"], arrays["attention_mask"]
        shapes.append(ids.shape)
        each = (ids * mask).astype(np.float32)
        return {"logits": each.sum(axis=1, keepdims=True), "each": each, "vectors": each[..., None]}

    return Session(run, "cpu", {})


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=20)


@LAW
@given(lengths, st.integers(1, 8), st.booleans())
def test_sorted_answers_are_those_of_the_whole_batch(row_lengths, at_once, left):
    arrays = batch(row_lengths, left)
    expected = toy([]).run(arrays)
    answers = with_length_sorting(toy([]), at_once).run(arrays)
    assert expected.keys() == answers.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, answers[name])


@LAW
@given(lengths, st.integers(1, 8))
def test_chunks_are_padded_to_their_longest_row(row_lengths, at_once):
    shapes = []
    with_length_sorting(toy(shapes), at_once).run(batch(row_lengths))
    ordered = sorted(row_lengths)
    chunks = [ordered[first : first + at_once] for first in range(0, len(ordered), at_once)]
    assert [(len(chunk), max(chunk)) for chunk in chunks] == shapes


def test_batch_without_mask_runs_as_it_is():
    images = {"pixel_values": np.zeros((9, 3, 8, 8))}
    session = Session(lambda arrays: {"shape": np.array(arrays["pixel_values"].shape)}, "cpu", {})
    assert [9, 3, 8, 8] == with_length_sorting(session, 2).run(images)["shape"].tolist()


def test_generated_texts_are_padded_to_the_longest():
    def run(arrays):
        longest = int(arrays["attention_mask"].sum(axis=1).max())
        return {"sequences": np.full((len(arrays["input_ids"]), longest), longest)}

    sequences = with_length_sorting(Session(run, "cpu", {}), 1).run(batch([3, 1, 2]))["sequences"]
    assert [[3, 3, 3], [1, 0, 0], [2, 2, 0]] == sequences.tolist()


@pytest.mark.parametrize("backend", [PYTORCH, ONNXRUNTIME_INT8], ids=lambda backend: backend.name)
def test_by_length_variant_runs_the_same_artifact(backend):
    variant = by_length(backend, 8)
    assert (f"{backend.name}-by-length", backend, None, 8) == (
        variant.name, variant.source, variant.build, variant.batches_of,
    )  # fmt: skip
    assert (backend.load, backend.lossy) == (variant.load, variant.lossy)


def test_chunks_of_no_rows_are_refused():
    with pytest.raises(HarnessError, match="batches_of=0"):
        Backend(name="toy", load=toy, batches_of=0)


@pytest.mark.parametrize(("rows", "compiled"), [(1, 1), (2, 2), (3, 1), (16, 16)])
def test_rows_are_not_compiled_as_what_all_of_them_share(rows, compiled):
    shapes = []

    def compile_(arrays):
        shapes.append([array.shape for array in arrays.values()])

    session = with_shared_arrays(Session(dict, "cpu", {}, compile=compile_), ("input_ids", "attention_mask"))
    session.compile({"pixel_values": np.zeros((rows, 4)), "input_ids": np.zeros((3, 7))})
    assert [[(compiled, 4), (3, 7)]] == shapes
