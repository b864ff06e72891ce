"""Length-sorted batching changes the work, never the answers nor their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends import ONNXRUNTIME_INT8, PYTORCH
from harness.backends.variants import by_length
from harness.contracts.backend import Backend, Session
from harness.errors import HarnessError
from harness.measure.adapters import with_length_sorting

LAW = settings(max_examples=80)


def batch(lengths, left=False):
    """Padded rows whose first number tells them apart."""
    width = max(lengths)
    ids, mask = np.zeros((2, len(lengths), width), dtype=np.int64)
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(0, length)
        ids[row, place], mask[row, place] = row + 1, 1
    return {"input_ids": ids, "attention_mask": mask}


def toy(asked):
    """A backend that answers each row with what it sees of it, and each element with itself, in numbers and vectors."""

    def run(arrays):
        ids, mask = arrays["input_ids"], arrays["attention_mask"]
        asked.append(ids.shape)
        seen = (ids * mask).sum(axis=1, keepdims=True)
        each = (ids * mask).astype(np.float32)
        return {"logits": seen.astype(np.float32), "each": each, "vectors": each[..., None]}

    return Session(run, "cpu", {})


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=20)


@LAW
@given(lengths, st.integers(1, 8), st.booleans())
def test_answers_are_those_of_the_whole_batch_in_the_order_asked_for(rows, at_once, left):
    given_batch = batch(rows, left)
    expected = toy([]).run(given_batch)
    found = with_length_sorting(toy([]), at_once).run(given_batch)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])


@LAW
@given(lengths, st.integers(1, 8))
def test_no_row_is_padded_beyond_the_longest_it_is_answered_with(rows, at_once):
    asked = []
    with_length_sorting(toy(asked), at_once).run(batch(rows))
    ordered = sorted(rows)
    chunks = [ordered[at : at + at_once] for at in range(0, len(rows), at_once)]
    whole = len(rows) <= at_once
    assert [(len(chunk), max(chunk)) for chunk in ([rows] if whole else chunks)] == asked


def test_rows_without_a_mask_are_answered_as_they_come():
    images = {"pixel_values": np.zeros((9, 3, 8, 8))}
    session = Session(lambda arrays: {"shape": np.array(arrays["pixel_values"].shape)}, "cpu", {})
    assert [9, 3, 8, 8] == with_length_sorting(session, 2).run(images)["shape"].tolist()


def test_generated_texts_are_filled_up_to_the_longest():
    def run(arrays):
        longest = int(arrays["attention_mask"].sum(axis=1).max())
        return {"sequences": np.full((len(arrays["input_ids"]), longest), longest)}

    found = with_length_sorting(Session(run, "cpu", {}), 1).run(batch([3, 1, 2]))["sequences"]
    assert [[3, 3, 3], [1, 0, 0], [2, 2, 0]] == found.tolist()


@pytest.mark.parametrize("backend", [PYTORCH, ONNXRUNTIME_INT8], ids=lambda one: one.name)
def test_a_variant_runs_the_same_artifact_under_a_name_of_its_own(backend):
    variant = by_length(backend, 8)
    assert (f"{backend.name}-by-length", backend, None, 8) == (
        variant.name, variant.source, variant.build, variant.batches_of,
    )  # fmt: skip
    assert (backend.load, backend.lossy) == (variant.load, variant.lossy)


def test_no_row_at_a_time_is_refused():
    with pytest.raises(HarnessError, match="batches_of=0 answers no row at a time"):
        Backend(name="toy", load=toy, batches_of=0)
