"""Laws of intervals: what they contain, what leaves them as they are, and how often they hold the truth."""

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
from harness.stats.intervals import (
    drop_interval,
    median_interval,
    paired_difference,
    percentile_bound,
    rare_event_bound,
    bootstrap_interval,
    rows_needed,
    smallest_margin,
)

LAW = settings(max_examples=60)

numbers = st.floats(-1e6, 1e6)
samples = st.lists(numbers, min_size=1, max_size=80)
confidences = st.floats(0.5, 0.999)


@st.composite
def flips(draw, most=400):
    """(lost, gained, rows)."""
    rows = draw(st.integers(1, most))
    lost = draw(st.integers(0, rows))
    return lost, draw(st.integers(0, rows - lost)), rows


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-7)


# The median


@LAW
@given(samples, confidences)
def test_a_median_lies_in_its_interval(values, confidence):
    found = median_interval(values, confidence)
    assert np.median(values) == found.estimate
    assert found.low <= found.estimate <= found.high


@LAW
@given(samples)
def test_the_ends_of_a_median_interval_are_observed_values(values):
    found = median_interval(values)
    assert found.low in [*values, -math.inf]
    assert found.high in [*values, math.inf]


@LAW
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter_to_a_median(values, dice):
    assert median_interval(values) == median_interval(dice.sample(values, len(values)))


@LAW
@given(samples)
def test_a_median_interval_mirrors_with_its_values(values):
    found, mirrored = median_interval(values), median_interval([-value for value in values])
    assert (-found.high, -found.low) == (mirrored.low, mirrored.high)
    assert close(-found.estimate) == mirrored.estimate


@LAW
@given(samples, st.integers(-1000, 1000), st.integers(1, 1000))
def test_a_median_interval_moves_and_stretches_with_its_values(values, shift, scale):
    found = median_interval(values)
    moved = median_interval([scale * value + shift for value in values])
    for before, after in ((found.estimate, moved.estimate), (found.low, moved.low), (found.high, moved.high)):
        assert pytest.approx(scale * before + shift, rel=1e-9, abs=1e-6) == after


@LAW
@given(samples, confidences, confidences)
def test_more_confidence_never_narrows_a_median_interval(values, one, other):
    less, more = median_interval(values, min(one, other)), median_interval(values, max(one, other))
    assert more.low <= less.low
    assert less.high <= more.high


@LAW
@given(samples, st.data())
def test_a_greater_value_never_lowers_a_median_interval(values, data):
    at = data.draw(st.integers(0, len(values) - 1))
    raised = [*values[:at], values[at] + data.draw(st.floats(0, 1e6)), *values[at + 1 :]]
    before, after = median_interval(values), median_interval(raised)
    assert before.low <= after.low
    assert before.high <= after.high


def largest_k(count, tail):
    """The definition itself, in whole numbers: the largest k with P(Binomial(count, 1/2) < k) <= tail."""
    k, below = 0, Fraction(0)
    while below + Fraction(math.comb(count, k), 2**count) <= tail:
        below += Fraction(math.comb(count, k), 2**count)
        k += 1
    return k


@pytest.mark.parametrize("confidence", ["0.8", "0.9", "0.95", "0.99"])
def test_a_median_interval_takes_the_sign_tests_order_statistics(confidence):
    for count in range(1, 150):
        k = largest_k(count, (1 - Fraction(confidence)) / 2)
        found = median_interval(range(1, count + 1), float(confidence))
        assert (k or -math.inf, count + 1 - k if k else math.inf) == (found.low, found.high), count


def test_five_values_bound_a_median_at_93_75_percent():
    # Exactly 1 - 2/2^5, where the law's "at most" holds with equality.
    assert (median_interval(range(1, 6), 0.9375).low, median_interval(range(1, 6), 0.9375).high) == (1, 5)


def test_six_rounds_are_the_fewest_that_bound_a_median_at_95_percent():
    assert (-math.inf, math.inf) == (median_interval(range(5)).low, median_interval(range(5)).high)
    assert (median_interval(range(6)).low, median_interval(range(6)).high) == (0, 5)


def test_no_rounds_say_nothing_of_a_median():
    found = median_interval([])
    assert math.isnan(found.estimate)
    assert (-math.inf, math.inf) == (found.low, found.high)


def test_a_median_interval_holds_the_true_median_of_a_skewed_distribution():
    draws = np.random.default_rng(1).exponential(size=(1500, 25))
    held = sum(found.low <= math.log(2) <= found.high for found in map(median_interval, draws))
    # The sign test's own coverage at 25 values is 0.957; four standard errors around it.
    assert 0.936 < held / len(draws) < 0.978


