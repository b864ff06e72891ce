# the expectation stands on the left
"""Laws of regression: what became of a case since its stored runs, and when nothing may be said."""

import math
from dataclasses import replace

import factory
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from runs import HERE, answers, drawn, run, series

from harness.regression.changes import (
    ENOUGH,
    change_sentence,
    left_out,
    regressions,
    speed_change,
    spread,
    typical_spread,
)
from harness.report.regressions import table
from harness.results.schema import Built, Failure
from harness.stats.intervals import Interval
from harness.verdicts.comparability import by_case, differences

LAW = settings(max_examples=200)
WORDS = {"regressed": "improved", "improved": "regressed"}


def lines(stored, today):
    return regressions(by_case(stored), by_case(today))


def speed(stored, today, what="batch 1"):
    (found,) = [line for line in lines(stored, today) if line.what in (what, "")]
    return found


def rows_right(stored, today):
    (found,) = [line for line in lines(stored, today) if line.what == "rows right"]
    return found


def around(estimate, width=1.01):
    return Interval(estimate, estimate / width, estimate * width)


LOGS = st.floats(-0.3, 0.3)
SIDES = st.lists(LOGS, min_size=ENOUGH, max_size=9)


def intervals(logs):
    return [around(math.exp(value)) for value in logs]


# ------------------------------------------------------------------------------------------------ laws of the interval


@LAW
@given(SIDES, SIDES, st.floats(0, 0.05))
def test_swapping_the_sides_turns_regressed_into_improved(stored, today, typical):
    forth = speed_change(intervals(stored), intervals(today), typical)
    back = speed_change(intervals(today), intervals(stored), typical)
    assert WORDS.get(forth.word, forth.word) == back.word
    assert pytest.approx([forth.stored.low, forth.stored.high]) == [back.today.low, back.today.high]
    assert pytest.approx(1 / forth.ratio.estimate) == back.ratio.estimate
    assert pytest.approx(1 / forth.ratio.low) == back.ratio.high


@LAW
@given(SIDES, st.integers(1, 9), st.floats(0, 0.05))
def test_identical_runs_never_regress(stored, today, typical):
    mean = sum(stored) / len(stored)
    assert speed_change(intervals(stored), intervals([mean] * today), typical).word in ("unchanged", "undecided")


@LAW
@given(SIDES, LOGS, st.floats(1, 20), st.floats(0, 0.1))
def test_more_spread_never_turns_anything_into_a_finding(stored, today, factor, typical):
    mean = sum(stored) / len(stored)
    wider = [mean + factor * (value - mean) for value in stored]
    before = speed_change(intervals(stored), intervals([today]), 0.0).word
    assume(before in ("unchanged", "undecided"))
    assert speed_change(intervals(wider), intervals([today]), typical).word in ("unchanged", "undecided")
    assert before == "unchanged" or speed_change(intervals(wider), intervals([today]), typical).word == "undecided"


@LAW
@given(st.lists(LOGS, min_size=1, max_size=ENOUGH - 1), st.lists(LOGS, min_size=1, max_size=9))
def test_fewer_stored_runs_than_enough_decide_nothing(stored, today):
    found = speed_change(intervals(stored), intervals(today))
    assert "undecided" == found.word
    assert f"{len(stored)} stored run{'s' if len(stored) > 1 else ''}, it takes {ENOUGH}" == found.why


@LAW
@given(SIDES, LOGS, st.floats(1.0, 1.2))
def test_wider_rounds_never_turn_anything_into_a_finding(stored, today, width):
    before = speed_change(intervals(stored), intervals([today])).word
    assume(before == "undecided")
    wide = [around(math.exp(today), 1.01 * width)]
    assert "undecided" == speed_change(intervals(stored), wide).word


@LAW
@given(SIDES, LOGS)
def test_a_finding_is_two_intervals_that_part_by_more_than_the_tolerance(stored, today):
    found = speed_change(intervals(stored), intervals([today]))
    assert (found.word == "regressed") == (found.today.high * 1.02 < found.stored.low)
    assert (found.word == "improved") == (found.today.low > found.stored.high * 1.02)


