"""The speed rule: ratios to the reference of the same rounds, decided only where noise could not have made them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from factory import process, result, series
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.stats.intervals import Interval
from harness.stats.speedup import ERROR, LOOKS, confidence_level, speedup
from harness.verdicts.speed import (
    TOLERANCE,
    agreed_pace,
    all_reach,
    break_even,
    is_decided,
    noise_floor,
    own_speedup,
    pace,
    paired_speedups,
    startup_ms,
    why_invalid,
)

LAW = settings(max_examples=60)

MIRRORED = {"faster": "slower", "slower": "faster", "same": "same", "undecided": "undecided"}


@st.composite
def rounds(draw, arms=3, fewest=2, each=(1, 8)):
    """Times of several arms in the same rounds of several launches, `each` giving the range of rounds per launch."""
    shape = draw(st.lists(st.integers(*each), min_size=fewest, max_size=6))
    middle = [draw(st.integers(100_000, 10_000_000)) for _ in range(arms)]
    wobble = st.floats(0.9, 1.2)
    return [[[int(at * draw(wobble)) for _ in range(size)] for size in shape] for at in middle]


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def assert_close(before, after):
    assert (close(before.low), close(before.estimate), close(before.high)) == (after.low, after.estimate, after.high)


# The ratio


def test_half_the_time_is_twice_as_fast():
    assert_close(Interval(2.0, 2.0, 2.0), speedup([[200] * 10] * 4, [[100] * 10] * 4, [[200] * 10] * 4, 1))


@LAW
@given(rounds(arms=1, fewest=4, each=(20, 21)))
def test_reference_is_as_fast_as_itself(arms):
    gain = speedup(arms[0], arms[0], [], 1)
    assert pytest.approx((1.0, 1.0, 1.0), rel=1e-15, abs=0) == (gain.low, gain.estimate, gain.high)


@LAW
@given(st.one_of(rounds(arms=2).map(lambda arms: [*arms, []]), rounds(arms=3, each=(1, 1))), st.integers(1, 8))
def test_swapping_the_arms_inverts_ratio_and_pace(arms, contenders):
    """With a control exactly so only with one round per launch: medians of ratios to two references differ."""
    reference, own, control = arms
    there, back = speedup(reference, own, control, contenders), speedup(own, reference, control, contenders)
    assert close(1.0) == there.estimate * back.estimate
    if there.low and math.isfinite(there.high):
        assert (close(1.0), close(1.0)) == (there.low * back.high, there.high * back.low)
    assert MIRRORED[pace(there)] == pace(back)


@LAW
@given(rounds(), st.integers(2, 1000))
def test_scaling_all_times_changes_nothing(arms, factor):
    scaled = [[[ns * factor for ns in launch] for launch in arm] for arm in arms]
    assert_close(speedup(*arms, 1), speedup(*scaled, 1))


@LAW
@given(rounds(), st.lists(st.integers(1, 50), min_size=50, max_size=50))
def test_slowing_a_whole_round_changes_nothing(arms, slowdowns):
    noisy = []
    for arm in arms:
        factors = iter(slowdowns)
        noisy.append([[ns * next(factors) for ns in launch] for launch in arm])
    assert_close(speedup(*arms, 1), speedup(*noisy, 1))


@LAW
@given(rounds(), st.randoms(use_true_random=False))
def test_order_of_rounds_and_launches_does_not_matter(arms, rng):
    orders = [rng.sample(range(len(launch)), len(launch)) for launch in arms[0]]
    places = rng.sample(range(len(orders)), len(orders))
    mixed = [[[arm[place][at] for at in orders[place]] for place in places] for arm in arms]
    assert_close(speedup(*arms, 2), speedup(*mixed, 2))


@LAW
@given(rounds(), st.integers(1, 6), st.integers(1, 6))
def test_more_contenders_prove_no_more(arms, first, second):
    few, many = speedup(*arms, min(first, second)), speedup(*arms, max(first, second))
    assert few.estimate == many.estimate
    assert many.low <= few.low
    assert few.high <= many.high
    assert pace(many) in ("undecided", pace(few))
    for factor in (0.5, 1.5, 2.0):
        assert all_reach([many], factor) in (None, all_reach([few], factor))


@pytest.mark.parametrize("count", [1, 30, 400])
def test_one_launch_proves_nothing(count):
    gain = speedup([[300] * count], [[100] * count], [[300] * count], 1)
    assert (0.0, close(3.0), math.inf) == (gain.low, gain.estimate, gain.high)
    assert "undecided" == pace(gain)


@pytest.mark.parametrize(
    "own", [[[5, 5]], [[5, 5], [5, 5], [5, 5]], [[5, 5, 5], [5, 5, 5]], []], ids=["fewer", "more", "longer", "none"]
)
def test_samples_of_other_rounds_are_not_paired(own):
    with pytest.raises(ValueError, match=r"broadcast|shorter|longer"):
        speedup([[5, 5], [5, 5]], own, [], 1)


def test_overflowing_ratio_is_infinite():
    gain = speedup([[10**18, 1]] * 2, [[1, 10**18]] * 2, [], 1)
    assert (0.0, math.inf) == (gain.low, gain.high)


# The chance of being wrong


def test_error_rate_is_split_over_looks_and_arms():
    assert ERROR / len(LOOKS) == pytest.approx(1 - confidence_level(1))
    assert ERROR / len(LOOKS) / 7 == pytest.approx(1 - confidence_level(7))
    assert confidence_level(1) == confidence_level(0)


def simulate(rng, truth, launch_sd, launches=4, each=15, round_sd=0.02):
    """Return times of reference, own and control; what slows the machine slows all three."""
    machine = np.exp(rng.exponential(0.3, size=(launches, each)))

    def times(speed):
        logs = rng.normal(0, launch_sd, (launches, 1)) + rng.laplace(0, round_sd, (launches, each))
        return (1e6 / speed * machine * np.exp(logs)).astype(int).tolist()

    return times(1.0), times(truth), times(1.0)


@pytest.mark.parametrize("launch_sd", [0.0, 0.005, 0.02])
def test_identical_arms_are_never_faster_or_slower(launch_sd):
    rng = np.random.default_rng(1)
    paces = {agreed_pace(paired_speedups(*simulate(rng, 1.0, launch_sd), 1)) for _ in range(250)}
    assert not paces & {"faster", "slower"}


@pytest.mark.parametrize("truth", [0.9, 1.0, 1.5])
def test_interval_covers_the_truth_on_a_loud_machine(truth):
    rng = np.random.default_rng(2)
    gains = [speedup(*simulate(rng, truth, 0.01), 1) for _ in range(250)]
    # ERROR over five looks leaves 1 in 100 outside; 8 or more are a chance of 0.4 %.
    assert sum(not gain.low <= truth <= gain.high for gain in gains) <= 7


def test_plain_difference_is_detected():
    rng = np.random.default_rng(3)
    words = [pace(speedup(*simulate(rng, 1.5, 0.005, launches=6, each=20), 3)) for _ in range(100)]
    assert words.count("faster") >= 99


# Decisions


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.021, 3.0, "faster"),
        (1.02, 3.0, "undecided"),
        (0.5, 0.98, "slower"),
        (0.5, 1 / TOLERANCE, "undecided"),
        (1 / TOLERANCE, TOLERANCE, "same"),
        (0.98, 1.0, "undecided"),
        (0.0, math.inf, "undecided"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_pace_needs_the_whole_interval(low, high, expected):
    assert expected == pace(Interval(1.0, low, high))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1.5, 2, True), (1, 1.49, False), (1.4, 1.6, None), (1.4, 1.5, None), (0, math.inf, None)],
)
def test_factor_is_reached_by_the_whole_interval(low, high, expected):
    assert expected is all_reach([Interval(1.5, low, high)], 1.5)


@pytest.mark.parametrize(
    ("low", "high", "wanted", "expected"),
    [
        (1.1, 1.2, None, True),
        (1.1, 1.2, 1.15, False),
        (1.1, 1.2, 1.3, True),
        (1.1, 1.2, 1.05, True),
        (1.0, 1.2, None, False),
        (1.0, 1.2, 1.5, False),
        (0.99, 1.01, None, True),
    ],
)
def test_decided_needs_pace_and_min_speedup(low, high, wanted, expected):
    assert expected is is_decided([Interval(1.1, low, high)], wanted)


@pytest.mark.parametrize("other", [Interval(1.0, 0.9, 1.3), Interval(0.8, 0.7, 0.9)])
def test_reference_and_control_must_agree(other):
    faster = Interval(1.2, 1.1, 1.3)
    assert "faster" == agreed_pace([faster, faster])
    assert "undecided" == agreed_pace([faster, other])
    assert not is_decided([faster, other], None)
    assert all_reach([faster, other], 1.05) is None


# A result's series


def test_noise_floor_is_the_reference_against_itself():
    noise = noise_floor(series(2.0))
    assert noise.low < 1 < noise.high
    assert noise.high - noise.low < 0.01
    assert why_invalid(series(2.0)) is None
    own = own_speedup(series(None))
    assert own.low <= 1.0 == own.estimate <= own.high


@pytest.mark.parametrize("control", [0.9, 0.97, 1.03, 1.1])
def test_control_beyond_the_tolerance_makes_speed_invalid(control):
    problem = why_invalid(series(2.0, control=control))
    assert problem.startswith(f"the reference differs from itself: {control:.2f}")
    assert problem.count(", ") == 1


def test_control_within_noise_or_tolerance_is_valid():
    assert why_invalid(series(2.0, control=1.1, noise=0.5)) is None
    assert why_invalid(series(2.0, control=1.015)) is None


def test_noise_is_unknown_without_a_control():
    noise = noise_floor(series(2.0, control_ns=()))
    assert (True, -math.inf, math.inf) == (math.isnan(noise.estimate), noise.low, noise.high)
    assert "the control was lost" == why_invalid(series(2.0, control_ns=()))


@LAW
@given(st.floats(0.3, 3), st.floats(0.9, 1.1))
def test_contender_changes_the_noise_floor_little(factor, control):
    assume(abs(factor - 1) > 1e-3)
    alone, beside = noise_floor(series(None, control=control)), noise_floor(series(factor, control=control))
    assert pytest.approx(alone.estimate, rel=1e-3) == beside.estimate


# Startup


def test_startup_is_the_sum_of_phases_in_the_median_launch():
    assert pytest.approx(12.0) == startup_ms(process(startup_ms=12.0))
    uneven = process(import_ns=(1_000_000, 3_000_000), load_ns=(0, 0), compile_ns=(0, 0), first_ns=(0, 0))
    assert 2.0 == startup_ms(uneven)


def late(later_ms, factor):
    return replace(result("onnxruntime", factor), process=process(startup_ms=12.0 + later_ms))


def test_break_even_counts_requests():
    # 100 ms later, and half of 1 ms faster in every request.
    assert 200 == pytest.approx(break_even(late(100, 2.0)), abs=2)
    assert [0, 0] == [break_even(late(later_ms, 2.0)) for later_ms in (0, -10)]
    assert [math.inf] * 2 == [break_even(late(later_ms, 0.5)) for later_ms in (100, -10)]


@LAW
@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(1.1, 4))
def test_later_startup_takes_more_requests(first, second, factor):
    assert break_even(late(min(first, second), factor)) <= break_even(late(max(first, second), factor))


@pytest.mark.parametrize("missing", [{"process": None}, {"reference_process": None}, {"series": ()}], ids=str)
def test_break_even_needs_measurements(missing):
    assert break_even(replace(late(100, 2.0), **missing)) is None
