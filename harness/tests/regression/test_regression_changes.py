# the expectation stands on the left
"""Changes of a case since its stored runs: the laws of the intervals, and when nothing may be said."""

import math
from dataclasses import replace

import factory
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from runs import HERE, answers, drawn, run, series

from harness.regression.changes import (
    CORRECT_ROWS,
    ENOUGH,
    Change,
    change_sentence,
    compare_speed,
    find_changes,
    left_out,
    spread,
    typical_spread,
)
from harness.results.schema import Built, Failure
from harness.stats.intervals import Interval
from harness.verdicts.comparability import by_case, differences

LAW = settings(max_examples=200)
MIRRORED = {"regressed": "improved", "improved": "regressed"}


def changes(stored, today):
    return find_changes(by_case(stored), by_case(today))


def speed(stored, today, aspect="batch 1"):
    (change,) = [change for change in changes(stored, today) if change.aspect in (aspect, "")]
    return change


def correct_rows(stored, today):
    (change,) = [change for change in changes(stored, today) if change.aspect == CORRECT_ROWS]
    return change


def speed_change(stored, today, typical=0.0):
    return compare_speed(Change(case="toy"), stored, today, typical)


def around(estimate, width=1.01):
    return Interval(estimate, estimate / width, estimate * width)


LOGS = st.floats(-0.3, 0.3)
SIDES = st.lists(LOGS, min_size=ENOUGH, max_size=9)
FEW = st.lists(LOGS, min_size=1, max_size=ENOUGH - 1)


def intervals(logs):
    return [around(math.exp(value)) for value in logs]


# --- laws of the interval


@LAW
@given(SIDES, SIDES, st.floats(0, 0.05))
def test_swapped_sides_mirror_the_word(stored, today, typical):
    forth = speed_change(intervals(stored), intervals(today), typical)
    back = speed_change(intervals(today), intervals(stored), typical)
    assert MIRRORED.get(forth.word, forth.word) == back.word
    assert pytest.approx([forth.stored.low, forth.stored.high]) == [back.today.low, back.today.high]
    assert pytest.approx(1 / forth.change.estimate) == back.change.estimate
    assert pytest.approx(1 / forth.change.low) == back.change.high


@LAW
@given(SIDES, st.integers(1, 9), st.floats(0, 0.05))
def test_identical_runs_never_regress(stored, today, typical):
    mean = sum(stored) / len(stored)
    assert speed_change(intervals(stored), intervals([mean] * today), typical).word in ("unchanged", "undecided")


@LAW
@given(SIDES, LOGS, st.floats(1, 20), st.floats(0, 0.1))
def test_more_spread_never_proves_a_change(stored, today, factor, typical):
    mean = sum(stored) / len(stored)
    wider = [mean + factor * (value - mean) for value in stored]
    before = speed_change(intervals(stored), intervals([today]), 0.0).word
    assume(before in ("unchanged", "undecided"))
    after = speed_change(intervals(wider), intervals([today]), typical).word
    assert after in ("undecided", before)


def test_two_runs_show_their_own_intervals_and_no_interval_of_the_change():
    change = speed_change([around(2.0)], [around(1.5, 1.1)])
    for side, run_interval in ((change.stored, around(2.0)), (change.today, around(1.5, 1.1))):
        assert (run_interval.estimate, run_interval.low, run_interval.high) == pytest.approx(
            (side.estimate, side.low, side.high)
        )
    assert change_sentence(replace(change, runs=1)) == (
        "undecided: speed-up 1.50x [1.36, 1.65] where 1 stored run had 2.00x [1.98, 2.02], -25.0 % [no interval]: "
        "1 stored run; 5 are needed, for each interval is of one run, and runs of unchanged code lie further apart"
    )


@LAW
@given(FEW, st.lists(LOGS, min_size=1, max_size=9))
def test_too_few_stored_runs_are_undecided(stored, today):
    change = speed_change(intervals(stored), intervals(today))
    assert "undecided" == change.word
    assert change.why.startswith(f"{len(stored)} stored run{'s' if len(stored) > 1 else ''}; {ENOUGH} are needed")


