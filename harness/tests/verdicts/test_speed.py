"""Laws of speed: a ratio to the reference of the same rounds, decided only where no noise could have made it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from factory import process, result, series
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.stats.intervals import Interval
from harness.stats.speedup import ERROR, LOOKS, confidence, speedup
from harness.verdicts.speed import (
    TOLERANCE,
    agreed,
    all_reach,
    both,
    break_even,
    flat,
    invalid,
    is_decided,
    noise_floor,
    own_speedup,
    pace,
    reaches,
    startup_ms,
)

LAW = settings(max_examples=60)

durations = st.integers(100_000, 10_000_000)


@st.composite
def rounds(draw, arms=3, fewest=2, each=(1, 8)):
    """Times of several arms in the same rounds of several launches, from so many to so many rounds each."""
    shape = draw(st.lists(st.integers(*each), min_size=fewest, max_size=6))
    middle = [draw(durations) for _ in range(arms)]
    wobble = st.floats(0.9, 1.2)
    return [[[int(at * draw(wobble)) for _ in range(size)] for size in shape] for at in middle]


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-12)


MIRRORED = {"faster": "slower", "slower": "faster", "same": "same", "undecided": "undecided"}


# The ratio


def test_a_backend_that_takes_half_the_time_is_twice_as_fast():
    found = speedup([[200] * 10] * 4, [[100] * 10] * 4, [[200] * 10] * 4, 1)
    assert (close(2.0), close(2.0), close(2.0)) == (found.low, found.estimate, found.high)


@LAW
@given(rounds(arms=1, fewest=4, each=(20, 21)))
def test_the_reference_is_as_fast_as_itself(arms):
    found = speedup(arms[0], arms[0], [], 1)
    assert pytest.approx((1.0, 1.0, 1.0), rel=1e-15, abs=0) == (found.low, found.estimate, found.high)


@LAW
@given(rounds(arms=2), st.integers(1, 8))
def test_swapping_reference_and_own_inverts_ratio_interval_and_verdict(arms, several):
    reference, own = arms
    there, back = speedup(reference, own, [], several), speedup(own, reference, [], several)
    assert close(1.0) == there.estimate * back.estimate
    assert (there.low == 0) == (back.high == math.inf)
    if there.low:
        assert (close(1.0), close(1.0)) == (there.low * back.high, there.high * back.low)
    assert MIRRORED[pace(there)] == pace(back)


@LAW
@given(rounds(arms=3, each=(1, 1)), st.integers(1, 8))
def test_swapping_inverts_beside_a_control_as_well(arms, several):
    """Exactly so only with one round a start: medians of ratios to two references differ by more than a ratio."""
    reference, own, control = arms
    there, back = speedup(reference, own, control, several), speedup(own, reference, control, several)
    assert close(1.0) == there.estimate * back.estimate
    if there.low and math.isfinite(there.high):
        assert (close(1.0), close(1.0)) == (there.low * back.high, there.high * back.low)
    assert MIRRORED[pace(there)] == pace(back)


@LAW
@given(rounds(arms=3), st.integers(2, 1000))
def test_scaling_all_times_changes_nothing(arms, factor):
    scaled = [[[ns * factor for ns in start] for start in arm] for arm in arms]
    before, after = speedup(*arms, 1), speedup(*scaled, 1)
    assert (close(before.low), close(before.estimate), close(before.high)) == (after.low, after.estimate, after.high)


@LAW
@given(rounds(arms=3), st.lists(st.integers(1, 50), min_size=50, max_size=50))
def test_what_slows_all_arms_of_a_round_alike_changes_nothing(arms, slowdowns):
    noisy = []
    for arm in arms:
        by = iter(slowdowns)
        noisy.append([[ns * next(by) for ns in start] for start in arm])
    before, after = speedup(*arms, 1), speedup(*noisy, 1)
    assert (close(before.low), close(before.estimate), close(before.high)) == (after.low, after.estimate, after.high)


@LAW
@given(rounds(arms=3), st.randoms(use_true_random=False))
def test_neither_the_order_of_rounds_nor_of_starts_matters(arms, dice):
    orders = [dice.sample(range(len(start)), len(start)) for start in arms[0]]
    places = dice.sample(range(len(orders)), len(orders))
    mixed = [[[arm[place][at] for at in orders[place]] for place in places] for arm in arms]
    before, after = speedup(*arms, 2), speedup(*mixed, 2)
    assert (close(before.low), close(before.estimate), close(before.high)) == (after.low, after.estimate, after.high)


@LAW
@given(rounds(arms=3), st.integers(1, 6), st.integers(1, 6))
def test_more_contenders_never_narrow_an_interval_nor_prove_what_was_not(arms, one, other):
    few, many = speedup(*arms, min(one, other)), speedup(*arms, max(one, other))
    assert few.estimate == many.estimate
    assert many.low <= few.low
    assert few.high <= many.high
    assert pace(many) in ("undecided", pace(few))
    for factor in (0.5, 1.5, 2.0):
        assert reaches(many, factor) in (None, reaches(few, factor))


@pytest.mark.parametrize("count", [1, 30, 400])
def test_one_start_proves_nothing(count):
    found = speedup([[300] * count], [[100] * count], [[300] * count], 1)
    assert (0.0, close(3.0), math.inf) == (found.low, found.estimate, found.high)
    assert "undecided" == pace(found)


@pytest.mark.parametrize(
    "own", [[[5, 5]], [[5, 5], [5, 5], [5, 5]], [[5, 5, 5], [5, 5, 5]], []], ids=["fewer", "more", "longer", "none"]
)
def test_samples_of_other_rounds_are_never_paired(own):
    with pytest.raises(ValueError, match=r"broadcast|shorter|longer"):
        speedup([[5, 5], [5, 5]], own, [], 1)


def test_a_time_that_overflows_a_ratio_is_infinite_and_not_an_error():
    found = speedup([[10**18, 1]] * 2, [[1, 10**18]] * 2, [], 1)
    assert (0.0, math.inf) == (found.low, found.high)


# The chance of being wrong


def test_the_error_rate_is_split_over_looks_and_arms():
    assert ERROR / len(LOOKS) == pytest.approx(1 - confidence(1))
    assert ERROR / len(LOOKS) / 7 == pytest.approx(1 - confidence(7))
    assert confidence(1) == confidence(0)


def toys(dice, truth, start_sd, launches=4, each=15, round_sd=0.02):
    """Times of reference, own and control; what makes the machine slow does so to all three."""
    machine = np.exp(dice.exponential(0.3, size=(launches, each)))

    def times(speed):
        shifts = dice.normal(0, start_sd, (launches, 1))
        return (
            (1e6 / speed * machine * np.exp(shifts + dice.laplace(0, round_sd, (launches, each)))).astype(int).tolist()
        )

    return times(1.0), times(truth), times(1.0)


@pytest.mark.parametrize("start_sd", [0.0, 0.005, 0.02])
def test_identical_arms_are_never_called_faster_or_slower(start_sd):
    dice = np.random.default_rng(1)
    called = [agreed(both(*toys(dice, 1.0, start_sd), 1)) for _ in range(250)]
    assert [] == [word for word in called if word in ("faster", "slower")]


@pytest.mark.parametrize("truth", [0.9, 1.0, 1.5])
def test_an_interval_holds_the_truth_however_loud_the_machine(truth):
    dice = np.random.default_rng(2)
    found = [speedup(*toys(dice, truth, 0.01), 1) for _ in range(250)]
    # ERROR over five looks leaves 1 in 100 outside; 8 or more are a chance of 0.4 %.
    assert sum(not one.low <= truth <= one.high for one in found) <= 7


def test_a_plain_difference_is_found():
    dice = np.random.default_rng(3)
    words = [pace(speedup(*toys(dice, 1.5, 0.005, launches=6, each=20), 3)) for _ in range(100)]
    assert words.count("faster") >= 99


# What may be said


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
def test_only_a_whole_interval_says_how_fast(low, high, expected):
    assert expected == pace(Interval(1.0, low, high))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1.5, 2, True), (1, 1.49, False), (1.4, 1.6, None), (1.4, 1.5, None), (0, math.inf, None)],
)
def test_a_factor_is_reached_or_not_only_by_a_whole_interval(low, high, expected):
    assert expected is reaches(Interval(1.5, low, high), 1.5)


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
def test_a_speedup_is_decided_when_nothing_that_is_asked_is_open(low, high, wanted, expected):
    assert expected is is_decided([Interval(1.1, low, high)], wanted)


@pytest.mark.parametrize("other", [Interval(1.0, 0.9, 1.3), Interval(0.8, 0.7, 0.9)])
def test_a_speedup_is_open_while_the_two_workers_of_the_reference_do_not_say_the_same(other):
    faster = Interval(1.2, 1.1, 1.3)
    assert "faster" == agreed([faster, faster])
    assert "undecided" == agreed([faster, other])
    assert not is_decided([faster, other], None)
    assert all_reach([faster, other], 1.05) is None


# Of a result's series


def test_the_noise_floor_is_the_reference_against_itself():
    found = noise_floor(series(2.0))
    assert found.low < 1 < found.high
    assert found.high - found.low < 0.01
    assert invalid(series(2.0)) is None


def test_the_reference_is_one_times_as_fast():
    found = own_speedup(series(None))
    assert 1.0 == found.estimate
    assert found.low <= 1.0 <= found.high


@pytest.mark.parametrize("control", [0.9, 0.97, 1.03, 1.1])
def test_a_control_beyond_the_tolerance_is_told_with_its_interval(control):
    why = invalid(series(2.0, control=control))
    assert why.startswith(f"the reference differs from itself: {control:.2f}")
    assert why.count(", ") == 1


def test_a_control_that_may_be_noise_does_not_make_speed_invalid():
    assert invalid(series(2.0, control=1.1, noise=0.5)) is None
    assert invalid(series(2.0, control=1.015)) is None


def test_without_a_control_nothing_is_known_of_the_noise():
    found = noise_floor(series(2.0, control_ns=()))
    assert (True, -math.inf, math.inf) == (math.isnan(found.estimate), found.low, found.high)
    assert "the control was lost" == invalid(series(2.0, control_ns=()))


@LAW
@given(st.floats(0.3, 3), st.floats(0.9, 1.1))
def test_what_is_measured_beside_the_reference_changes_its_noise_floor_little(factor, control):
    assume(abs(factor - 1) > 1e-3)
    alone, beside = noise_floor(series(None, control=control)), noise_floor(series(factor, control=control))
    assert pytest.approx(alone.estimate, rel=1e-3) == beside.estimate


def test_samples_of_all_starts_are_one_list():
    assert [1, 2, 3] == flat([(1, 2), (), (3,)])


# What a later start costs


def test_starting_up_is_everything_before_the_first_answer():
    assert pytest.approx(12.0) == startup_ms(process(startup_ms=12.0))
    uneven = process(import_ns=(1_000_000, 3_000_000), load_ns=(0, 0), compile_ns=(0, 0), first_ns=(0, 0))
    assert 2.0 == startup_ms(uneven)


def late(later_ms, factor):
    return replace(result("onnxruntime", factor), process=process(startup_ms=12.0 + later_ms))


def test_a_later_start_is_paid_for_after_so_many_requests():
    # 100 ms later, and half of 1 ms faster in every request.
    assert 200 == pytest.approx(break_even(late(100, 2.0)), abs=2)


@LAW
@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(1.1, 4))
def test_the_later_the_start_the_more_requests_it_takes(one, other, factor):
    assert break_even(late(min(one, other), factor)) <= break_even(late(max(one, other), factor))


@pytest.mark.parametrize("later_ms", [0, -10])
def test_a_start_that_is_no_later_is_paid_for_at_once(later_ms):
    assert 0 == break_even(late(later_ms, 2.0))


@pytest.mark.parametrize("later_ms", [100, -10])
def test_a_backend_that_answers_no_faster_never_pays(later_ms):
    assert math.inf == break_even(late(later_ms, 0.5))


@pytest.mark.parametrize("gone", [{"process": None}, {"reference_process": None}, {"series": ()}], ids=str)
def test_without_measurement_there_is_no_break_even(gone):
    assert break_even(replace(late(100, 2.0), **gone)) is None
