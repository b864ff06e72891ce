"""Laws of rows lost: what their bounds are where they are known, and how often they err."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.selftest.accuracy import beyond, chance, paired_lost, within
from harness.stats.intervals import drop_interval, rare_event_bound, rows_needed, smallest_margin

LAW = settings(max_examples=200)


@st.composite
def flips(draw):
    rows = draw(st.integers(1, 400))
    lost = draw(st.integers(0, rows))
    return lost, draw(st.integers(0, rows - lost)), rows


@LAW
@given(flips())
def test_a_loss_lies_between_its_bounds_and_mirrors_a_gain(counts):
    lost, gained, rows = counts
    found, mirrored = drop_interval(lost, gained, rows), drop_interval(gained, lost, rows)
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert pytest.approx((-mirrored.high, -mirrored.low), abs=1e-9) == (found.low, found.high)


@LAW
@given(flips())
def test_another_lost_row_never_lowers_a_loss(counts):
    lost, gained, rows = counts
    before, after = drop_interval(lost, gained, rows + 1), drop_interval(lost + 1, gained, rows + 1)
    assert before.low <= after.low + 1e-9
    assert before.high <= after.high + 1e-9


@LAW
@given(flips())
def test_no_more_is_lost_than_the_rows_lost_alone_may_be(counts):
    lost, gained, rows = counts
    assert drop_interval(lost, gained, rows).high <= rare_event_bound(lost, rows)


@pytest.mark.parametrize("rows", [1, 133, 1000])
def test_without_flips_the_bound_is_the_exact_one(rows):
    assert pytest.approx(1 - 0.05 ** (1 / rows)) == drop_interval(0, 0, rows).high == smallest_margin(0, rows)


def test_as_many_rows_as_are_needed_exclude_the_margin():
    rows = rows_needed(0.01)
    assert drop_interval(0, 0, rows).high < 0.01 < drop_interval(0, 0, rows - 1).high


@pytest.mark.parametrize("said", [within, beyond])
def test_the_chance_is_the_sum_over_all_that_could_be_seen(said):
    rows, lost, gained, margin = 60, 0.05, 0.03, 0.02
    dice = np.random.default_rng(0).multinomial(rows, [lost, gained, 1 - lost - gained], size=20_000)
    pairs, counts = np.unique(dice[:, :2], axis=0, return_counts=True)
    drawn = np.average([said(drop_interval(int(a), int(b), rows), margin) for a, b in pairs], weights=counts)
    assert pytest.approx(drawn, abs=0.01) == chance(drop_interval, said, rows, margin, lost, gained)


@pytest.mark.parametrize(("bounds", "errs"), [(drop_interval, False), (paired_lost, True)])
def test_only_the_uncorrected_bound_calls_a_loss_of_the_margin_proven_more_than_5_times_in_100(bounds, errs):
    assert errs == (chance(bounds, beyond, 300, 0.01, 0.0125, 0.0025) > 0.05)
