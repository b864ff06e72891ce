"""Parity of exports, timed outputs against scored ones, counts of lost and gained rows, and bounds of drops."""

from functools import partial

import numpy as np
import pytest
from answers import evaluation, generated, images, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.kind import NO_LABEL, EncodedRows
from harness.contracts.tolerance import ATOL, ELEMENTWISE, RTOL, SCALE_RTOL
from harness.data.inputs import Inputs
from harness.errors import HarnessError, WorkerError
from harness.evaluation.answers import (
    check_parity,
    check_timed,
    compare_answers,
    find_constant,
    label_rows,
    largest_difference,
)
from harness.evaluation.predictions import Evaluation
from harness.kinds import text_classification, token_classification, translation
from harness.metrics import Metric
from harness.results.schema import LabelRows
from harness.stats.intervals import bootstrap_interval

LAW = settings(max_examples=80)
LABELLED = st.integers(1, 60).flatmap(
    lambda rows: st.tuples(*[st.lists(st.integers(0, 2), min_size=rows, max_size=rows)] * 4)
)
REFUSED = "the export does not answer as pytorch does"
CHANGED = "toy: timed outputs differ from the scored ones"


def check(own, source, rows=2):
    check_parity(own, source, "pytorch", texts([96] * rows))


def test_equal_outputs_are_at_parity():
    check(evaluation(), evaluation())


@LAW
@given(st.floats(-100, 100), st.floats(-2, 2), st.sampled_from(["single", "padded"]))
def test_tolerance_is_absolute_plus_relative(value, share, place):
    logits = np.array([[value, 0.0], [0.0, 1.0]])
    other = logits + np.array([[share * (ATOL + (RTOL + SCALE_RTOL) * abs(value)), 0.0], [0.0, 0.0]])
    own, source = evaluation(**{place: other}), evaluation(**{place: logits})
    if abs(share) < 0.98:
        check(own, source)
    elif abs(share) > 1.02:
        with pytest.raises(HarnessError, match=REFUSED):
            check(own, source)


def test_logits_in_the_thousands_may_differ_where_they_nearly_cancel():
    large = np.array([[4321.0, -3210.0], [0.02, -0.03]])
    noise = np.array([[0.05, 0.03], [0.013, -0.012]])
    check(evaluation(large + noise, large + noise), evaluation(large, large))
    with pytest.raises(HarnessError, match=REFUSED):
        check(evaluation(large + 100 * noise, large), evaluation(large, large))


def test_masked_logits_do_not_widen_the_tolerance():
    masked = np.array([[-1e30, 2.0], [-1e30, -3.0]])
    with pytest.raises(HarnessError, match=REFUSED):
        check(evaluation(masked + np.array([0.0, 0.1]), masked), evaluation(masked, masked))


def test_refusal_names_size_and_row_of_the_difference():
    source, own = np.zeros((20, 2)), np.zeros((20, 2))
    own[4], own[7] = 0.25, 0.5
    message = (
        rf"{REFUSED}: logits differs by up to 0\.5 \(allowed 0\.001 \+ 0\.001 of the value \+ 0\.0001 of the output's "
        r"largest\), worst at test row 7 alone; 2 of 20 rows differ"
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


# Rows lost and gained


def of(predictions, labels):
    """The evaluation of a backend with these predictions."""
    correct = sum(own == label for own, label in zip(predictions, labels, strict=True))
    return evaluation(predictions=predictions, score=correct / len(labels))


def summary(own, reference, source, labels, metric="accuracy"):
    evaluations = [of(predictions, labels) for predictions in (own, reference, source)]
    return compare_answers(*evaluations, "onnxruntime", images(labels=labels), Metric(metric))


@LAW
@given(LABELLED)
def test_gained_less_lost_is_the_difference_in_score(rows):
    own, reference, source, labels = rows
    found = summary(own, reference, source, labels)
    assert pytest.approx((found.gained - found.lost) / len(labels)) == found.score - found.reference_score
    assert 0 <= found.lost + found.gained <= round((1 - found.agreement) * len(labels))
    assert (len(labels), "onnxruntime") == (found.rows, found.compared_with)
    back = summary(reference, own, source, labels)
    assert (found.lost, found.gained, found.agreement) == (back.gained, back.lost, back.agreement)


@LAW
@given(LABELLED)
def test_backend_loses_nothing_against_itself(rows):
    own, _, _, labels = rows
    found = summary(own, own, own, labels)
    assert (0, 0, 1.0) == (found.lost, found.gained, found.agreement)
    assert (0, 0, 1.0) == (found.source_lost, found.source_gained, found.source_agreement)
    assert 0.0 == found.largest_difference
    correct = [prediction == label for prediction, label in zip(own, labels, strict=True)]
    assert correct == [flag == "1" for flag in found.correct]


def test_flips_against_the_source_are_counted_separately():
    found = summary([0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 2], [0, 0, 0, 0, 1])
    assert (3, 0, 0.4) == (found.lost, found.gained, found.agreement)
    assert (1, 0, 0.6) == (found.source_lost, found.source_gained, found.source_agreement)


def test_metric_that_is_not_a_share_of_rows_has_bounds(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))
    labels = [0, 1] * 30
    own = of([0, 1] * 28 + [1, 0] * 2, labels)
    reference = of(labels, labels)
    found = compare_answers(own, reference, own, "onnxruntime", images(labels=labels), Metric("f1-macro"))
    assert found.drop_bounds.low < reference.score - own.score < found.drop_bounds.high
    assert found.source_drop_bounds.low < 0 < found.source_drop_bounds.high
    assert found.score_bounds.low < own.score < found.score_bounds.high
    exact = compare_answers(own, reference, own, "onnxruntime", images(labels=labels), Metric("accuracy"))
    assert (None, None) == (exact.drop_bounds, exact.score_bounds)


