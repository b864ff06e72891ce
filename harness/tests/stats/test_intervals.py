"""Intervals: what they contain, what leaves them as they are, and how often they hold the truth."""

import math
from fractions import Fraction
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from harness.evaluation.score import score, score_drop
from harness.metrics import Metric
from harness.selftest.accuracy import beyond, chance, uncorrected_drop, within
from harness.stats.intervals import (
    bootstrap_interval,
    drop_interval,
    median_interval,
    paired_difference,
    percentile_bound,
    rare_event_bound,
    rows_needed,
    smallest_margin,
)

LAW = settings(max_examples=60)

numbers = st.floats(-1e6, 1e6)
samples = st.lists(numbers, min_size=1, max_size=80)
confidences = st.floats(0.5, 0.999)


@st.composite
def flips(draw, most=400):
    """Draw (lost, gained, rows)."""
    rows = draw(st.integers(1, most))
    lost = draw(st.integers(0, rows))
    return lost, draw(st.integers(0, rows - lost)), rows


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-7)


# Median


@LAW
@given(samples, confidences)
def test_median_lies_in_its_interval_of_observed_values(values, confidence):
    interval = median_interval(values, confidence)
    assert np.median(values) == interval.estimate
    assert interval.low <= interval.estimate <= interval.high
    assert interval.low in [*values, -math.inf]
    assert interval.high in [*values, math.inf]


@LAW
@given(samples, st.randoms(use_true_random=False))
def test_order_of_values_is_irrelevant_to_a_median(values, rng):
    assert median_interval(values) == median_interval(rng.sample(values, len(values)))


@LAW
@given(samples, st.integers(-1000, 1000), st.integers(1, 1000))
def test_median_interval_shifts_stretches_and_mirrors_with_its_values(values, shift, scale):
    interval, mirrored = median_interval(values), median_interval([-value for value in values])
    moved = median_interval([scale * value + shift for value in values])
    for before, after in ((interval.estimate, moved.estimate), (interval.low, moved.low), (interval.high, moved.high)):
        assert pytest.approx(scale * before + shift, rel=1e-9, abs=1e-6) == after
    assert (-interval.high, -interval.low) == (mirrored.low, mirrored.high)


@LAW
@given(samples, confidences, confidences)
def test_more_confidence_never_narrows_a_median_interval(values, one, other):
    less, more = median_interval(values, min(one, other)), median_interval(values, max(one, other))
    assert more.low <= less.low
    assert less.high <= more.high


@LAW
@given(samples, st.data())
def test_greater_value_never_lowers_a_median_interval(values, data):
    at = data.draw(st.integers(0, len(values) - 1))
    raised = [*values[:at], values[at] + data.draw(st.floats(0, 1e6)), *values[at + 1 :]]
    before, after = median_interval(values), median_interval(raised)
    assert before.low <= after.low
    assert before.high <= after.high


def largest_k(count, tail):
    """Return the largest k with P(Binomial(count, 1/2) < k) <= tail, by its definition in whole numbers."""
    k, below = 0, Fraction(0)
    while below + Fraction(math.comb(count, k), 2**count) <= tail:
        below += Fraction(math.comb(count, k), 2**count)
        k += 1
    return k


@pytest.mark.parametrize("confidence", ["0.8", "0.9", "0.95", "0.99"])
def test_median_interval_takes_the_sign_tests_order_statistics(confidence):
    for count in range(1, 150):
        k = largest_k(count, (1 - Fraction(confidence)) / 2)
        interval = median_interval(range(1, count + 1), float(confidence))
        assert (k or -math.inf, count + 1 - k if k else math.inf) == (interval.low, interval.high), count


def test_five_values_bound_a_median_below_95_percent():
    # Exactly 1 - 2/2^5, where the law's "at most" holds with equality; at 95 % it takes six values.
    cases = [(5, 0.9375, (0, 4)), (5, 0.95, (-math.inf, math.inf)), (6, 0.95, (0, 5)), (0, 0.95, (-math.inf, math.inf))]
    for count, confidence, bounds in cases:
        interval = median_interval(range(count), confidence)
        assert bounds == (interval.low, interval.high)
    assert math.isnan(median_interval([]).estimate)


def test_median_interval_holds_the_median_of_a_skewed_distribution():
    draws = np.random.default_rng(1).exponential(size=(1500, 25))
    held = sum(interval.low <= math.log(2) <= interval.high for interval in map(median_interval, draws))
    # The sign test's own coverage at 25 values is 0.957; four standard errors around it.
    assert 0.936 < held / len(draws) < 0.978


# Percentile


