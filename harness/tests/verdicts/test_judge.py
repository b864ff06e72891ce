"""Laws of judgement: the worst wins and says why, what is not proven breaks nothing, and noise withholds speed only."""

import math
from dataclasses import replace

import pytest
from factory import GATE, answers, failed, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.results.schema import Bounds
from harness.spec import Gate
from harness.stats.intervals import smallest_margin
from harness.verdicts.accuracy import drop, drops, judge_accuracy, provable_drop
from harness.verdicts.speed import own_speedups
from harness.verdicts.verdict import WORST_FIRST, shortfalls, verdict, with_gate

LAW = settings(max_examples=60)


def contender(factor=2.0, *, noise=0.001, control=1.0, gate=None, **changed):
    """A backend's result with series of batch 1 alone."""
    held = gate or Gate(min_score=GATE.min_score, max_drop=GATE.max_drop)
    known = {"series": (series(factor, noise=noise, control=control),), "gate": held}
    return result("onnxruntime", factor, **(known | changed))


def word(one):
    return verdict(one).word


# The order of words


EXAMPLES = {
    "failed": failed(),
    "worse": contender(answers=answers(lost=60)),
    "invalid": contender(control=1.2),
    "slower": contender(0.5),
    "undecided": contender(1.05, noise=0.5),
    "same": contender(1.0),
    "ship": contender(2.0),
}


@pytest.mark.parametrize("expected", EXAMPLES)
def test_every_word_is_reached_and_gives_its_reasons(expected):
    found = verdict(EXAMPLES[expected])
    assert expected == found.word
    assert found.reasons
    assert all(found.reasons)


def test_the_examples_stand_in_the_order_of_the_words():
    assert WORST_FIRST == tuple(EXAMPLES)


FASTER = {"slower": 0.5, "same": 1.0, "ship": 2.0}
LOST = {"worse": 60, "undecided": 9, "ship": 0}


@pytest.mark.parametrize("speed", ["invalid", *FASTER])
@pytest.mark.parametrize("accuracy", LOST)
def test_of_speed_and_accuracy_the_worst_wins(speed, accuracy):
    found = contender(FASTER.get(speed, 2.0), control=1.2 if speed == "invalid" else 1, answers=answers(LOST[accuracy]))
    assert min(speed, accuracy, key=WORST_FIRST.index) == word(found)


@LAW
@given(st.floats(0.3, 3), st.integers(0, 80), st.integers(0, 80), st.floats(0.9, 1.1), st.floats(0, 0.3))
def test_reasons_are_those_of_the_verdicts_own_word(factor, lost, gained, control, noise):
    found = verdict(contender(factor, noise=noise, control=control, answers=answers(lost, gained)))
    assert found.word in WORST_FIRST
    assert 1 <= len(found.reasons) <= 3
    assert all(reason.strip() for reason in found.reasons)


def test_the_reference_has_no_verdict():
    assert verdict(result("pytorch")) is None


def test_a_reference_that_failed_has_one():
    assert "failed" == word(failed("pytorch"))


def test_what_cannot_exist_has_no_verdict():
    assert verdict(unsupported()) is None


def test_a_failure_is_told_with_its_stage_and_message():
    assert ("failed at build: out of memory",) == verdict(failed()).reasons


# Speed


def test_figures_and_batch_stand_in_the_reason():
    (speed, accuracy) = verdict(contender(2.0)).reasons
    assert speed.startswith("its speed-up is 2.00x [")
    assert speed.endswith("] against its control at batch 1")
    said = "loses 0.00 points [-0.30, 0.30] against pytorch where 1 are allowed; 1000 rows can exclude 0.30 at best"
    assert said == accuracy


def test_one_start_decides_nothing():
    one = contender(series=(series(3.0, launches=1),))
    assert "undecided" == word(one)
    assert verdict(one).reasons[0].startswith("its speed-up is 3.00x [too few launches or rounds] against the ")


@pytest.mark.parametrize("control", [0.9, 1.1])
def test_a_control_outside_the_tolerance_withholds_speed(control):
    (why,) = verdict(contender(control=control)).reasons
    assert why.startswith(f"speed says nothing here: the reference differs from itself: {control:.3f}"[:-1])