@LAW
@given(SIDES, LOGS, st.floats(1.0, 1.2))
def test_wider_intervals_never_prove_a_change(stored, today, width):
    assume(speed_change(intervals(stored), intervals([today])).word == "undecided")
    assert "undecided" == speed_change(intervals(stored), [around(math.exp(today), 1.01 * width)]).word


@LAW
@given(SIDES, LOGS)
def test_change_is_proven_where_intervals_lie_beyond_the_tolerance(stored, today):
    change = speed_change(intervals(stored), intervals([today]))
    assert (change.word == "regressed") == (change.today.high * 1.02 < change.stored.low)
    assert (change.word == "improved") == (change.today.low > change.stored.high * 1.02)


def test_infinite_interval_is_undecided():
    infinite = Interval(0.5, 0.0, math.inf)
    for stored, today in (([around(2.0)] * 5, [infinite]), ([*[around(2.0)] * 5, infinite], [around(0.5)])):
        change = speed_change(stored, today)
        assert "undecided" == change.word
        assert "too few launches or rounds" in change.why


def test_widening_is_the_prediction_interval():
    runs = [Interval(math.exp(x), math.exp(x), math.exp(x)) for x in (-0.02, -0.01, 0.0, 0.01, 0.02)]
    change = speed_change(runs, [Interval(1.0, 1.0, 1.0)])
    # s = 0.0158114, t(4) at 0.99 = 3.746947, sqrt(1 + 1/5) = 1.0954451
    assert pytest.approx(math.exp(0.0158114 * 3.746947 * 1.0954451), rel=1e-5) == change.change.high
    assert pytest.approx(0.0158114, rel=1e-5) == spread(runs)


# --- how often it errs


def test_unchanged_cases_never_regress():
    """200 comparisons with five to eight stored runs, at the spreads seen between fresh processes."""
    words = []
    for number in range(25):
        rng = np.random.default_rng(number)
        stored, today = {}, {}
        for case in range(8):
            noise = float(rng.uniform(0.002, 0.028))
            runs = drawn(2.0, 5 + number % 4 + 1, seed=1000 * number + case, noise=noise, backend=f"b{case}")
            stored[runs[0].name], today[runs[0].name] = runs[:-1], runs[-1:]
        words += [change.word for change in find_changes(stored, today) if change.aspect == "batch 1"]
    assert 200 == len(words)
    assert not {"regressed", "improved"} & set(words)


@pytest.mark.parametrize(("runs", "least"), [(5, 22), (8, 32), (10, 36)])
def test_fifteen_per_cent_slower_is_detected_at_two_per_cent_spread(runs, least):
    words = [speed(drawn(2.0, runs, seed), drawn(2.0 / 1.15, 1, 500 + seed, first=50)).word for seed in range(40)]
    assert least <= words.count("regressed")
    assert {"regressed", "undecided"} == set(words)


def test_spread_of_neighbours_widens_lucky_runs():
    lucky, today = [run(n, (2.0,)) for n in range(5)], [run(9, (1.85,))]
    assert "regressed" == speed(lucky, today).word
    neighbours = [r for n in range(3) for r in drawn(2.0, 5, seed=n, noise=0.03, backend=f"b{n}")]
    assert "undecided" == speed([*lucky, *neighbours], today).word
    assert 0.01 < typical_spread(by_case([*lucky, *neighbours]), HERE) < 0.05


# --- which runs are compared


def test_only_the_first_workload_leaves_a_case_open():
    stored, today = [run(n, (2.0, 3.0)) for n in range(4)], [run(9, (2.0, 3.0))]
    assert [("batch 1", "undecided", True), ("batch 16", "undecided", False)] == [
        (change.aspect, change.word, change.is_open)
        for change in changes(stored, today)
        if change.aspect.startswith("batch")
    ]


def test_larger_batch_regresses_on_its_own():
    stored, today = [run(n, (2.0, 3.0)) for n in range(6)], [run(9, (2.0, 1.5))]
    assert "unchanged" == speed(stored, today, "batch 1").word
    assert "regressed" == speed(stored, today, "batch 16").word


def test_run_stored_twice_counts_once():
    change = speed([run(n) for n in range(3)] * 4, [run(9, (1.0,))])
    assert (3, "undecided") == (change.runs, change.word)