@pytest.mark.parametrize(("share", "fewest"), [(0.90, 44), (0.95, 90), (0.99, 459)])
def test_percentile_has_a_bound_from_its_published_sample_size(share, fewest):
    assert percentile_bound([], share) is None
    assert percentile_bound(range(fewest - 1), share) is None
    assert fewest - 1 == percentile_bound(range(fewest), share)


@LAW
@given(st.lists(numbers, min_size=44, max_size=500), st.randoms(use_true_random=False))
def test_percentile_bound_is_an_observed_value_not_below_it(values, rng):
    bound = percentile_bound(values, 0.9)
    assert bound in values
    assert np.percentile(values, 90, method="inverted_cdf") <= bound
    assert bound == percentile_bound(rng.sample(values, len(values)), 0.9)


@LAW
@given(st.integers(0, 1000), st.integers(459, 700), *[st.sampled_from([0.9, 0.95, 0.99])] * 2)
def test_bound_of_a_higher_percentile_is_not_lower(seed, count, one, other):
    values = np.random.default_rng(seed).standard_cauchy(count)
    assert percentile_bound(values, min(one, other)) <= percentile_bound(values, max(one, other))
    assert percentile_bound(values, 0.9, min(one, other)) <= percentile_bound(values, 0.9, max(one, other))


@pytest.mark.parametrize(("share", "count"), [(0.9, 44), (0.9, 240), (0.95, 240), (0.99, 500)])
def test_percentile_bound_lies_above_it_99_times_in_100(share, count):
    draws = np.random.default_rng(4).exponential(size=(1500, count))
    above = sum(percentile_bound(row, share) >= -math.log(1 - share) for row in draws)
    assert above / len(draws) > 0.98


# Paired difference


@pytest.mark.parametrize(
    ("lost", "gained", "rows", "published"),
    [
        # Airway hyper-responsiveness (Bentur 2009): Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014), 2850.
        (7, 1, 21, (-0.286, -0.517, -0.026)),
        # Complete response (Cavo 2012): Fagerland et al., Statistical Analysis of Contingency Tables, chapter 8.
        (16, 6, 161, (-0.0621, -0.1240, -0.0054)),
    ],
)
def test_tangos_interval_is_the_published_one(lost, gained, rows, published):
    interval = paired_difference(lost, gained, rows, confidence=0.95)
    digits = 3 if rows == 21 else 4
    assert published == tuple(round(value, digits) for value in (interval.estimate, interval.low, interval.high))


def score_statistic(lost, gained, rows, delta):
    """Return Tango's statistic, its nuisance parameter found by maximising the likelihood, not by his formula."""

    def unlikely(p_lost):
        cells = ((lost, p_lost), (gained, p_lost + delta), (rows - lost - gained, 1 - 2 * p_lost - delta))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

    bounds = max(0.0, -delta), (1 - delta) / 2
    p_lost = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - rows * delta) / math.sqrt(rows * (2 * p_lost + delta - delta**2))


@pytest.mark.parametrize(
    ("lost", "gained", "rows"),
    [(7, 1, 21), (16, 6, 161), (3, 9, 820), (40, 20, 160), (1, 2, 44), (0, 1, 44), (2, 2, 133), (25, 5, 408)],
)
def test_score_test_just_rejects_at_the_ends(lost, gained, rows):
    interval = paired_difference(lost, gained, rows)
    assert pytest.approx(norm.ppf(0.95), abs=1e-3) == score_statistic(lost, gained, rows, interval.low)
    assert pytest.approx(norm.ppf(0.05), abs=1e-3) == score_statistic(lost, gained, rows, interval.high)


@LAW
@given(flips(), confidences)
def test_difference_lies_in_its_interval(counts, confidence):
    lost, gained, rows = counts
    interval = paired_difference(lost, gained, rows, confidence)
    assert (gained - lost) / rows == interval.estimate
    assert -1 <= interval.low <= interval.estimate <= interval.high <= 1


@LAW
@given(flips(), confidences, confidences)
def test_more_confidence_never_narrows_a_difference(counts, one, other):
    less, more = paired_difference(*counts, min(one, other)), paired_difference(*counts, max(one, other))
    assert more.low <= less.low + 1e-9
    assert less.high <= more.high + 1e-9


@LAW
@given(flips(), st.integers(2, 10))
def test_same_shares_of_more_rows_narrow_a_difference(counts, factor):
    few, many = paired_difference(*counts), paired_difference(*(factor * count for count in counts))
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize("rows", [1, 20, 133, 408, 1000, 100_000])
def test_difference_has_a_closed_form_without_flips(rows):
    z2 = norm.ppf(0.95) ** 2
    interval = paired_difference(0, 0, rows)
    assert (close(-z2 / (rows + z2)), 0, close(z2 / (rows + z2))) == (interval.low, interval.estimate, interval.high)


