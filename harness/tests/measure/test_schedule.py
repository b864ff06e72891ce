"""Laws of the schedule: which start has how many rounds, where it is asked whether these suffice, and when to stop."""

import dataclasses
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.backend import Target
from harness.measure.rounds import FURTHER_LAUNCHES, LONGEST_LAUNCH, is_due, is_look, launch_limit_ns, launch_plan
from harness.measure.samples import Samples, Settings
from harness.stats.speedup import LOOKS

LAW = settings(max_examples=60)
SECOND = 1_000_000_000

of = st.builds(
    Settings,
    target=st.just(Target("cpu", 1)),
    launches=st.integers(1, LOOKS[0]),
    looks=st.sampled_from([LOOKS, LOOKS[:1], LOOKS[:3]]),
    budget_s=st.floats(0, 1000),
)


def given_settings(**changed):
    return Settings(**({"target": Target("cpu", 1)} | changed))


def after(plan_of, done, seconds=0.0, **changed):
    """What a workload gave whose first `done` launches went as planned."""
    rows = [[0] * count for count in launch_plan(plan_of)[:done]]
    return dataclasses.replace(Samples(batch=1, order_seed=0), rows=rows, spent_ns=int(seconds * SECOND), **changed)


# The plan


@LAW
@given(of)
def test_a_plan_has_a_round_in_every_start_and_ends_with_the_last_look(how):
    rounds = launch_plan(how)
    assert min(rounds) >= 1
    assert how.looks[-1] == sum(rounds)
    assert how.launches + FURTHER_LAUNCHES * (len(how.looks) - 1) <= len(rounds)


@LAW
@given(of)
def test_no_start_after_the_first_look_is_long(how):
    assert max(launch_plan(how)[how.launches :], default=0) <= LONGEST_LAUNCH


@LAW
@given(of)
def test_every_look_is_the_end_of_a_start_and_the_first_that_of_all_asked_for(how):
    ends = list(accumulate(launch_plan(how)))
    assert set(how.looks) <= set(ends)
    assert how.looks[0] == ends[how.launches - 1]


@LAW
@given(of)
def test_the_starts_before_the_first_look_share_its_rounds_evenly(how):
    first = launch_plan(how)[: how.launches]
    assert max(first) - min(first) <= 1


def test_the_plan_of_a_default_run():
    assert [8, 8, 7, 7, 15, 15, 30, 30, 40, 40, 40, 40, 40, 40, 40] == launch_plan(given_settings())


# Looks


@LAW
@given(of, st.data())
def test_it_is_looked_where_the_rounds_are_those_of_a_look(how, data):
    done = data.draw(st.integers(1, len(launch_plan(how))))
    assert (sum(launch_plan(how)[:done]) in how.looks) == is_look(after(how, done), how)


@LAW
@given(of, st.data())
def test_before_the_starts_asked_for_nothing_is_looked_at_even_out_of_budget(how, data):
    done = data.draw(st.integers(0, how.launches))
    assert (done == how.launches) == is_look(after(how, done, cut=True), how)


def test_the_last_start_that_the_budget_allowed_is_looked_at():
    how = given_settings()
    assert is_look(after(how, 5, cut=True), how)
    assert not is_look(after(how, 5), how)


# What is due


@LAW
@given(of, st.data(), st.integers(1, 3))
def test_the_starts_asked_for_are_due_whatever_they_cost(how, data, loads):
    done = data.draw(st.integers(0, how.launches - 1))
    assert is_due(after(how, done, seconds=1e6, cut=data.draw(st.booleans())), how, loads)


@LAW
@given(of, st.data())
def test_what_is_settled_or_done_is_not_due(how, data):
    assert not is_due(after(how, data.draw(st.integers(0, len(launch_plan(how)))), settled=True), how, 1)
    assert not is_due(after(how, len(launch_plan(how))), how, 1)


def test_nothing_is_due_after_a_cut():
    how = given_settings(budget_s=1000)
    assert is_due(after(how, 4, seconds=1), how, 1)
    assert not is_due(after(how, 4, seconds=1, cut=True), how, 1)


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
def test_a_start_is_begun_only_if_it_leads_to_a_look_at_the_pace_so_far(done, seconds, expected):
    how = given_settings(budget_s=60)
    samples = after(how, done, seconds)
    assert expected == is_due(samples, how, 1)
    assert expected != samples.cut
    assert expected == is_due(samples, how, 1)


def test_workloads_share_the_budget():
    how = given_settings(budget_s=60)
    assert is_due(after(how, 4, seconds=15), how, 2)
    assert not is_due(after(how, 4, seconds=15.5), how, 2)


# What a start may spend


@LAW
@given(of, st.integers(1, 3))
def test_the_starts_asked_for_share_the_budget_evenly(how, loads):
    for done in range(how.launches):
        assert pytest.approx(how.budget_s * SECOND / loads / how.launches) == launch_limit_ns(
            after(how, done, seconds=5), how, loads
        )


def test_a_later_start_may_spend_what_is_left():
    how = given_settings(budget_s=60)
    assert pytest.approx(12 * SECOND) == launch_limit_ns(after(how, 4, seconds=18), how, 2)
