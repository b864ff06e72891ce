"""Exports must reproduce their source within a tolerance, and timed outputs must be the scored ones."""

import numpy as np
import pytest
from answers import evaluation, generated, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.kind import ATOL, ELEMENTWISE, RTOL
from harness.errors import HarnessError, WorkerError
from harness.evaluation.parity import check_parity, check_timed, largest_difference
from harness.evaluation.predictions import Evaluation

REFUSED = "the export does not answer as pytorch does"
CHANGED = "toy: timed outputs differ from the scored ones"


def check(own, source, rows=2):
    check_parity(own, source, "pytorch", texts([96] * rows))


def test_equal_outputs_are_at_parity():
    check(evaluation(), evaluation())


@settings(max_examples=80)
@given(st.floats(-100, 100), st.floats(-2, 2), st.sampled_from(["single", "padded"]))
def test_tolerance_is_absolute_plus_relative(value, share, place):
    logits = np.array([[value, 0.0], [0.0, 1.0]])
    other = logits + np.array([[share * (ATOL + RTOL * abs(value)), 0.0], [0.0, 0.0]])
    own, source = evaluation(**{place: other}), evaluation(**{place: logits})
    if abs(share) < 0.98:
        check(own, source)
    elif abs(share) > 1.02:
        with pytest.raises(HarnessError, match=REFUSED):
            check(own, source)


def test_refusal_names_size_and_row_of_the_difference():
    source, own = np.zeros((20, 2)), np.zeros((20, 2))
    own[4], own[7] = 0.25, 0.5
    message = (
        rf"{REFUSED}: logits differs by up to 0\.5 \(allowed 0\.001 \+ 0\.001 of the value\), "
        r"worst at test row 7 alone; 2 of 20 rows differ"
    )
    with pytest.raises(HarnessError, match=message):
        check(evaluation(own), evaluation(source), 20)


@pytest.mark.parametrize(
    ("entry", "row"), [(0, 0), (1, 1), (2, 0), (5, 3), (17, 15), (18, "0 cut short"), (33, "15 cut short")]
)
def test_refusal_names_the_row_of_a_padded_entry(entry, row):
    single, source, own = np.zeros((20, 2)), np.zeros((34, 2)), np.zeros((34, 2))
    own[entry, 1] = 1
    with pytest.raises(HarnessError, match=rf"worst at test row {row} in a padded batch; 1 of 34 rows differ"):
        check(evaluation(single, own), evaluation(single, source), 20)


def test_nan_is_never_at_parity():
    sick = evaluation([[np.nan, 0.0], [0.0, 1.0]])
    for own, source in ((sick, evaluation()), (evaluation(), sick)):
        with pytest.raises(HarnessError, match=f"{REFUSED}: logits"):
            check(own, source)


@pytest.mark.parametrize("outputs", [{}, {"hidden": np.zeros((1, 3))}, {"logits": np.zeros((1, 1))}], ids=str)
def test_other_outputs_or_shapes_are_refused(outputs):
    with pytest.raises(HarnessError, match=REFUSED):
        check(Evaluation([outputs] * 2, [outputs] * 2, [0, 1], 1.0, {}), evaluation())


def test_largest_difference_is_over_single_and_padded():
    logits = np.eye(2)
    assert 0.0 == largest_difference(evaluation(), evaluation(), ELEMENTWISE)
    for padded, difference in ((logits + 0.25, 0.5), (logits + 0.75, 0.75)):
        assert difference == largest_difference(evaluation(logits - 0.5, padded), evaluation(), ELEMENTWISE)


@pytest.mark.parametrize(("differing", "passes"), [(2, True), (3, False)])
def test_generated_text_may_differ_in_one_row_of_100(differing, passes):
    source = generated(*[[0, 5, 7, 1]] * 200)
    own = generated(*[[0, 5, 7, 8, 1]] * differing, *[[0, 5, 7, 1]] * (200 - differing))
    assert 1.0 == largest_difference(own, source, ELEMENTWISE)
    if passes:
        check(own, source, 200)
    else:
        with pytest.raises(HarnessError, match=r"sequences differs by up to 1 .*; 3 of 200 rows differ"):
            check(own, source, 200)


# Timed outputs


def test_rows_generated_together_may_end_sooner_or_later():
    scored = generated([0, 5, 1], [0, 6, 7, 1])
    check_timed("toy", scored, [0, 1], {"sequences": np.zeros((2, 7), dtype=np.int64)})
    with pytest.raises(WorkerError, match=CHANGED):
        check_timed("toy", scored, [0, 1], {"sequences": np.zeros((1, 7), dtype=np.int64)})


def test_row_generated_alone_must_have_the_scored_tokens():
    scored = generated([0, 5, 1], [0, 6, 7, 1])
    check_timed("toy", scored, [1], {"sequences": np.array([[0, 6, 7, 1]])})
    for tokens in ([[0, 6, 6, 1]], [[0, 6, 7, 1, 1]]):
        with pytest.raises(WorkerError, match=CHANGED):
            check_timed("toy", scored, [1], {"sequences": np.array(tokens)})


def test_timed_row_must_have_the_scored_values():
    check_timed("toy", evaluation(), [1], {"logits": np.array([[0.0, 1.0]])})
    with pytest.raises(WorkerError, match=f"{CHANGED}: logits of test row 1 differs by 1"):
        check_timed("toy", evaluation(), [1], {"logits": np.array([[1.0, 0.0]])})


@pytest.mark.parametrize(
    ("rows", "outputs"),
    [
        ([1], {}),
        ([1], {"other": np.zeros((1, 2))}),
        ([1], {"logits": np.zeros((0, 2))}),
        ([1], {"logits": np.array([[0.0, 1.0], [0.0, 1.0]])}),
        ([1], {"logits": np.array([[0.0, 1.0, 2.0]])}),
        ([1], {"logits": np.array(0.0)}),
        ([1], {"logits": np.array([[np.nan, 1.0]])}),
        ([0, 1], {}),
        ([0, 1], {"logits": np.zeros((1, 2))}),
        ([0, 1], {"logits": np.full((2, 2), np.nan)}),
    ],
    ids=str,
)
def test_timed_outputs_of_other_shapes_are_refused(rows, outputs):
    with pytest.raises(WorkerError, match=CHANGED):
        check_timed("toy", evaluation(), rows, outputs)