def test_an_endless_interval_decides_nothing():
    endless = Interval(0.5, 0.0, math.inf)
    for stored, today in (([around(2.0)] * 5, [endless]), ([*[around(2.0)] * 5, endless], [around(0.5)])):
        found = speed_change(stored, today)
        assert "undecided" == found.word
        assert "too few launches or rounds" in found.why


def test_the_widening_is_the_prediction_interval_of_a_new_run():
    runs = [Interval(math.exp(x), math.exp(x), math.exp(x)) for x in (-0.02, -0.01, 0.0, 0.01, 0.02)]
    found = speed_change(runs, [Interval(1.0, 1.0, 1.0)])
    # s = 0.0158114, t(4) at 0.99 = 3.746947, sqrt(1 + 1/5) = 1.0954451
    assert pytest.approx(math.exp(0.0158114 * 3.746947 * 1.0954451), rel=1e-5) == found.ratio.high
    assert pytest.approx(0.0158114, rel=1e-5) == spread(runs)


# --------------------------------------------------------------------------------------------------- how often it errs


def test_unchanged_cases_never_regress():
    """400 comparisons with five to eight stored runs, at the spreads that were seen between fresh processes."""
    words = []
    for number in range(50):
        dice = np.random.default_rng(number)
        stored, today = {}, {}
        for case in range(8):
            noise = float(dice.uniform(0.002, 0.028))
            runs = drawn(2.0, 5 + number % 4 + 1, seed=1000 * number + case, noise=noise, backend=f"b{case}")
            name = runs[0].name
            stored[name], today[name] = runs[:-1], runs[-1:]
        words += [line.word for line in regressions(stored, today) if line.what == "batch 1"]
    assert 400 == len(words)
    assert (0, 0) == (words.count("regressed"), words.count("improved"))


@pytest.mark.parametrize(("runs", "least"), [(5, 22), (8, 32), (10, 36)])
def test_a_slow_down_of_fifteen_per_cent_is_found_among_runs_that_spread_by_two(runs, least):
    words = [
        speed(drawn(2.0, runs, seed), drawn(2.0 / 1.15, 1, 500 + seed, first=50)).word for seed in range(40)
    ]  # fmt: skip
    assert least <= words.count("regressed")
    assert 0 == words.count("improved") == words.count("unchanged")


def test_runs_that_lie_together_by_chance_are_believed_no_more_than_their_neighbours():
    together, today = [run(n, (2.0,)) for n in range(5)], [run(9, (1.85,))]
    assert "regressed" == speed(together, today).word
    neighbours = [r for n in range(3) for r in drawn(2.0, 5, seed=n, noise=0.03, backend=f"b{n}")]
    assert "undecided" == speed([*together, *neighbours], today).word
    assert 0.01 < typical_spread(by_case([*together, *neighbours]), HERE) < 0.05


# ------------------------------------------------------------------------------------------- what is held against what


def test_every_workload_is_told_of_and_only_the_first_leaves_a_case_open():
    stored, today = [run(n, (2.0, 3.0)) for n in range(4)], [run(9, (2.0, 3.0))]
    found = [line for line in lines(stored, today) if line.what.startswith("batch")]
    assert [("batch 1", "undecided", True), ("batch 16", "undecided", False)] == [
        (line.what, line.word, line.is_open) for line in found
    ]


def test_a_regression_of_a_larger_batch_is_one_too():
    stored, today = [run(n, (2.0, 3.0)) for n in range(6)], [run(9, (2.0, 1.5))]
    assert "unchanged" == speed(stored, today, "batch 1").word
    assert "regressed" == speed(stored, today, "batch 16").word


def test_a_run_that_is_stored_twice_counts_once():
    stored = [run(n) for n in range(3)] * 4
    assert (3, "undecided") == ((found := speed(stored, [run(9, (1.0,))])).runs, found.word)


def test_a_run_is_never_held_against_itself():
    runs = [run(n) for n in range(5)]
    found = speed(runs, runs[-1:])
    assert (4, "undecided") == (found.runs, found.word)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"machine": "another"}, "machine toy-machine stored, another today"),
        ({"threads": 4}, "threads 2 stored, 4 today"),
        ({"wait_policy": "active"}, "wait_policy passive stored, active today"),
        ({"packages": {"torch": "2.14", "numpy": "2.4"}}, "package torch 2.13 stored, 2.14 today"),
        ({"packages": {"torch": "2.13"}}, "package numpy 2.4 stored, none today"),
    ],
)
def test_other_environments_are_refused_field_by_field(changed, told):
    today = run(9, (1.0,), here=replace(HERE, **changed))
    assert [told] == differences(run(0), today)
    found = speed([run(n) for n in range(5)], [today])
    assert "not comparable" == found.word
    assert found.why.startswith(f"5 stored: {told}")
    assert found.is_open


