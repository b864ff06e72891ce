"""Change points: false alarms on noise, how soon a step is detected, and where."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from harness.stats.changepoints import AFTER, BEFORE, EVERY, largest_t, steps

LAW = settings(max_examples=100)
NOISE = 0.03
"""Standard deviation of logs."""


def noise(rng, n):
    return NOISE * rng.standard_normal(n)


def delays(before, change, trials, seed):
    """Return the points until a change of that factor, after `before` points, is detected; infinite after 30."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < trials:
        values = noise(rng, before + 30)
        values[before:] += math.log(change)
        detected = [step.detected - before + 1 for step in steps(values)]
        if not detected or detected[0] > 0:  # else a false step, which another test is about
            found.append(detected[0] if detected else math.inf)
    return np.array(found)


@pytest.mark.parametrize(("series", "points", "seed"), [(60, 1_000, 5), (1_000, 40, 6)], ids=["long", "short"])
def test_noise_has_one_false_alarm_in_a_thousand_points_at_most(series, points, seed):
    rng = np.random.default_rng(seed)
    assert series * points / EVERY >= sum(len(steps(noise(rng, points))) for _ in range(series))


def test_noise_is_full_of_steps_without_the_correction_for_searching():
    rng, single_cut = np.random.default_rng(7), norm.isf(0.5 / EVERY)
    wrong = sum(largest_t(noise(rng, 50))[0] > single_cut for _ in range(1_000))
    assert 5 * 1_000 / EVERY < wrong


@LAW
@given(st.lists(st.floats(-1, 1), min_size=20, max_size=80))
def test_only_the_order_of_values_counts(values):
    rounded = np.round(values, 3)  # so that stretching neither makes nor breaks a tie
    places = [[(step.at, step.detected) for step in steps(series)] for series in (rounded, np.sinh(5 * rounded))]
    assert places[0] == places[1]


@pytest.mark.parametrize(
    ("change", "before", "within"), [(1.05, 100, 14), (1.05, 50, 17), (1.05, 20, 30), (1.13, 20, 5), (1.11, 50, 5)]
)
def test_step_is_detected_within_so_many_points_19_times_in_20(change, before, within):
    assert 0.95 <= np.mean(delays(before, change, 200, seed=8) <= within)


def test_no_test_could_detect_5_percent_within_5_points_19_times_in_20():
    size, alarms = math.log(1.05) / NOISE, 5 / EVERY  # 5 points have one false alarm 5 times in 1,000
    best = norm.cdf(size * math.sqrt(5) - norm.isf(alarms / 2))  # noise, old level, place and size known
    assert 0.797 == pytest.approx(best, abs=0.001)
    assert 0.856 == pytest.approx(norm.cdf(size * math.sqrt(5) - norm.isf(alarms)), abs=0.001)  # its direction, too
    assert 0.25 <= np.mean(delays(100, 1.05, 200, seed=9) <= 5) <= best


def test_step_is_placed_within_5_points_19_times_in_20():
    rng, trials, placed = np.random.default_rng(10), 400, 0
    for _ in range(trials):
        values = noise(rng, 60)
        values[30:] += math.log(1.05)
        placed += any(abs(step.at - 30) <= 5 for step in steps(values))
    assert 0.95 <= placed / trials


@LAW
@given(st.lists(st.floats(-1, 1), max_size=80))
@example([0.0] * 5 + [1.0] * 3 + [0.0] * 4)
def test_steps_lie_in_order_and_mirror_with_the_series(values):
    found, mirrored = steps(values), steps(np.negative(values))
    places = [step.at for step in found]
    assert sorted(set(places)) == places
    assert all(BEFORE <= at < len(values) for at in places)
    assert all(step.at <= step.detected for step in found)
    assert [-step.change.estimate for step in mirrored] == pytest.approx([step.change.estimate for step in found])


def test_clear_step_and_its_reversal_are_located():
    values = noise(np.random.default_rng(3), 60)
    values[20:40] += 0.3
    up, down = steps(values)
    assert (20, 40) == (up.at, down.at)
    assert up.detected <= 25
    assert up.change.low < 0.3 < up.change.high
    assert down.change.low < -0.3 < down.change.high


def test_detected_step_stays_as_points_come_in():
    values = noise(np.random.default_rng(4), 60)
    values[30:] += 0.2
    detected = [tuple(step.detected for step in steps(values[:end])) for end in range(61)]
    assert [points for points in detected if points] == [detected[-1]] * (60 - detected[-1][0])


@pytest.mark.parametrize("values", [[], [1.0], [0.5] * 50, [0.0, 1.0] * (BEFORE + AFTER - 5)])
def test_short_or_constant_series_has_no_step(values):
    assert [] == steps(values)


def test_outliers_are_no_step():
    values = noise(np.random.default_rng(2), 40)
    values[20:22] += 3.0
    assert [] == steps(values)