def test_run_is_not_compared_with_itself():
    runs = [run(n) for n in range(5)]
    change = speed(runs, runs[-1:])
    assert (4, "undecided") == (change.runs, change.word)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"machine": "another"}, "machine toy-machine stored, another today"),
        ({"threads": 4}, "threads 2 stored, 4 today"),
        ({"wait_policy": "default"}, "wait_policy passive stored, default today"),
        ({"packages": {"torch": "2.14", "numpy": "2.4"}}, "package torch 2.13 stored, 2.14 today"),
        ({"packages": {"torch": "2.13"}}, "package numpy 2.4 stored, none today"),
    ],
)
def test_other_environment_is_not_comparable(changed, difference):
    today = run(9, (1.0,), here=replace(HERE, **changed))
    assert [difference] == differences(run(0), today)
    change = speed([run(n) for n in range(5)], [today])
    assert "not comparable" == change.word
    assert change.why.startswith(f"5 stored: {difference}")
    assert change.is_open


def test_packages_of_a_backends_own_environments_are_compared():
    def own(built, runs):
        artifact = Built(key="0", size_bytes=1, seconds=1.0, info={"built_packages": f"pip 25, torch {built}"})
        settings = {"packages": f"numpy 2.4, onnxruntime {runs}"}
        return replace(run(0), artifact=artifact, process=factory.process(settings=settings))

    (built,) = differences(own("2.12", "1.31"), own("2.13", "1.31"))
    assert "package torch where it was built 2.12 stored, 2.13 today" == built
    (runs,) = differences(own("2.13", "1.23"), own("2.13", "1.31"))
    assert "package onnxruntime where it runs 1.23 stored, 1.31 today" == runs
    assert [] == differences(own("2.13", "1.31"), replace(own("2.12", "1.23"), artifact=None, process=None))


NEWER = replace(HERE, packages=HERE.packages | {"torch": "2.14"})


@pytest.mark.parametrize(
    ("today", "finding"),
    [(1.4, "the intervals are more than 2% apart"), (2.01, "a change beyond 15% is excluded")],
)
def test_two_versions_are_shown_side_by_side(today, finding):
    change = speed([run(n) for n in range(5)], [run(9, (today,), here=NEWER)])
    assert "not comparable" == change.word
    assert f"5 stored: package torch 2.13 stored, 2.14 today; {finding}" == change.why
    assert pytest.approx(today / 2, rel=0.02) == change.change.estimate


def test_single_run_of_each_version_has_no_spread():
    change = speed([run(0, (2.0,))], [run(9, (1.4,), here=NEWER)])
    assert ("1 stored: package torch 2.13 stored, 2.14 today", None) == (change.why, change.change)
    assert pytest.approx((2.0, 1.4), rel=0.02) == (change.stored.estimate, change.today.estimate)


def test_answers_of_two_versions_are_compared_on_the_same_rows():
    change = correct_rows([run(0)], [run(9, wrong=40, here=NEWER)])
    assert ("not comparable", False) == (change.word, change.judged)
    assert change.why.endswith("the drop exceeds the 1 points allowed")
    elsewhere = replace(run(9, wrong=40, here=NEWER), data=replace(run(9).data, sha256={"test": "12"}))
    assert [] == [change for change in changes([run(0)], [elsewhere]) if change.aspect == CORRECT_ROWS]


def test_other_test_rows_and_other_model_are_not_comparable():
    result = run(0)
    rows = replace(result, data=replace(result.data, sha256={"test": "12"}))
    assert ["test rows 11 stored, 12 today"] == differences(result, rows)
    (source,) = differences(result, replace(result, recipe={"source": {"type": "Native", "target": "lstm.py:LSTM"}}))
    assert source.startswith("model source ")
    assert "lstm.py" in source


def test_commit_recipe_and_load_may_differ():
    today = run(9)
    environment = replace(HERE, commit="f" * 40, dirty=True, load_before=3.0)
    assert [] == differences(run(0), replace(today, recipe=today.recipe | {"epochs": 3}, environment=environment))