# The paired difference


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
    found = paired_difference(lost, gained, rows, confidence=0.95)
    digits = 3 if rows == 21 else 4
    assert published == tuple(round(value, digits) for value in (found.estimate, found.low, found.high))


def score_statistic(lost, gained, rows, delta):
    """Tango's statistic with its nuisance parameter found by maximising the likelihood, not by his formula."""

    def unlikely(p_lost):
        cells = ((lost, p_lost), (gained, p_lost + delta), (rows - lost - gained, 1 - 2 * p_lost - delta))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

    bounds = max(0.0, -delta), (1 - delta) / 2
    p_lost = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - rows * delta) / math.sqrt(rows * (2 * p_lost + delta - delta**2))


@pytest.mark.parametrize(("lost", "gained", "rows"), [(7, 1, 21), (16, 6, 161), (3, 9, 820), (40, 20, 160), (1, 2, 44)])
def test_at_its_ends_the_score_test_just_rejects(lost, gained, rows):
    found = paired_difference(lost, gained, rows, confidence=0.95)
    assert pytest.approx(norm.ppf(0.975), abs=1e-3) == score_statistic(lost, gained, rows, found.low)
    assert pytest.approx(norm.ppf(0.025), abs=1e-3) == score_statistic(lost, gained, rows, found.high)


@LAW
@given(flips(), confidences)
def test_a_difference_lies_in_its_interval_and_both_within_one(counts, confidence):
    lost, gained, rows = counts
    found = paired_difference(lost, gained, rows, confidence)
    assert (gained - lost) / rows == found.estimate
    assert -1 <= found.low <= found.estimate <= found.high <= 1


@LAW
@given(flips())
def test_losing_mirrors_gaining(counts):
    lost, gained, rows = counts
    found, mirrored = paired_difference(lost, gained, rows), paired_difference(gained, lost, rows)
    assert (close(-found.high), close(-found.low)) == (mirrored.low, mirrored.high)


@LAW
@given(flips())
def test_another_lost_row_never_raises_a_difference(counts):
    lost, gained, rows = counts
    before, after = paired_difference(lost, gained, rows + 1), paired_difference(lost + 1, gained, rows + 1)
    assert after.estimate < before.estimate
    assert after.low <= before.low + 1e-9
    assert after.high <= before.high + 1e-9


@LAW
@given(flips(), confidences, confidences)
def test_more_confidence_never_narrows_a_difference(counts, one, other):
    less, more = paired_difference(*counts, min(one, other)), paired_difference(*counts, max(one, other))
    assert more.low <= less.low + 1e-9
    assert less.high <= more.high + 1e-9


@LAW
@given(flips(), st.integers(2, 10))
def test_the_same_shares_of_more_rows_are_surer(counts, times):
    lost, gained, rows = counts
    few, many = paired_difference(lost, gained, rows), paired_difference(times * lost, times * gained, times * rows)
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize("rows", [1, 20, 133, 408, 1000, 100_000])
def test_without_flips_the_interval_has_a_closed_form(rows):
    z2 = norm.ppf(0.95) ** 2
    found = paired_difference(0, 0, rows)
    assert (close(-z2 / (rows + z2)), 0, close(z2 / (rows + z2))) == (found.low, found.estimate, found.high)


@pytest.mark.parametrize("rows", [1, 20, 1000])
def test_everything_lost_leaves_nothing_below(rows):
    found = paired_difference(rows, 0, rows)
    assert (found.low, found.estimate) == (-1, -1)
    assert -1 < found.high < 1


@pytest.mark.parametrize(
    ("rows", "lost", "gained"), [(100, 0.01, 0.01), (300, 0.03, 0.01), (800, 0.01, 0.0), (800, 0.04, 0.04)]
)
def test_each_end_is_a_one_sided_95_percent_bound(rows, lost, gained):
    interval = cache(paired_difference)
    draws = np.random.default_rng(3).multinomial(rows, [lost, gained, 1 - lost - gained], size=4000)
    found = [interval(int(row[0]), int(row[1]), rows) for row in draws]
    truth = gained - lost
    above = sum(truth < one.low for one in found) / len(found)
    below = sum(one.high < truth for one in found) / len(found)
    # Asymptotic, so it may err by more where flips are few; never by twice as much.
    assert above < 0.08
    assert below < 0.08


# The percentile


