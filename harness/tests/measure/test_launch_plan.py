"""Rounds of each launch, looks, and when another launch begins."""

import dataclasses
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.backend import Target
from harness.measure.rounds import MAX_LAUNCH_ROUNDS, MIN_LATER_LAUNCHES, is_due, is_look, launch_limit_ns, launch_plan
from harness.measure.samples import Samples, Settings
from harness.stats.speedup import LOOKS

LAW = settings(max_examples=60)
SECOND = 1_000_000_000
DEFAULT = Settings(target=Target("cpu", 1), budget_s=60)

any_settings = st.builds(
    Settings,
    target=st.just(Target("cpu", 1)),
    launches=st.integers(1, LOOKS[0]),
    looks=st.sampled_from([LOOKS, LOOKS[:1], LOOKS[:3]]),
    budget_s=st.floats(0, 1000),
)


def after(chosen, done, seconds=0.0, **changes):
    """Return the samples of a workload whose first `done` launches went as planned."""
    rows = [[0] * count for count in launch_plan(chosen)[:done]]
    return dataclasses.replace(Samples(batch=1, order_seed=0), rows=rows, spent_ns=int(seconds * SECOND), **changes)


@LAW
@given(any_settings)
def test_plan_ends_launches_at_every_look(chosen):
    plan = launch_plan(chosen)
    ends = list(accumulate(plan))
    assert min(plan) >= 1
    assert set(chosen.looks) <= set(ends)
    assert chosen.looks[-1] == ends[-1]
    assert chosen.looks[0] == ends[chosen.launches - 1]
    assert chosen.launches + MIN_LATER_LAUNCHES * (len(chosen.looks) - 1) <= len(plan)
    first, later = plan[: chosen.launches], plan[chosen.launches :]
    assert max(first) - min(first) <= 1
    assert max(later, default=0) <= MAX_LAUNCH_ROUNDS


def test_plan_of_a_default_run():
    assert [8, 8, 7, 7, 15, 15, 30, 30, 40, 40, 40, 40, 40, 40, 40] == launch_plan(DEFAULT)


@LAW
@given(any_settings, st.data())
def test_look_follows_the_launch_that_completes_it(chosen, data):
    done = data.draw(st.integers(1, len(launch_plan(chosen))))
    assert (sum(launch_plan(chosen)[:done]) in chosen.looks) == is_look(after(chosen, done), chosen)


@LAW
@given(any_settings, st.data())
def test_no_look_precedes_the_first_even_out_of_budget(chosen, data):
    done = data.draw(st.integers(0, chosen.launches))
    assert (done == chosen.launches) == is_look(after(chosen, done, cut_short=True), chosen)


def test_last_launch_within_the_budget_is_a_look():
    assert is_look(after(DEFAULT, 5, cut_short=True), DEFAULT)
    assert not is_look(after(DEFAULT, 5), DEFAULT)


@LAW
@given(any_settings, st.data(), st.integers(1, 3))
def test_launches_before_the_first_look_are_always_due(chosen, data, workloads):
    samples = after(chosen, data.draw(st.integers(0, chosen.launches - 1)), 1e6, cut_short=data.draw(st.booleans()))
    assert is_due(samples, chosen, workloads)


@LAW
@given(any_settings, st.data())
def test_decided_or_completed_workload_is_not_due(chosen, data):
    done = data.draw(st.integers(0, len(launch_plan(chosen))))
    assert not is_due(after(chosen, done, decided=True), chosen, 1)
    assert not is_due(after(chosen, len(launch_plan(chosen))), chosen, 1)


@pytest.mark.parametrize(
    ("done", "seconds", "expected"),
    [
        (4, 30, True),  # 30 rounds in 30 s; the next look takes 30 more
        (4, 30.5, False),
        (6, 30, True),  # 60 rounds in 30 s; the next look takes 60 more
        (6, 30.5, False),
        (5, 45, True),  # 45 rounds in 45 s; the look that was begun takes 15 more
        (5, 46, False),
        (4, 0, True),
    ],
)
def test_launch_is_due_only_if_it_leads_to_a_look(done, seconds, expected):
    samples = after(DEFAULT, done, seconds)
    assert expected == is_due(samples, DEFAULT, 1)
    assert expected != samples.cut_short
    assert expected == is_due(samples, DEFAULT, 1)


def test_nothing_is_due_once_cut_short():
    assert not is_due(after(DEFAULT, 4, seconds=1, cut_short=True), DEFAULT, 1)


def test_workloads_share_the_budget():
    assert is_due(after(DEFAULT, 4, seconds=15), DEFAULT, 2)
    assert not is_due(after(DEFAULT, 4, seconds=15.5), DEFAULT, 2)


@LAW
@given(any_settings, st.integers(1, 3))
def test_launches_before_the_first_look_share_the_budget_evenly(chosen, workloads):
    share = chosen.budget_s * SECOND / workloads / chosen.launches
    for done in range(chosen.launches):
        assert pytest.approx(share) == launch_limit_ns(after(chosen, done, seconds=5), chosen, workloads)


def test_later_launch_may_spend_the_rest():
    assert pytest.approx(12 * SECOND) == launch_limit_ns(after(DEFAULT, 4, seconds=18), DEFAULT, 2)