@pytest.mark.parametrize("rows", [1, 20, 1000])
def test_all_rows_lost_is_the_lowest_difference(rows):
    interval = paired_difference(rows, 0, rows)
    assert (interval.low, interval.estimate) == (-1, -1)
    assert -1 < interval.high < 1


@pytest.mark.parametrize(
    ("rows", "lost", "gained"), [(100, 0.01, 0.01), (300, 0.03, 0.01), (800, 0.01, 0.0), (800, 0.04, 0.04)]
)
def test_each_end_of_a_difference_is_about_a_one_sided_95_percent_bound(rows, lost, gained):
    interval = cache(paired_difference)
    draws = np.random.default_rng(3).multinomial(rows, [lost, gained, 1 - lost - gained], size=4000)
    intervals = [interval(int(row[0]), int(row[1]), rows) for row in draws]
    truth = gained - lost
    # Asymptotic, so it may err by more where flips are few; never by twice as much.
    assert sum(truth < one.low for one in intervals) / len(intervals) < 0.08
    assert sum(one.high < truth for one in intervals) / len(intervals) < 0.08


# Drop


@LAW
@given(flips())
def test_drop_lies_between_its_bounds_and_mirrors_a_gain(counts):
    lost, gained, rows = counts
    interval, mirrored = drop_interval(lost, gained, rows), drop_interval(gained, lost, rows)
    assert -1 <= interval.low <= interval.estimate <= interval.high <= 1
    assert (close(-interval.high), close(-interval.estimate), close(-interval.low)) == (
        mirrored.low, mirrored.estimate, mirrored.high,
    )  # fmt: skip


@LAW
@given(flips())
def test_another_lost_row_never_lowers_a_drop(counts):
    lost, gained, rows = counts
    before, after = drop_interval(lost, gained, rows + 1), drop_interval(lost + 1, gained, rows + 1)
    assert before.low <= after.low + 1e-9
    assert before.high <= after.high + 1e-9


@LAW
@given(flips())
def test_drop_is_tangos_interval_widened_and_capped_by_the_exact_bounds(counts):
    lost, gained, rows = counts
    interval, tango = drop_interval(*counts), paired_difference(*counts)
    assert close(-tango.estimate) == interval.estimate
    assert interval.high <= rare_event_bound(lost, rows)
    assert interval.low >= -rare_event_bound(gained, rows)
    assert interval.high >= min(-tango.low, rare_event_bound(lost, rows)) - 1e-12


@LAW
@given(st.integers(0, 50), st.integers(50, 2000))
def test_drop_without_gains_has_the_exact_bound(lost, rows):
    assert drop_interval(lost, 0, rows).high >= rare_event_bound(lost, rows)
    assert drop_interval(0, lost, rows).low <= -rare_event_bound(lost, rows)


@pytest.mark.parametrize(("rows", "points"), [(1, 95), (133, 2.2), (408, 0.7), (1000, 0.3)])
def test_no_flips_leave_room_for_the_exact_bound(rows, points):
    interval = drop_interval(0, 0, rows)
    assert "0.0" == str(interval.estimate)  # without a sign
    assert pytest.approx(1 - 0.05 ** (1 / rows)) == -interval.low == interval.high == smallest_margin(0, rows)
    assert points == round(100 * rare_event_bound(0, rows), 1)


@pytest.mark.parametrize(("events", "rows"), [(0, 10), (1, 10), (3, 40), (9, 10)])
def test_rare_event_bound_is_exact_at_95_percent(events, rows):
    share = rare_event_bound(events, rows)
    seen = sum(math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(events + 1))
    assert pytest.approx(0.05) == seen


def test_event_in_every_row_is_bounded_by_one():
    assert (1.0, 1.0) == (rare_event_bound(5, 5), rare_event_bound(1, 1))


@LAW
@given(st.floats(1e-4, 0.9))
def test_rows_needed_are_the_fewest_that_exclude_the_margin(margin):
    rows = rows_needed(margin)
    assert rare_event_bound(0, rows) <= margin * (1 + 1e-9)
    assert rows == 1 or rare_event_bound(0, rows - 1) > margin


@LAW
@given(st.integers(0, 60), st.integers(60, 3000))
def test_more_flips_need_a_larger_margin_and_more_rows_a_smaller_one(flipped, rows):
    margin = smallest_margin(flipped, rows)
    assert margin <= smallest_margin(flipped + 1, rows) + 1e-9
    assert smallest_margin(flipped, rows + 50) <= margin + 1e-9
    assert margin >= rare_event_bound(0, rows)
    assert drop_interval(flipped, flipped, 2 * rows).high == smallest_margin(2 * flipped, 2 * rows)