def test_other_packages_in_a_backends_own_environments_are_refused_one_by_one():
    def own(built, runs):
        artifact = Built(key="0", size_bytes=1, seconds=1.0, info={"built_packages": f"pip 25, torch {built}"})
        settings = {"packages": f"numpy 2.4, onnxruntime {runs}"}
        return replace(run(0), artifact=artifact, process=factory.process(settings=settings))

    told = ["package torch where it was built 2.12 stored, 2.13 today"]
    assert told == differences(own("2.12", "1.31"), own("2.13", "1.31"))
    told = ["package onnxruntime where it runs 1.23 stored, 1.31 today"]
    assert told == differences(own("2.13", "1.23"), own("2.13", "1.31"))
    assert [] == differences(own("2.13", "1.31"), replace(own("2.12", "1.23"), artifact=None, process=None))


NEWER = replace(HERE, packages=HERE.packages | {"torch": "2.14"})


@pytest.mark.parametrize(
    ("today", "told"),
    [(1.4, "the intervals part by more than 2%"), (2.01, "a change beyond 15% is excluded")],
)
def test_of_two_versions_it_is_told_whether_speed_ups_differ_by_more_than_runs_do(today, told):
    found = speed([run(n) for n in range(5)], [run(9, (today,), here=NEWER)])
    assert ("not comparable", f"5 stored: package torch 2.13 stored, 2.14 today; {told}") == (found.word, found.why)
    assert pytest.approx(today / 2, rel=0.02) == found.change.estimate


def test_a_single_run_of_each_version_says_nothing_of_how_runs_spread():
    found = speed([run(0, (2.0,))], [run(9, (1.4,), here=NEWER)])
    assert ("1 stored: package torch 2.13 stored, 2.14 today", None) == (found.why, found.change)
    assert pytest.approx((2.0, 1.4), rel=0.02) == (found.stored.estimate, found.today.estimate)


def test_answers_of_two_versions_are_held_against_each_other_row_by_row_if_rows_are_the_same():
    found = rows_right([run(0)], [run(9, wrong=40, here=NEWER)])
    assert ("not comparable", False) == (found.word, found.asked)
    assert found.why.endswith("more than the 1 points allowed")
    other = replace(run(9, wrong=40, here=NEWER), data=replace(run(9).data, sha256={"test": "12"}))
    assert [] == [line for line in lines([run(0)], [other]) if line.what == "rows right"]


def test_other_test_rows_and_another_model_are_refused():
    known = run(0)
    assert ["test rows 11 stored, 12 today"] == differences(
        known, replace(known, data=replace(known.data, sha256={"test": "12"}))
    )
    (told,) = differences(known, replace(known, recipe={"source": {"type": "Native", "target": "lstm.py:LSTM"}}))
    assert told.startswith("model source ")
    assert "lstm.py" in told


def test_commit_recipe_and_load_are_what_is_under_test():
    today = run(9)
    changed = replace(
        today,
        recipe=today.recipe | {"epochs": 3},
        environment=replace(HERE, commit="f" * 40, dirty=True, load_before=3.0),
    )
    assert [] == differences(run(0), changed)


def test_rows_of_another_length_are_other_work():
    today = run(9, series=(series(length=16),))
    found = speed([run(n) for n in range(5)], [today])
    assert "not comparable" == found.word
    assert "length of the batch that begins with test row 0: 8 stored, 16 today" == found.why


def test_runs_of_another_environment_are_left_out_and_named():
    old = [run(20 + n, (9.0,), here=replace(HERE, threads=1)) for n in range(5)]
    loud = [run(30, series=(series(control=1.2),)), run(31, series=(), status="failed", error=Failure(stage="build", message="x"))]  # fmt: skip
    stored, today = [run(n) for n in range(5)] + old + loud, [run(9)]
    assert (5, "unchanged") == ((found := speed(stored, today)).runs, found.word)
    told = list(left_out(by_case([*stored, run(40, backend="gone")]), by_case(today)))
    assert "toy/bag.numpy.cpu: 5 of 12 stored runs cannot be used: threads 1 stored, 2 today" in told
    assert any("1 of 12 stored runs cannot be used: the reference differs from itself" in line for line in told)
    assert "toy/bag.numpy.cpu: 1 of 12 stored runs cannot be used: failed at build" in told
    assert "toy/bag.gone.cpu is stored and was not run today" in told