def test_a_lost_control_withholds_speed():
    found = verdict(contender(series=(series(2.0, control_ns=()),)))
    assert ("invalid", ("speed says nothing here: the control was lost",)) == (found.word, found.reasons)


def test_invalid_speed_leaves_a_proven_loss_the_worst():
    found = verdict(contender(control=1.2, answers=answers(lost=60)))
    assert "worse" == found.word
    assert "speed" not in " ".join(found.reasons)


def test_invalid_speed_leaves_the_floor_and_the_loss_to_break_the_gate():
    low = contender(control=1.2, answers=answers(lost=100, score=0.95))
    assert ["score", "loses"] == [text.split()[0] for text in shortfalls(low)]


def test_invalid_speed_proves_no_missing_speedup():
    gate = Gate(min_score=0.9, max_drop=0.01, min_speedup=3.0)
    assert [] == shortfalls(contender(2.0, control=1.2, gate=gate))
    assert 1 == len(shortfalls(contender(2.0, gate=gate)))


def test_without_samples_speed_is_invalid():
    assert ("invalid", ("no speed was measured",)) == (
        verdict(contender(series=())).word,
        verdict(contender(series=())).reasons,
    )


# A smallest speed-up


def promised(min_speedup):
    return Gate(min_score=0.9, max_drop=0.01, min_speedup=min_speedup)


def test_a_speedup_that_is_asked_for_and_reached_ships():
    assert ("ship", []) == (word(contender(2.0, gate=promised(1.5))), shortfalls(contender(gate=promised(1.5))))


def test_a_speedup_that_is_proven_short_breaks_the_gate_though_it_is_faster():
    one = contender(2.0, gate=promised(2.5))
    (said,) = shortfalls(one)
    assert said.startswith("speed-up 2.00x [")
    assert said.endswith("] is under the 2.5 asked for")
    assert "ship" == word(one)


def test_a_speedup_that_may_be_reached_or_not_is_undecided_and_breaks_nothing():
    one = contender(2.0, noise=0.2, gate=promised(2.0))
    found = verdict(one)
    assert ("undecided", []) == (found.word, shortfalls(one))
    assert found.reasons[-1].endswith("does not tell whether 2 is reached")
    assert "ship" == word(contender(2.0, noise=0.2))


@LAW
@given(st.floats(0.5, 4), st.floats(0.5, 4), st.floats(0, 0.3))
def test_a_speedup_falls_short_only_where_both_whole_intervals_lie_below(factor, wanted, noise):
    one = contender(factor, noise=noise, gate=promised(wanted))
    below = all(gain.high < wanted for gain in own_speedups(one.series[0]))
    assert below == any("asked for" in text for text in shortfalls(one))


# Accuracy


def test_without_a_gate_nothing_says_which_loss_is_allowed():
    one = replace(contender(2.0), gate=None)
    assert ("undecided", ("no gate says which drop is allowed",)) == (verdict(one).word, verdict(one).reasons)
    assert ([], "undecided") == (shortfalls(one), judge_accuracy(one))


def test_without_answers_nothing_was_scored():
    one = contender(2.0, answers=None)
    assert ("undecided", ("no answers were scored",)) == (verdict(one).word, verdict(one).reasons)


@pytest.mark.parametrize("whose", ["score", "reference_score"])
def test_an_undefined_metric_is_named_and_is_never_a_loss(whose):
    one = contender(2.0, answers=replace(answers(lost=500), **{whose: None}))
    found = verdict(one)
    assert ("undecided", ("accuracy is undefined (NaN) on these 1000 rows",)) == (found.word, found.reasons)
    assert drop(one) is None
    assert not any("loses" in text for text in shortfalls(one))


def test_an_undefined_reference_is_told_where_the_floor_is_missed():
    (said,) = shortfalls(contender(answers=answers(score=0.5, reference_score=None)))
    assert said.endswith("is under the floor 0.9 (the reference has undefined)")


def test_an_undefined_metric_and_a_slower_backend_are_slower():
    assert "slower" == word(contender(0.5, answers=answers(score=0.9, reference_score=None)))