@pytest.mark.parametrize(("share", "fewest"), [(0.90, 44), (0.95, 90), (0.99, 459)])
def test_a_percentile_has_a_bound_from_its_published_sample_size_on(share, fewest):
    assert percentile_bound(range(fewest - 1), share) is None
    assert fewest - 1 == percentile_bound(range(fewest), share)


@pytest.mark.parametrize("share", [0.9, 0.95, 0.99])
def test_no_samples_bound_no_percentile(share):
    assert percentile_bound([], share) is None


@LAW
@given(st.lists(numbers, min_size=44, max_size=500))
def test_the_bound_of_a_percentile_is_an_observed_value_not_below_it(values):
    bound = percentile_bound(values, 0.9)
    assert bound in values
    assert np.percentile(values, 90, method="inverted_cdf") <= bound


@LAW
@given(st.integers(0, 1000), st.integers(459, 700), *[st.sampled_from([0.9, 0.95, 0.99])] * 2)
def test_the_bound_of_a_higher_percentile_is_not_lower(seed, count, one, other):
    values = np.random.default_rng(seed).standard_cauchy(count)
    assert percentile_bound(values, min(one, other)) <= percentile_bound(values, max(one, other))
    assert percentile_bound(values, 0.9, min(one, other)) <= percentile_bound(values, 0.9, max(one, other))


@LAW
@given(st.lists(numbers, min_size=44, max_size=200), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter_to_a_percentile(values, dice):
    assert percentile_bound(values, 0.9) == percentile_bound(dice.sample(values, len(values)), 0.9)


@pytest.mark.parametrize(("share", "count"), [(0.9, 44), (0.9, 240), (0.95, 240), (0.99, 500)])
def test_the_bound_of_a_percentile_lies_above_it_99_times_in_100(share, count):
    draws = np.random.default_rng(4).exponential(size=(1500, count))
    above = sum(percentile_bound(row, share) >= -math.log(1 - share) for row in draws)
    assert above / len(draws) > 0.98


# Rows lost


def brute_force(lost, gained, rows, z):
    """Bounds of (gained - lost) / rows: where the score test, maximised numerically, changes its mind."""
    estimate = (gained - lost) / rows

    def end(low, high, rejects):
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if rejects(score_statistic(lost, gained, rows, middle)) else (low, middle)
        return low

    return end(-1 + 1e-9, estimate, lambda t: t > z), end(estimate, 1 - 1e-9, lambda t: t > -z)


@pytest.mark.parametrize(
    ("lost", "gained", "rows"),
    [(0, 1, 44), (1, 2, 44), (7, 1, 21), (3, 9, 820), (16, 6, 161), (2, 2, 133), (25, 5, 408)],
)
def test_tangos_interval_is_that_of_the_score_test_solved_from_scratch(lost, gained, rows):
    found = paired_difference(lost, gained, rows)
    low, high = brute_force(lost, gained, rows, norm.ppf(0.95))
    assert (pytest.approx(low, abs=2e-5), pytest.approx(high, abs=2e-5)) == (found.low, found.high)


@LAW
@given(flips())
def test_rows_lost_mirror_rows_gained(counts):
    lost, gained, rows = counts
    found, mirrored = drop_interval(lost, gained, rows), drop_interval(gained, lost, rows)
    assert (close(-found.high), close(-found.estimate), close(-found.low)) == (
        mirrored.low, mirrored.estimate, mirrored.high,
    )  # fmt: skip


@LAW
@given(flips())
def test_rows_lost_are_the_difference_the_other_way_round_and_never_narrower(counts):
    found, tango = drop_interval(*counts), paired_difference(*counts)
    assert close(-tango.estimate) == found.estimate
    assert found.low <= -tango.high + 1e-12
    assert -tango.low <= found.high + 1e-12


@LAW
@given(st.integers(0, 50), st.integers(50, 2000))
def test_where_nothing_was_gained_the_exact_bound_holds_too(lost, rows):
    assert drop_interval(lost, 0, rows).high >= rare_event_bound(lost, rows)
    assert drop_interval(0, lost, rows).low <= -rare_event_bound(lost, rows)


def test_no_flips_lose_nothing_and_the_zero_has_no_sign():
    found = drop_interval(0, 0, 100)
    assert "0.0" == str(found.estimate)
    assert -found.low == found.high == rare_event_bound(0, 100)


@pytest.mark.parametrize(("rows", "points"), [(133, 2.2), (408, 0.7), (1000, 0.3)])
def test_zero_flips_leave_room_for_the_published_loss(rows, points):
    assert points == round(100 * rare_event_bound(0, rows), 1) == round(100 * smallest_margin(0, rows), 1)


@pytest.mark.parametrize(("events", "rows"), [(0, 10), (1, 10), (3, 40), (9, 10)])
def test_a_rare_events_bound_is_the_share_at_which_so_few_are_seen_once_in_twenty(events, rows):
    share = rare_event_bound(events, rows)
    seen = sum(math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(events + 1))
    assert pytest.approx(0.05) == seen


def test_an_event_in_every_row_has_no_bound_but_one():
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
    known = smallest_margin(flipped, rows)
    assert known <= smallest_margin(flipped + 1, rows) + 1e-9
    assert smallest_margin(flipped, rows + 50) <= known + 1e-9
    assert known >= rare_event_bound(0, rows)


@pytest.mark.parametrize("rows", [133, 1000])
def test_the_margin_of_an_even_number_of_flips_is_what_these_flips_bound(rows):
    for each in range(8):
        assert drop_interval(each, each, rows).high == smallest_margin(2 * each, rows)


# Resampling


def counted(values):
    """Columns of which a mean is made: the values, and how many they are."""
    return np.stack([values, np.ones_like(values)], axis=1)


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def test_a_bootstrap_of_a_mean_finds_its_standard_error():
    values = np.random.default_rng(7).normal(3.0, 2.0, 400)
    found = bootstrap_interval(mean, [counted(values)])
    half = norm.ppf(0.95) * values.std() / 20
    assert np.mean(values) == found.estimate
    assert (pytest.approx(half, rel=0.1), pytest.approx(half, rel=0.1)) == (
        found.estimate - found.low, found.high - found.estimate,
    )  # fmt: skip


def test_a_bootstrap_draws_its_columns_together():
    column = counted(np.arange(50.0))
    found = bootstrap_interval(lambda one, other: mean(one) - mean(other), [column, column])
    assert (0.0, 0.0, 0.0) == (found.low, found.estimate, found.high)


def test_the_same_rows_give_the_same_bootstrap():
    values = counted(np.random.default_rng(8).normal(size=50))
    assert bootstrap_interval(mean, [values], 200) == bootstrap_interval(mean, [values], 200)
    assert bootstrap_interval(mean, [values], 200) != bootstrap_interval(mean, [values], 200, seed=1)


@pytest.fixture
def _fewer_resamples(monkeypatch):
    """Enough for laws that hold of every draw."""
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))


