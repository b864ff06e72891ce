"""Laws of disturbance: launches add up, what no machine told is None, and only what is notable is said."""

from dataclasses import fields, replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.system import (
    DRIFT,
    FOREIGN_SHARE,
    HEAVY_LOAD,
    LEAST_S,
    PARENT_SHARE,
    STEAL_SHARE,
    Disturbance,
    Snapshot,
    Span,
    Usage,
    summarize,
)

LAW = settings(max_examples=100)
ZERO = Snapshot(load=0.5, usage=Usage(0, 0, 0), own_s=0, parent_s=0, pressure_us=0, throttled=0, mhz=2000)
SILENT = Snapshot(load=None, usage=None, own_s=1, parent_s=1, pressure_us=None, throttled=None, mhz=None)
QUIET = Disturbance(
    load_before=0.5,
    load_after=2.0,
    foreign_share=0.01,
    steal_share=0.001,
    pressure_share=0.1,
    throttled=0,
    mhz_before=2000,
    mhz_after=2010,
    parent_cpu_share=0.002,
    switches={"pytorch": 3},
)
UNKNOWN = replace(QUIET, **{field.name: None for field in fields(QUIET) if field.name != "switches"})


def span(elapsed_s=10, before=ZERO, switches=None, **after):
    """Rounds of two CPUs that were busy for 12 of 20 s, 9 of them ours."""
    ended = Snapshot(
        **{
            "load": 2.0,
            "usage": Usage(12, 1, 20),
            "own_s": 9,
            "parent_s": 0.1,
            "pressure_us": 2_000_000,
            "throttled": 3,
            "mhz": 1900,
        }
        | after
    )
    return Span(before=before, after=ended, elapsed_ns=int(elapsed_s * 1e9), switches=switches or {})


def test_shares_are_of_what_the_rounds_had():
    found = summarize([span(switches={"pytorch": 2, "int8": 0})])
    expected = Disturbance(
        load_before=0.5,
        load_after=2.0,
        foreign_share=0.15,
        steal_share=0.05,
        pressure_share=0.2,
        throttled=3,
        mhz_before=2000,
        mhz_after=1900,
        parent_cpu_share=0.01,
        switches={"pytorch": 2, "int8": 0},
    )
    assert expected == found


def test_starts_add_up():
    quiet = span(30, usage=Usage(30, 0, 60), own_s=30, parent_s=0.7, pressure_us=0, throttled=0)
    found = summarize([span(switches={"pytorch": 2, "int8": 1}), replace(quiet, switches={"pytorch": 5})])
    assert (3 / 80, 1 / 80, 2 / 40, 3) == (
        found.foreign_share,
        found.steal_share,
        found.pressure_share,
        found.throttled,
    )
    assert 0.8 / 40 == pytest.approx(found.parent_cpu_share)
    assert {"pytorch": 7, "int8": 1} == found.switches


def test_load_and_frequency_are_those_of_the_first_and_the_last_moment():
    last = span(before=replace(ZERO, load=7.0, mhz=1), load=3.0, mhz=1700)
    found = summarize([span(), last])
    assert (0.5, 3.0) == (found.load_before, found.load_after)
    assert (2000, 1700) == (found.mhz_before, found.mhz_after)


@pytest.mark.parametrize("spans", [[(SILENT, SILENT)], [(ZERO, SILENT)], [(ZERO, ZERO), (SILENT, ZERO)]], ids=len)
def test_what_one_start_does_not_tell_all_do_not(spans):
    found = summarize([Span(before=before, after=after, elapsed_ns=10**10, switches={}) for before, after in spans])
    assert (None, None, None) == (found.foreign_share, found.steal_share, found.pressure_share)
    assert found.throttled is None


def test_a_counter_that_went_backwards_tells_nothing():
    found = summarize([span(before=replace(ZERO, throttled=4, pressure_us=3_000_000))])
    assert (None, None) == (found.throttled, found.pressure_share)


def test_rounds_too_short_for_the_systems_ticks_give_no_share():
    brief = span(usage=Usage(0.5, 0, LEAST_S * 0.9), own_s=0)
    assert (None, None) == (summarize([brief]).foreign_share, summarize([brief]).steal_share)
    assert summarize([brief, brief]).foreign_share is not None


def test_rounds_of_no_length_give_no_share_of_it():
    found = summarize([span(0)])
    assert (None, None) == (found.pressure_share, found.parent_cpu_share)


def test_own_time_beyond_the_machines_is_no_negative_share():
    assert 0.0 == summarize([span(own_s=12.4)]).foreign_share


def test_no_rounds_were_not_disturbed():
    with pytest.raises(ValueError, match="no rounds were run"):
        summarize([])


positive = st.floats(0, 1e6)


@LAW
@given(st.lists(st.tuples(positive, positive, positive, positive, st.integers(0, 10**9)), min_size=1, max_size=5))
def test_shares_lie_between_nothing_and_all(launches):
    spans = [
        span(1, usage=Usage(busy, steal, busy + steal + idle), own_s=own, pressure_us=waited)
        for busy, steal, idle, own, waited in launches
    ]
    found = summarize(spans)
    for share in (found.foreign_share, found.steal_share, found.pressure_share):
        assert share is None or 0 <= share <= 1.000001


# What is said


def test_nothing_is_said_of_a_quiet_run():
    assert [] == QUIET.sentences()


@pytest.mark.parametrize(
    ("loud", "said"),
    [
        ({"foreign_share": 0.34}, "other processes used 34% of the CPU"),
        ({"steal_share": 0.05}, "the hypervisor took 5% of the CPU"),
        ({"throttled": 1}, "the CPU was throttled once"),
        ({"throttled": 3}, "the CPU was throttled 3 times"),
        ({"mhz_after": 1500.4}, "the CPU went from 2000 to 1500 MHz"),
        ({"parent_cpu_share": 0.98}, "the measuring process itself used 98% of a CPU"),
        ({"foreign_share": None, "load_before": 2.13}, "the load was 2.1 before the rounds began"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_notable_is_said(loud, said):
    assert [said] == replace(QUIET, **loud).sentences()


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("foreign_share", FOREIGN_SHARE),
        ("steal_share", STEAL_SHARE),
        ("parent_cpu_share", PARENT_SHARE),
        ("throttled", 0),
    ],
)
def test_a_limit_itself_is_not_notable(name, limit):
    assert [] == replace(QUIET, **{name: limit}).sentences()
    assert 1 == len(replace(QUIET, **{name: limit + 1}).sentences())


def test_a_drift_counts_in_both_directions():
    assert 1 == len(replace(QUIET, mhz_after=2000 * (1 + 2 * DRIFT)).sentences())
    assert 1 == len(replace(QUIET, mhz_after=2000 * (1 - 2 * DRIFT)).sentences())


def test_a_load_says_nothing_where_the_share_of_others_is_known():
    assert [] == replace(QUIET, load_before=HEAVY_LOAD + 5).sentences()


def test_everything_that_happened_is_said():
    assert 5 == len(
        replace(QUIET, foreign_share=0.5, steal_share=0.5, throttled=9, mhz_after=1, parent_cpu_share=0.5).sentences()
    )


def test_a_machine_that_tells_nothing_is_not_called_quiet():
    assert [] == UNKNOWN.sentences()
    assert [] == QUIET.unreadable()
    assert [field.name for field in fields(QUIET)[:-1]] == UNKNOWN.unreadable()


@pytest.mark.parametrize("found", [QUIET, UNKNOWN], ids=["known", "unknown"])
def test_it_survives_a_file(found):
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Disturbance)
