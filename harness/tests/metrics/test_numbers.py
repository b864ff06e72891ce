"""Metrics of numbers: equal to SciPy's and scikit-learn's, undefined without variance, with intervals that hold."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from harness.evaluation.score import correct_rows, score, score_drop, score_interval, unseen_change
from harness.metrics import METRICS, Metric, in_points, less_is_better

INPUTS = 1_000
NUMBERS = ("pearson", "spearman", "mae", "rmse", "r2")


def drawn(seed):
    """Return truths and predictions: of any scale and offset, with ties, and some of either constant."""
    rng = np.random.default_rng(seed)
    rows, scale, digits = int(rng.integers(1, 60)), 10.0 ** rng.integers(-6, 7), int(rng.integers(0, 5))
    truths = np.round(rng.normal(rng.normal(0, 20), rng.integers(0, 4), rows), digits)
    noise = np.round(rng.normal(0, 1, rows), digits) * rng.integers(0, 3)
    return truths * scale, (truths * rng.choice([-1, 0, 1, 1]) + noise) * scale, scale


def correlation(measure):
    def of(truths, predictions):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constant columns
            return measure(predictions, truths).statistic if len(truths) > 1 else math.nan

    return of


def r2(truths, predictions):
    return sklearn_metrics.r2_score(truths, predictions) if len({*truths}) > 1 else math.nan


LIBRARY = {
    "pearson": correlation(stats.pearsonr),
    "spearman": correlation(stats.spearmanr),
    "mae": sklearn_metrics.mean_absolute_error,
    "rmse": sklearn_metrics.root_mean_squared_error,
    "r2": r2,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_scores_equal_the_libraries(name):
    metric = Metric(name).load()
    for seed in range(INPUTS):
        truths, predictions, scale = drawn(seed)
        size = scale if less_is_better(name) else 1.0
        expected = LIBRARY[name](truths, predictions) / size
        own = metric._compute(list(predictions), list(truths))[name] / size
        assert pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True) == own, seed


@pytest.mark.parametrize("name", NUMBERS)
def test_score_passes_through_evaluate(name):
    truths, predictions = [1.0, 2.0, 4.0, 4.0], [1.5, 1.0, 3.0, 5.0]
    assert pytest.approx(LIBRARY[name](np.array(truths), np.array(predictions))) == score(
        Metric(name), predictions, truths
    )


@pytest.mark.parametrize(("name", "undefined"), [("pearson", True), ("spearman", True), ("r2", False), ("mae", False)])
def test_correlation_with_a_constant_is_undefined(name, undefined):
    assert undefined == math.isnan(score(Metric(name), [0.1] * 7, [float(n) for n in range(7)]))


@pytest.mark.parametrize("name", NUMBERS)
def test_weighted_rows_score_as_repeated_ones(name):
    truths, predictions, _ = drawn(5)
    weights = np.random.default_rng(3).integers(0, 4, (2, len(truths)))
    weighted = Metric(name).load().weigh(list(predictions), list(truths))(weights.astype(float))
    repeated = [LIBRARY[name](np.repeat(truths, one), np.repeat(predictions, one)) for one in weights]
    assert pytest.approx(repeated, rel=1e-9) == weighted.tolist()


@pytest.mark.parametrize("name", ["pearson", "spearman", "r2"])
def test_resamples_without_variance_explain_nothing(name):
    weigh = Metric(name).load().weigh([0.1, 0.2, 0.3], [0.1, 0.7, 0.3])
    assert [0.0, 0.0] == weigh(np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]])).tolist()


def rows(count, noise, seed=0):
    """Return truths from 0 to 5 and predictions that miss them by so much."""
    rng = np.random.default_rng(seed)
    truths = rng.uniform(0, 5, count)
    return (truths + rng.normal(0, noise, count)).tolist(), truths.tolist()


@pytest.mark.parametrize("name", NUMBERS)
def test_drop_is_positive_where_answers_are_worse(name):
    (own, truths), (other, _) = rows(300, 1.0), rows(300, 0.1)
    drop = score_drop(Metric(name), own, other, truths)
    sign = -1 if less_is_better(name) else 1
    difference = sign * (score(Metric(name), other, truths) - score(Metric(name), own, truths))
    assert pytest.approx(difference, abs=1e-12) == drop.estimate
    assert 0 < drop.estimate
    assert drop.low < drop.estimate < drop.high
    back = score_drop(Metric(name), other, own, truths)
    assert (pytest.approx(-drop.high), pytest.approx(-drop.low)) == (back.low, back.high)


@pytest.mark.parametrize("name", NUMBERS)
def test_equal_answers_leave_room_for_unseen_changes(name):
    own, truths = rows(300, 0.5)
    drop = score_drop(Metric(name), own, own, truths)
    assert 0.0 == drop.estimate
    assert 0 < drop.high == -drop.low


def test_unseen_change_of_an_error_is_the_range_times_the_share():
    own, truths = rows(100, 0.0)
    assert pytest.approx(0.03 * (max(truths) - min(truths))) == unseen_change(Metric("mae"), own, truths, 0.03)


@pytest.mark.parametrize("name", NUMBERS)
def test_score_interval_holds_the_score_and_possible_values(name):
    own, truths = rows(30, 0.5)
    interval, entry = score_interval(Metric(name), own, truths), METRICS[name]
    assert entry.low <= interval.low < interval.estimate < interval.high <= entry.high


def test_score_interval_of_a_correlation_covers_the_truth():
    rng, covered = np.random.default_rng(1), 0
    for _ in range(100):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 150).T
        interval = score_interval(Metric("pearson"), x.tolist(), y.tolist())
        covered += interval.low <= 0.8 <= interval.high
    assert covered >= 90


def test_rows_are_compared_to_three_digits():
    assert [True, False] == correct_rows(Metric("mae"), [1.0001, 1.1], [1.0, 1.0]).tolist()


def test_metrics_that_may_exceed_1_have_units_of_their_own():
    assert {*NUMBERS, "wer", "cer", "perplexity"} == {name for name in METRICS if not in_points(name)}
    assert {"mae", "rmse", "wer", "cer", "perplexity"} == {name for name in METRICS if less_is_better(name)}


@pytest.mark.parametrize(("name", "best"), [("mae", 0.1), ("pearson", 0.3)])
def test_best_score_follows_the_direction(name, best):
    metric = Metric(name)
    assert [best] == [one for one in (0.1, 0.2, 0.3) if metric.is_best(one, {0.1, 0.2, 0.3, math.nan} - {one})]
    assert not metric.is_best(math.nan, [])