def test_a_case_that_was_never_stored_is_told_of_and_open_to_nobody():
    found = speed([run(0, backend="other")], [run(9)])
    assert ("not comparable", False) == (found.word, found.is_open)


def test_an_invalid_speed_of_today_decides_nothing():
    found = speed([run(n) for n in range(5)], [run(9, series=(series(1.0, control=1.2),))])
    assert "undecided" == found.word
    assert "the reference differs from itself" in found.why


def test_the_reference_has_no_speed_up_to_lose():
    stored = [run(n, backend="pytorch") for n in range(5)]
    assert ["rows right"] == [line.what for line in lines(stored, [run(9, backend="pytorch")])]


def test_a_case_that_no_longer_works_has_regressed():
    broken = run(9, status="failed", error=Failure(stage="build", message="no such operator"), series=(), answers=None)
    (found,) = lines([run(n) for n in range(2)], [broken])
    assert "regressed" == found.word
    assert "failed at build: no such operator; 2 of 2 stored runs did not" == found.why


# ----------------------------------------------------------------------------------------------------------- rows right


def test_rows_lost_beyond_the_gate_are_a_regression_after_one_run():
    found = rows_right([run(0)], [run(9, wrong=40)])
    assert ("regressed", 1) == (found.word, found.runs)
    assert pytest.approx(-0.04) == found.change.estimate
    assert "improved" == rows_right([run(0, wrong=40)], [run(9)]).word


def test_the_same_answers_are_unchanged_and_few_flips_are_not_decided():
    assert "unchanged" == rows_right([run(0, wrong=30)], [run(9, wrong=30)]).word
    assert "undecided" == rows_right([run(0)], [run(9, wrong=9)]).word


def test_a_loss_has_to_be_proven_against_every_stored_run():
    stored = [run(0), run(1, answers=answers(40, first=100))]
    assert "undecided" == rows_right(stored, [run(9, wrong=40)]).word


def test_rows_wholly_right_say_nothing_of_a_metric_that_is_no_share_of_rows():
    bleu = replace(run(0).data, metric="bleu")
    found = rows_right([run(0, data=bleu)], [run(9, wrong=40, data=bleu)])
    assert ("undecided", False) == (found.word, found.asked)
    assert "bleu is no share of rows" in found.why


# ---------------------------------------------------------------------------------------------------------------- words


def test_a_regression_is_told_with_figures_both_intervals_and_the_number_of_runs():
    told = change_sentence(speed([run(n, (2.0,)) for n in range(5)], [run(9, (1.5,))]))
    assert told.startswith("regressed at batch 1: speed-up 1.50x [1.")
    assert " where 5 stored runs had 2.00x [" in told
    assert ", -25." in told
    assert "-4.0 points [" in change_sentence(rows_right([run(0)], [run(9, wrong=40)]))


def test_names_and_reasons_from_files_cannot_move_the_cursor():
    nasty = "bag\x1b[2J\n| x"
    stored = [run(n, model=nasty) for n in range(5)]
    text = table(lines(stored, [run(9, model=nasty, here=replace(HERE, cpu="\x1b]0;x\x07"))]))
    text += table(lines(stored, [run(9, model=nasty)]))
    assert not set(text) & {"\x1b", "\x07"}


def test_the_table_has_a_row_for_every_workload_and_the_reasons_below():
    text = table(lines([run(n, (2.0, 3.0)) for n in range(5)], [run(9, (1.0, 3.0))]))
    rows = [line for line in text.splitlines() if line.startswith("toy/bag.numpy.cpu ")]
    assert ["batch 1", "batch 16", "rows right"] == [
        what for row, what in zip(rows, ("batch 1", "batch 16", "rows right"), strict=False) if what in row
    ]
    assert rows[0].endswith("regressed")
    assert "regressed at batch 1: " in rows[-1]