def labelled(rows=200, wrong=(), seed=9):
    """(own, other, truth): `other` has one row in ten wrong, `own` those of `wrong` as well."""
    truth = np.random.default_rng(seed).integers(0, 3, rows)
    other = np.where(np.arange(rows) % 10 == 0, (truth + 1) % 3, truth)
    own = other.copy()
    own[list(wrong)] = (truth[list(wrong)] + 2) % 3
    return own, other, truth


@pytest.mark.usefixtures("_fewer_resamples")
@pytest.mark.parametrize("metric", ["accuracy", "f1-macro"])
@pytest.mark.parametrize("wrong", [(), (1,), tuple(range(1, 9)), tuple(range(101, 190, 4))], ids=len)
def test_a_lost_score_is_never_surer_than_the_rows_lost(metric, wrong):
    own, other, truth = labelled(wrong=wrong)
    found = score_drop(metric, own, other, truth)
    lost = int(((other == truth) & (own != truth)).sum())
    gained = int(((other != truth) & (own == truth)).sum())
    counted = drop_interval(lost, gained, len(truth))
    assert found.low <= counted.low
    assert counted.high <= found.high
    estimate = score(metric, other.tolist(), truth.tolist()) - score(metric, own.tolist(), truth.tolist())
    assert pytest.approx(estimate) == found.estimate


def test_of_accuracy_the_bootstrap_bounds_are_near_the_counted_ones():
    own, other, truth = labelled(rows=600, wrong=range(1, 400, 8))
    lost = int(((other == truth) & (own != truth)).sum())
    found, counted = score_drop("accuracy", own, other, truth), drop_interval(lost, 0, 600)
    assert pytest.approx(counted.low, abs=0.01) == found.low
    assert pytest.approx(counted.high, abs=0.01) == found.high


@pytest.mark.usefixtures("_fewer_resamples")
def test_a_lost_score_mirrors_when_both_change_places():
    own, other, truth = labelled(wrong=range(1, 60, 7))
    there, back = score_drop("f1-macro", own, other, truth), score_drop("f1-macro", other, own, truth)
    assert pytest.approx(-there.estimate) == back.estimate
    assert (pytest.approx(-there.high, abs=1e-9), pytest.approx(-there.low, abs=1e-9)) == (back.low, back.high)