@pytest.mark.parametrize("rule", [within, beyond])
def test_exact_chance_agrees_with_simulation(rule):
    rows, lost, gained, margin = 60, 0.05, 0.03, 0.02
    draws = np.random.default_rng(0).multinomial(rows, [lost, gained, 1 - lost - gained], size=20_000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    drawn = np.average([rule(drop_interval(int(a), int(b), rows), margin) for a, b in pairs], weights=counts)
    assert pytest.approx(drawn, abs=0.01) == chance(drop_interval, rule, rows, margin, lost, gained)


@pytest.mark.parametrize(("bounds", "errs"), [(drop_interval, False), (uncorrected_drop, True)])
def test_only_the_uncorrected_bound_errs_more_than_5_times_in_100(bounds, errs):
    assert errs == (chance(bounds, beyond, 300, 0.01, 0.0125, 0.0025) > 0.05)


# Bootstrap


def counted(values):
    """Return the columns of a mean: the values, and their number."""
    return np.stack([values, np.ones_like(values)], axis=1)


def mean(values):
    """Return the function from weights of the rows to their mean."""
    return lambda weights: np.divide(*np.moveaxis(weights @ counted(values), -1, 0))


def test_bootstrap_of_a_mean_has_its_standard_error():
    values = np.random.default_rng(7).normal(3.0, 2.0, 400)
    interval = bootstrap_interval(mean(values), len(values))
    half = norm.ppf(0.95) * values.std() / 20
    assert pytest.approx(np.mean(values), abs=1e-12) == interval.estimate
    assert (pytest.approx(half, rel=0.1), pytest.approx(half, rel=0.1)) == (
        interval.estimate - interval.low, interval.high - interval.estimate,
    )  # fmt: skip


def test_bootstrap_draws_its_columns_together():
    score = mean(np.arange(50.0))
    interval = bootstrap_interval(lambda weights: score(weights) - score(weights), 50)
    assert (0.0, 0.0, 0.0) == (interval.low, interval.estimate, interval.high)


def test_bootstrap_depends_only_on_its_seed():
    score = mean(np.random.default_rng(8).normal(size=50))
    assert bootstrap_interval(score, 50, 200) == bootstrap_interval(score, 50, 200)
    assert bootstrap_interval(score, 50, 200) != bootstrap_interval(score, 50, 200, seed=1)


@pytest.fixture
def _fewer_resamples(monkeypatch):
    """Draw as few as laws need that hold of every draw."""
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))


def labelled(rows=200, wrong=(), seed=9):
    """Return (own, other, truth): `other` has one row in ten wrong, `own` those of `wrong` as well."""
    truth = np.random.default_rng(seed).integers(0, 3, rows)
    other = np.where(np.arange(rows) % 10 == 0, (truth + 1) % 3, truth)
    own = other.copy()
    own[list(wrong)] = (truth[list(wrong)] + 2) % 3
    return own, other, truth


@pytest.mark.usefixtures("_fewer_resamples")
@pytest.mark.parametrize("metric", ["accuracy", "f1-macro"])
@pytest.mark.parametrize("wrong", [(), (1,), tuple(range(1, 9)), tuple(range(101, 190, 4))], ids=len)
def test_bootstrap_drop_is_never_narrower_than_the_counted_one(metric, wrong):
    own, other, truth = labelled(wrong=wrong)
    drop = score_drop(Metric(metric), own, other, truth)
    lost = int(((other == truth) & (own != truth)).sum())
    gained = int(((other != truth) & (own == truth)).sum())
    rows_dropped = drop_interval(lost, gained, len(truth))
    assert drop.low <= rows_dropped.low
    assert rows_dropped.high <= drop.high
    estimate = score(Metric(metric), other.tolist(), truth.tolist()) - score(
        Metric(metric), own.tolist(), truth.tolist()
    )
    assert pytest.approx(estimate) == drop.estimate


def test_bootstrap_of_accuracy_is_near_the_counted_bounds():
    own, other, truth = labelled(rows=600, wrong=range(1, 400, 8))
    lost = int(((other == truth) & (own != truth)).sum())
    drop, rows_dropped = score_drop(Metric("accuracy"), own, other, truth), drop_interval(lost, 0, 600)
    assert pytest.approx(rows_dropped.low, abs=0.01) == drop.low
    assert pytest.approx(rows_dropped.high, abs=0.01) == drop.high


@pytest.mark.usefixtures("_fewer_resamples")
def test_score_drop_mirrors_when_backends_swap():
    own, other, truth = labelled(wrong=range(1, 60, 7))
    there, back = score_drop(Metric("f1-macro"), own, other, truth), score_drop(Metric("f1-macro"), other, own, truth)
    assert pytest.approx(-there.estimate) == back.estimate
    assert (pytest.approx(-there.high, abs=1e-9), pytest.approx(-there.low, abs=1e-9)) == (back.low, back.high)