def test_rows_of_other_length_are_not_comparable():
    change = speed([run(n) for n in range(5)], [run(9, series=(series(length=16),))])
    assert "not comparable" == change.word
    assert "length of the batch that begins with test row 0: 8 stored, 16 today" == change.why


def test_unusable_runs_are_left_out_with_their_reason():
    other = [run(20 + n, (9.0,), here=replace(HERE, threads=1)) for n in range(5)]
    broken = run(31, series=(), status="failed", error=Failure(stage="build", message="x"))
    stored, today = [*(run(n) for n in range(5)), *other, run(30, series=(series(control=1.2),)), broken], [run(9)]
    change = speed(stored, today)
    assert (5, "unchanged") == (change.runs, change.word)
    sentences = list(left_out(by_case([*stored, run(40, backend="gone")]), by_case(today)))
    assert "toy/bag.numpy.cpu: 5 of 12 stored runs cannot be used: threads 1 stored, 2 today" in sentences
    assert any("1 of 12 stored runs cannot be used: the reference differs from itself" in line for line in sentences)
    assert "toy/bag.numpy.cpu: 1 of 12 stored runs cannot be used: failed at build" in sentences
    assert "toy/bag.gone.cpu has stored runs and was not run today" in sentences


def test_case_without_stored_runs_stays_closed():
    change = speed([run(0, backend="other")], [run(9)])
    assert ("not comparable", False) == (change.word, change.is_open)


def test_invalid_speed_today_is_undecided():
    change = speed([run(n) for n in range(5)], [run(9, series=(series(1.0, control=1.2),))])
    assert "undecided" == change.word
    assert "the reference differs from itself" in change.why


def test_reference_has_no_speedup_to_compare():
    stored = [run(n, backend="pytorch") for n in range(5)]
    assert [CORRECT_ROWS] == [change.aspect for change in changes(stored, [run(9, backend="pytorch")])]


def test_newly_failing_case_has_regressed():
    broken = run(9, status="failed", error=Failure(stage="build", message="no such operator"), series=(), answers=None)
    (change,) = changes([run(n) for n in range(2)], [broken])
    assert "regressed" == change.word
    assert "failed at build: no such operator; 2 of 2 stored runs did not" == change.why


# --- correct rows


def test_drop_beyond_the_gate_regresses_after_one_run():
    change = correct_rows([run(0)], [run(9, wrong=40)])
    assert ("regressed", 1) == (change.word, change.runs)
    assert pytest.approx(-0.04) == change.change.estimate
    assert "improved" == correct_rows([run(0, wrong=40)], [run(9)]).word


def test_same_answers_are_unchanged_and_few_flips_undecided():
    assert "unchanged" == correct_rows([run(0, wrong=30)], [run(9, wrong=30)]).word
    assert "undecided" == correct_rows([run(0)], [run(9, wrong=9)]).word


def test_drop_is_proven_against_every_stored_run():
    stored = [run(0), run(1, answers=answers(40, first=100))]
    assert "undecided" == correct_rows(stored, [run(9, wrong=40)]).word


def test_metric_that_counts_no_rows_is_not_judged():
    bleu = replace(run(0).data, metric="bleu")
    change = correct_rows([run(0, data=bleu)], [run(9, wrong=40, data=bleu)])
    assert ("undecided", False) == (change.word, change.judged)
    assert "bleu does not count rows" in change.why


# --- words


def test_sentence_has_both_intervals_and_the_number_of_runs():
    sentence = change_sentence(speed([run(n, (2.0,)) for n in range(5)], [run(9, (1.5,))]))
    assert sentence.startswith("regressed at batch 1: speed-up 1.50x [1.")
    assert " where 5 stored runs had 2.00x [" in sentence
    assert ", -25." in sentence
    assert "regressed in correct rows: -4.0 points [" in change_sentence(correct_rows([run(0)], [run(9, wrong=40)]))


def test_hostile_reasons_stay_inert_in_the_sentence():
    hostile = replace(HERE, cpu="\x1b]0;x\x07\n| x")
    sentence = change_sentence(speed([run(n) for n in range(5)], [run(9, here=hostile)]))
    assert "cpu" in sentence
    assert not set(sentence) & {"\x1b", "\x07", "\n"}
