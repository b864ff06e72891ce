"""Metrics of rows with several labels: equal to scikit-learn's on random rows, empty sets included."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from harness.evaluation.score import correct_rows, score, score_drop
from harness.metrics import Metric

INPUTS = 1_000


def indices(flags):
    return [np.flatnonzero(row).tolist() for row in flags]


def drawn(seed):
    """Return flags of truths and predictions; some columns are empty, and so are many rows."""
    rng = np.random.default_rng(seed)
    rows, labels = int(rng.integers(1, 40)), int(rng.integers(1, 7))
    frequency = rng.random(labels) * rng.integers(0, 2, labels)
    truths = rng.random((rows, labels)) < frequency
    flipped = rng.random((rows, labels)) < rng.choice([0.0, 0.1, 0.5])
    return truths, (truths ^ flipped) & (rng.random(labels) < 0.9)


def own_score(name, predictions, truths):
    """The score without the detour over evaluate, which takes milliseconds."""
    metric = Metric(name).load()
    return float(metric.score_sums(metric.statistics(indices(predictions), indices(truths)).sum(axis=0)))


def used_labels_f1(truths, predictions):
    f1 = sklearn_metrics.f1_score(truths, predictions, average="macro", zero_division=np.nan)
    return 0.0 if np.isnan(f1) else f1


LIBRARY = {
    "f1-micro": lambda *rows: sklearn_metrics.f1_score(*rows, average="micro", zero_division=0),
    "f1-macro": used_labels_f1,
    "subset-accuracy": sklearn_metrics.accuracy_score,
}


@pytest.mark.parametrize("name", LIBRARY)
def test_scores_equal_scikit_learns(name):
    for seed in range(INPUTS):
        truths, predictions = drawn(seed)
        if truths.shape[1] > 1:  # scikit-learn reads one column as one label a row
            assert pytest.approx(LIBRARY[name](truths, predictions), abs=1e-9) == own_score(name, predictions, truths)


@pytest.mark.parametrize(("name", "expected"), [("f1-micro", 0.5), ("f1-macro", 0.5), ("subset-accuracy", 1 / 3)])
def test_score_passes_through_evaluate(name, expected):
    truths, predictions = [[0, 1], [], [2]], [[0], [], [1, 2]]
    expected = {"f1-micro": 2 / 3, "f1-macro": 2 / 3}.get(name, expected)
    assert pytest.approx(expected) == score(Metric(name), predictions, truths)


def test_labels_that_no_row_has_count_as_wrong():
    assert pytest.approx(2 * 1 / (2 + 1)) == score(Metric("f1-micro"), [[-1, 0]], [[0]])
    assert 0.0 == score(Metric("subset-accuracy"), [[-1, 0]], [[0]])


def test_order_of_labels_does_not_matter():
    assert [True, False] == correct_rows(Metric("subset-accuracy"), [[2, 0], [2]], [[0, 2], [0, 2]]).tolist()


def test_macro_f1_of_several_labels_allows_for_unseen_changes():
    truths = [[0, 1], [1]] * 50
    drop = score_drop(Metric("f1-macro"), truths, [[0], [1]] * 50, truths)
    assert drop.low < drop.estimate < 0
    assert drop.high - drop.estimate > 0.029  # three in a hundred