@pytest.mark.parametrize("undefined", ["own", "reference", "source"])
def test_undefined_score_has_no_bounds(undefined):
    labels = [0, 1, 1, 0]
    evaluations = {name: of(labels, labels) for name in ("own", "reference", "source")}
    evaluations[undefined] = evaluation(predictions=labels, score=None)
    found = compare_answers(*evaluations.values(), "onnxruntime", images(labels=labels), Metric("f1-macro"))
    scores = {"own": found.score, "reference": found.reference_score, "source": found.source_score}
    assert [undefined] == [name for name, score in scores.items() if score is None]
    assert (undefined in ("own", "reference")) == (found.drop_bounds is None)
    assert (undefined in ("own", "source")) == (found.source_drop_bounds is None)
    assert (undefined == "own") == (found.score_bounds is None)


def test_different_numbers_of_rows_are_never_compared():
    with pytest.raises(ValueError, match="zip"):
        compare_answers(*[evaluation(predictions=[0, 1])] * 3, "pytorch", images(labels=[0, 1, 1]), Metric("accuracy"))


# Labels and constant answers


def named(kind, truths, names, *predictions):
    """Rows with these labels, and the evaluations of backends with these predictions."""
    rows = [{"label": truth, "text": [""] * len(truth) if isinstance(truth, list) else ""} for truth in truths]
    inputs = Inputs(kind, EncodedRows(None, rows, ("text",), [[{}]] * len(rows)), names)
    single = [{"logits": np.zeros((1, 2))}] * len(rows)
    return *(Evaluation(single, [], list(each), 0.0, {}) for each in predictions), inputs


def test_rows_are_counted_by_label():
    predictions = [1, 1, 0, 1, -1], [0, 0, 2, 1, 0]
    rows = named(text_classification, [0, 0, 0, 1, 1], ("fault", "normal", "odd"), *predictions)
    assert [
        LabelRows(label=NO_LABEL, rows=0, correct=0, lost=0, gained=0, answered=1, reference_answered=0),
        LabelRows(label="fault", rows=3, correct=2, lost=2, gained=1, answered=1, reference_answered=3),
        LabelRows(label="normal", rows=2, correct=1, lost=0, gained=0, answered=3, reference_answered=1),
        LabelRows(label="odd", rows=0, correct=0, lost=0, gained=0, answered=0, reference_answered=1),
    ] == list(label_rows(*rows, Metric("accuracy")))


def test_words_of_a_row_share_its_weight():
    own, reference = [["O", "O", "O"], ["O", "PER"]], [["PER", "O", "PER"], ["O", "O"]]
    rows = named(token_classification, [[1, 0, 1], [0, 1]], ("O", "PER"), own, reference)
    outside, person = label_rows(*rows, Metric("word-accuracy"))
    assert (2, 2, 0, 0, 4, 3) == tuple(vars(outside).values())[1:]
    assert (2, 1, 1, 1, 1, 2) == tuple(vars(person).values())[1:]
    half = [["PER", "O", "O"], ["O", "PER"]], [["PER", "O", "PER"], ["O", "PER"]]
    _, person = label_rows(
        *named(token_classification, [[1, 0, 1], [0, 1]], ("O", "PER"), *half), Metric("word-accuracy")
    )
    assert (2, 0.5, 0) == (person.rows, person.lost, person.gained)


@settings(max_examples=60)
@given(LABELLED)
def test_rows_of_all_labels_add_up(columns):
    truths, own, reference, _ = columns
    rows = named(text_classification, truths, ("a", "b", "c"), own, reference)
    counted = compare_answers(rows[0], rows[1], rows[1], "pytorch", rows[2], Metric("accuracy"))
    for name in ("rows", "lost", "gained"):
        assert getattr(counted, name) == sum(getattr(label, name) for label in counted.labels)


@pytest.mark.parametrize(
    ("outputs", "constant"),
    [
        ([[[0.3, 0.7]], [[0.3, 0.7]]], "output"),
        ([[[3000.0, 0.0]], [[3000.001, 0.002]]], "output"),
        ([[[0.3, 0.7]], [[0.3, 0.69]]], ""),
        ([[[0.0, 0.0, 0.0]], [[0.0, 0.0]]], "output"),
        ([[[1.0, 0.0, 0.0]], [[1.0, 0.0]]], ""),
        ([[[70001, 5]], [[70002, 5]]], ""),
        ([[], []], ""),
    ],
)
def test_constant_outputs_are_recognised(outputs, constant):
    single = [{"logits": np.array(row)} for row in outputs]
    evaluation = Evaluation(single, [], [0, 1], 0.5, {})
    assert constant == find_constant(evaluation, named(text_classification, [0, 1], ("a", "b"))[-1])
    assert "" == find_constant(evaluation, named(text_classification, [1, 1], ("a", "b"))[-1])


def test_texts_that_are_all_the_same_are_recognised():
    single = [{"sequences": np.array([row])} for row in ([0, 5, 1], [0, 5, 1, 1])]
    rows = [{"label": label} for label in ("ein Hund", "eine Katze")]
    inputs = Inputs(translation, EncodedRows(None, rows, ("text",), [[{}]] * 2))
    assert "answer" == find_constant(Evaluation(single, [], ["a dog"] * 2, 0.5, {}), inputs)
    assert "" == find_constant(Evaluation(single, [], ["a dog", "a cat"], 0.5, {}), inputs)