@LAW
@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 1), st.floats(0, 0.5))
def test_a_loss_falls_short_only_where_its_whole_interval_lies_beyond(lost, gained, floor, max_drop):
    one = contender(answers=answers(lost, gained, score=0.5), gate=Gate(min_score=floor, max_drop=max_drop))
    said = shortfalls(one)
    assert (drop(one).low > max_drop) == any("points" in text for text in said)
    assert (one.answers.score < floor) == any("under the floor" in text for text in said)
    assert (judge_accuracy(one) == "worse") == (drop(one).low > max_drop)
    assert (judge_accuracy(one) == "not worse") == (drop(one).high < max_drop)


def test_a_loss_is_positive_where_the_backend_is_worse():
    found = drop(result(answers=answers(lost=30, gained=10)))
    assert 0.02 == found.estimate
    assert 0 < found.low < found.estimate < found.high


def test_without_answers_there_is_no_loss():
    assert drop(failed()) is None


def test_the_margin_is_what_these_rows_can_exclude_at_the_flips_seen():
    assert smallest_margin(14, 1000) == provable_drop(answers(lost=9, gained=5))


def test_a_loss_against_the_float_export_is_judged_as_well():
    lossy = answers(compared_with="onnxruntime", source_lost=60, source_gained=0)
    one = contender(answers=lossy)
    assert ["pytorch", "onnxruntime"] == [name for name, _ in drops(one)]
    (said,) = shortfalls(one)
    assert "against onnxruntime, more than the 1 allowed: 60 rows lost, 0 gained of 1000" in said
    assert "worse" == word(one)


def test_a_metric_that_is_no_mean_over_rows_has_the_bounds_that_were_found():
    own = answers(lost=5, score=0.95, bounds=Bounds(low=0.1, high=0.2))
    known = contender(answers=replace(own, score=0.80))
    one = replace(known, data=replace(known.data, metric="f1-macro"))
    found = drop(one)
    assert (pytest.approx(0.15), 0.1, 0.2) == (found.estimate, found.low, found.high)
    assert "worse" == word(one)
    unbounded = drop(replace(one, answers=replace(one.answers, bounds=None)))
    assert (-math.inf, math.inf) == (unbounded.low, unbounded.high)


# The gate


def test_a_result_is_held_to_the_gate_of_its_suite():
    held = Gate(min_score=0.9, max_drop=0.01, min_speedup=1.5)
    assert Gate(min_score=0.9, max_drop=0.01, min_speedup=1.5) == with_gate(result(gate=None), held).gate


def test_a_result_that_keeps_its_promise_falls_short_of_nothing():
    assert [] == shortfalls(result())


def test_a_failure_falls_short_with_its_stage_and_message():
    assert ["failed at build: out of memory"] == shortfalls(failed())


def test_what_cannot_exist_falls_short_of_nothing():
    assert [] == shortfalls(unsupported())


def test_without_a_promise_nothing_falls_short():
    assert [] == shortfalls(result(answers=answers(score=0.1), gate=None))


def test_a_score_under_the_floor_falls_short():
    said = "score 0.8900 on 1000 rows is under the floor 0.9 (the reference has 0.8900)"
    assert [said] == shortfalls(result(answers=answers(score=0.89)))


def test_a_score_on_the_floor_does_not():
    assert [] == shortfalls(result(answers=answers(score=0.9)))


def test_a_proven_loss_falls_short_with_its_counts():
    (said,) = shortfalls(contender(answers=answers(lost=40, gained=0)))
    assert said.startswith("loses 4.00 points [3.0")
    assert said.endswith("against pytorch, more than the 1 allowed: 40 rows lost, 0 gained of 1000")


def test_a_loss_that_is_not_proven_does_not_fall_short():
    assert [] == shortfalls(contender(answers=answers(lost=12, gained=0)))


def test_a_bad_case_falls_short_in_every_way_at_once():
    bad = contender(0.5, answers=answers(lost=100, gained=0), gate=promised(1.5))
    assert ["score", "loses", "speed-up"] == [text.split()[0] for text in shortfalls(bad)]


@pytest.mark.parametrize("expected", ["invalid", "slower", "undecided", "same", "ship"])
def test_only_a_failure_and_a_proven_loss_are_red_by_themselves(expected):
    assert [] == shortfalls(EXAMPLES[expected])
