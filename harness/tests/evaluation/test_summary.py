"""Counts of lost and gained rows, and bounds of scores and drops."""

from functools import partial

import pytest
from answers import evaluation, images
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation.summary import compare_answers
from harness.stats.intervals import bootstrap_interval

LAW = settings(max_examples=80)
LABELLED = st.integers(1, 60).flatmap(
    lambda rows: st.tuples(*[st.lists(st.integers(0, 2), min_size=rows, max_size=rows)] * 4)
)


def of(predictions, labels):
    """The evaluation of a backend with these predictions."""
    correct = sum(own == label for own, label in zip(predictions, labels, strict=True))
    return evaluation(predictions=predictions, score=correct / len(labels))


def summary(own, reference, source, labels, metric="accuracy"):
    evaluations = [of(predictions, labels) for predictions in (own, reference, source)]
    return compare_answers(*evaluations, "onnxruntime", images(labels=labels), metric)


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


def test_source_has_counts_of_its_own():
    found = summary([0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 2], [0, 0, 0, 0, 1])
    assert (3, 0, 0.4) == (found.lost, found.gained, found.agreement)
    assert (1, 0, 0.6) == (found.source_lost, found.source_gained, found.source_agreement)


def test_metric_that_is_not_a_share_of_rows_has_bounds(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))
    labels = [0, 1] * 30
    own = of([0, 1] * 28 + [1, 0] * 2, labels)
    reference = of(labels, labels)
    found = compare_answers(own, reference, own, "onnxruntime", images(labels=labels), "f1-macro")
    assert found.drop_bounds.low < reference.score - own.score < found.drop_bounds.high
    assert found.source_drop_bounds.low < 0 < found.source_drop_bounds.high
    assert found.score_bounds.low < own.score < found.score_bounds.high
    exact = compare_answers(own, reference, own, "onnxruntime", images(labels=labels), "accuracy")
    assert (None, None) == (exact.drop_bounds, exact.score_bounds)


@pytest.mark.parametrize("undefined", ["own", "reference", "source"])
def test_undefined_score_has_no_bounds(undefined):
    labels = [0, 1, 1, 0]
    evaluations = {name: of(labels, labels) for name in ("own", "reference", "source")}
    evaluations[undefined] = evaluation(predictions=labels, score=None)
    found = compare_answers(*evaluations.values(), "onnxruntime", images(labels=labels), "f1-macro")
    scores = {"own": found.score, "reference": found.reference_score, "source": found.source_score}
    assert [undefined] == [name for name, score in scores.items() if score is None]
    assert (undefined in ("own", "reference")) == (found.drop_bounds is None)
    assert (undefined in ("own", "source")) == (found.source_drop_bounds is None)
    assert (undefined == "own") == (found.score_bounds is None)


def test_different_numbers_of_rows_are_never_compared():
    with pytest.raises(ValueError, match="zip"):
        compare_answers(*[evaluation(predictions=[0, 1])] * 3, "pytorch", images(labels=[0, 1, 1]), "accuracy")
