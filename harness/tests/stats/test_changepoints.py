"""Laws of steps: what is told of a series of noise, how soon a change of level is found, and where."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from harness.stats.changepoints import AFTER, BEFORE, EVERY, largest, steps

LAW = settings(max_examples=100)
NOISE = 0.03
"""Standard deviation of logs."""


def noise(dice, n):
    return NOISE * dice.standard_normal(n)


def delays(before, change, trials, seed):
    """Points until a change of that factor is told, each after so many points without one; infinite of none in 30."""
    dice, found = np.random.default_rng(seed), []
    while len(found) < trials:
        values = noise(dice, before + 30)
        values[before:] += math.log(change)
        told = [step.detected - before + 1 for step in steps(values)]
        if not told or told[0] > 0:  # else it is a false step, which another law is about
            found.append(told[0] if told else math.inf)
    return np.array(found)


def test_a_thousand_points_of_noise_have_one_step_at_most():
    dice, series = np.random.default_rng(5), 60
    assert series * 1_000 / EVERY >= sum(len(steps(noise(dice, 1_000))) for _ in range(series))


@LAW
@given(st.lists(st.floats(-1, 1), min_size=20, max_size=80))
def test_only_the_order_of_values_counts_so_that_the_rate_holds_for_noise_of_any_distribution(values):
    rounded = np.round(values, 3)  # so that no tie comes or goes by stretching
    found, stretched = steps(rounded), steps(np.sinh(5 * rounded))
    assert [(one.at, one.detected) for one in found] == [(one.at, one.detected) for one in stretched]


def test_short_series_have_no_more():
    dice, series = np.random.default_rng(6), 1_000
    assert series * 40 / EVERY >= sum(len(steps(noise(dice, 40))) for _ in range(series))


def test_without_the_correction_for_searching_noise_is_full_of_steps():
    dice, once = np.random.default_rng(7), norm.isf(0.5 / EVERY)  # of one cut, known beforehand
    wrong = sum(largest(noise(dice, 50))[0] > once for _ in range(1_000))
    assert 5 * 1_000 / EVERY < wrong


@pytest.mark.parametrize(
    ("change", "before", "within"), [(1.05, 100, 14), (1.05, 50, 17), (1.05, 20, 30), (1.13, 20, 5), (1.11, 50, 5)]
)
def test_so_many_points_tell_a_step_19_times_in_20(change, before, within):
    assert 0.95 <= np.mean(delays(before, change, 200, seed=8) <= within)


def test_a_step_of_5_percent_cannot_be_found_19_times_in_20_within_5_points_at_so_few_false_alarms():
    size, alarms = math.log(1.05) / NOISE, 5 / EVERY  # 5 points have one false alarm 5 times in 1,000
    best = norm.cdf(size * math.sqrt(5) - norm.isf(alarms / 2))  # noise, old level, place and size known
    assert 0.797 == pytest.approx(best, abs=0.001)
    assert 0.856 == pytest.approx(norm.cdf(size * math.sqrt(5) - norm.isf(alarms)), abs=0.001)  # its direction, too
    found = np.mean(delays(100, 1.05, 200, seed=9) <= 5)
    assert 0.25 <= found <= best


def test_with_30_points_on_either_side_a_step_of_5_percent_is_placed_within_5_points_19_times_in_20():
    dice, trials, placed = np.random.default_rng(10), 400, 0
    for _ in range(trials):
        values = noise(dice, 60)
        values[30:] += math.log(1.05)
        placed += any(abs(one.at - 30) <= 5 for one in steps(values))
    assert 0.95 <= placed / trials


@LAW
@given(st.lists(st.floats(-1, 1), max_size=80))
@example([0.0] * 5 + [1.0] * 3 + [0.0] * 4)
def test_steps_lie_in_order_and_upside_down_they_are_as_large(values):
    found, turned = steps(values), steps(np.negative(values))
    places = [one.at for one in found]
    assert sorted(set(places)) == places
    assert all(BEFORE <= at < len(values) for at in places)
    assert all(one.at <= one.detected for one in found)
    assert [-one.change.estimate for one in turned] == pytest.approx([one.change.estimate for one in found])


def test_a_clear_step_and_the_way_back_are_found_where_they_are():
    dice = np.random.default_rng(3)
    values = noise(dice, 60)
    values[20:40] += 0.3
    up, down = steps(values)
    assert (20, 40) == (up.at, down.at)
    assert up.detected <= 25
    assert up.change.low < 0.3 < up.change.high
    assert down.change.low < -0.3 < down.change.high


def test_what_was_told_stays_told_as_points_come_in():
    dice = np.random.default_rng(4)
    values = noise(dice, 60)
    values[30:] += 0.2
    told = [tuple(step.detected for step in steps(values[:end])) for end in range(61)]
    assert [known for known in told if known] == [told[-1]] * (60 - told[-1][0])


@pytest.mark.parametrize("values", [[], [1.0], [0.5] * 50, [0.0, 1.0] * (BEFORE + AFTER - 5)])
def test_too_few_points_and_no_noise_at_all_are_no_step(values):
    assert [] == steps(values)


def test_strays_are_no_step():
    values = noise(np.random.default_rng(2), 40)
    values[20:22] += 3.0
    assert [] == steps(values)
