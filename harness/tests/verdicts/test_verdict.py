"""The verdict and the gate: the worst word wins, only what is proven breaks a gate, noise withholds speed only."""

import math
from dataclasses import replace

import pytest
from factory import GATE, answers, failed, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.results.schema import Bounds
from harness.spec import Gate
from harness.stats.intervals import Interval, smallest_margin
from harness.verdicts.accuracy import format_drop, judge_accuracy, provable_drop, score_drop, score_drops
from harness.verdicts.speed import own_speedups
from harness.verdicts.verdict import WORST_FIRST, shortfalls, verdict

LAW = settings(max_examples=60)


def contender(factor=2.0, *, noise=0.001, control=1.0, min_speedup=None, **changed):
    """A backend's result with series of batch 1 only."""
    gate = Gate(min_score=GATE.min_score, max_drop=GATE.max_drop, min_speedup=min_speedup)
    known = {"series": (series(factor, noise=noise, control=control),), "gate": gate}
    return result("onnxruntime", factor, **(known | changed))


def word(one):
    return verdict(one).word


EXAMPLES = {
    "failed": failed(),
    "worse": contender(answers=answers(lost=60)),
    "below": contender(2.0, min_speedup=2.5),
    "invalid": contender(control=1.2),
    "slower": contender(0.5),
    "undecided": contender(1.05, noise=0.5),
    "same": contender(1.0),
    "ship": contender(2.0),
}


@pytest.mark.parametrize("expected", EXAMPLES)
def test_every_verdict_has_reasons(expected):
    judgement = verdict(EXAMPLES[expected])
    assert expected == judgement.word
    assert judgement.reasons
    assert all(judgement.reasons)
    assert WORST_FIRST == tuple(EXAMPLES)


def test_speed_is_judged_at_the_batch_of_the_gate():
    gate = Gate(min_score=0.9, max_drop=0.01, min_speedup=3, batch=16)
    one = contender(series=(series(2.0, batch=16), series(4.0)), gate=gate)
    assert "below" == verdict(one).word
    assert verdict(one).reasons[0].endswith("is below min_speedup=3 (batch 16)")
    (text,) = (text for text in verdict(replace(one, gate=replace(gate, min_speedup=None))).reasons if "speed" in text)
    assert text.endswith("against the control (batch 16)")


FASTER = {"slower": 0.5, "same": 1.0, "ship": 2.0}
LOST = {"worse": 60, "undecided": 9, "ship": 0}


@pytest.mark.parametrize("speed", ["invalid", *FASTER])
@pytest.mark.parametrize("accuracy", LOST)
def test_worse_of_speed_and_accuracy_wins(speed, accuracy):
    one = contender(FASTER.get(speed, 2.0), control=1.2 if speed == "invalid" else 1, answers=answers(LOST[accuracy]))
    assert min(speed, accuracy, key=WORST_FIRST.index) == word(one)


@LAW
@given(st.floats(0.3, 3), st.integers(0, 80), st.integers(0, 80), st.floats(0.9, 1.1), st.floats(0, 0.3))
def test_verdict_never_lacks_a_reason(factor, lost, gained, control, noise):
    judgement = verdict(contender(factor, noise=noise, control=control, answers=answers(lost, gained)))
    assert judgement.word in WORST_FIRST
    assert 1 <= len(judgement.reasons) <= 3
    assert all(reason.strip() for reason in judgement.reasons)


def test_reference_and_unsupported_cases_have_no_verdict():
    assert verdict(result("pytorch")) is None
    assert verdict(unsupported()) is None
    assert "failed" == word(failed("pytorch"))


def test_failure_names_stage_and_message():
    assert ("failed at build: out of memory",) == verdict(failed()).reasons
    assert ["failed at build: out of memory"] == shortfalls(failed())


# Speed


def test_reasons_hold_figures_and_batch():
    (speed, accuracy) = verdict(contender(2.0)).reasons
    assert speed.startswith("speed-up 2.00x [")
    assert speed.endswith("] against the control (batch 1)")
    assert accuracy == (
        "score drops 0.00 points [-0.30, 0.30] against pytorch (allowed: 1); 1000 rows with this many flips can only "
        "rule out drops above 0.30 points"
    )


def test_one_launch_decides_nothing():
    one = contender(series=(series(3.0, launches=1),))
    assert "undecided" == word(one)
    assert verdict(one).reasons[0].startswith("speed-up 3.00x [too few launches or rounds] against the ")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"control": 0.9}, "the reference differs from itself: 0.9"),
        ({"control": 1.1}, "the reference differs from itself: 1.1"),
        ({"control_ns": ()}, "the control was lost"),
    ],
)
def test_bad_control_withholds_speed(changed, problem):
    judgement = verdict(contender(series=(series(2.0, **changed),)))
    assert "invalid" == judgement.word
    assert judgement.reasons[0].startswith(f"speed is not valid: {problem}")


def test_unmeasured_speed_is_invalid():
    judgement = verdict(contender(series=()))
    assert ("invalid", ("speed was not measured",)) == (judgement.word, judgement.reasons)


def test_invalid_speed_leaves_accuracy_to_judge():
    judgement = verdict(contender(control=1.2, answers=answers(lost=60)))
    assert "worse" == judgement.word
    assert "speed" not in " ".join(judgement.reasons)
    low = contender(control=1.2, answers=answers(lost=100))
    assert ["score 0.8500 on", "score drops 10.00"] == [" ".join(text.split()[:3]) for text in shortfalls(low)]


# min_speedup


def test_min_speedup_reached_ships():
    one = contender(2.0, min_speedup=1.5)
    assert ("ship", []) == (word(one), shortfalls(one))


def test_min_speedup_missed_breaks_the_gate_of_a_faster_backend():
    one = contender(2.0, min_speedup=2.5)
    (problem,) = shortfalls(one)
    assert problem.startswith("speed-up 2.00x [")
    assert "] against the reference, 2.00x [" in problem
    assert problem.endswith("] against the control is below min_speedup=2.5 (batch 1)")
    assert ("below", (problem,)) == (word(one), verdict(one).reasons)
    assert [] == shortfalls(contender(2.0, control=1.2, min_speedup=3.0))


def test_min_speedup_in_doubt_is_undecided():
    one = contender(2.0, noise=0.2, min_speedup=2.0)
    assert ("undecided", []) == (word(one), shortfalls(one))
    assert verdict(one).reasons[-1].endswith("] against the control may or may not reach min_speedup=2")
    assert "ship" == word(contender(2.0, noise=0.2))


@LAW
@given(st.floats(0.5, 4), st.floats(0.5, 4), st.floats(0, 0.3))
def test_speedup_falls_short_only_where_both_intervals_lie_below(factor, wanted, noise):
    one = contender(factor, noise=noise, min_speedup=wanted)
    below = all(gain.high < wanted for gain in own_speedups(one.series[0]))
    assert below == any("min_speedup" in text for text in shortfalls(one))


# Accuracy


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gate": None}, "no gate sets a max_drop"),
        ({"answers": None}, "no predictions were scored"),
        ({"answers": answers(lost=5, reference_score=None)}, "accuracy is undefined (NaN) on these 1000 rows"),
        ({"answers": replace(answers(), score=None)}, "accuracy is undefined (NaN) on these 1000 rows"),
    ],
)
def test_missing_evidence_is_undecided(changed, reason):
    one = replace(contender(2.0), **changed)
    assert ("undecided", (reason,)) == (verdict(one).word, verdict(one).reasons)
    assert not any("drops" in text for text in shortfalls(one))
    assert changed == {"gate": None} or score_drop(one) is None


@LAW
@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 1), st.floats(0, 0.5))
def test_gate_breaks_only_on_proof(lost, gained, min_score, max_drop):
    gate = Gate(min_score=min_score, max_drop=max_drop)
    one = contender(answers=answers(lost, gained, score=0.5), gate=gate)
    problems = shortfalls(one)
    assert (score_drop(one).low > max_drop) == any("points" in text for text in problems)
    assert (one.answers.score < min_score) == any("below min_score" in text for text in problems)
    assert (judge_accuracy(one) == "worse") == (score_drop(one).low > max_drop)
    assert (judge_accuracy(one) == "not worse") == (score_drop(one).high < max_drop)


def test_drop_is_positive_for_a_worse_backend():
    drop = score_drop(result(answers=answers(lost=30, gained=10)))
    assert 0.02 == drop.estimate
    assert 0 < drop.low < drop.estimate < drop.high
    assert score_drop(failed()) is None


def test_sentences_never_show_a_negative_drop():
    assert "drops 0.20 points [-0.10, 0.50]" == format_drop(Interval(0.002, -0.001, 0.005))
    assert "gains 0.20 points [0.00, 0.50]" == format_drop(Interval(-0.002, -0.005, 0.0))


def test_provable_drop_depends_on_the_flips():
    assert smallest_margin(14, 1000) == provable_drop(answers(lost=9, gained=5))


def test_drop_against_the_float_export_counts_too():
    one = contender(answers=answers(compared_with="onnxruntime", source_lost=60, source_gained=0))
    assert ["pytorch", "onnxruntime"] == [name for name, _ in score_drops(one)]
    (problem,) = shortfalls(one)
    assert "against onnxruntime, more than the 1 allowed (60 of 1000 rows lost, 0 gained)" in problem
    assert "worse" == word(one)


def test_other_metrics_use_recorded_bounds():
    scored = answers(lost=5, score=0.95, drop_bounds=Bounds(low=0.1, high=0.2))
    one = contender(answers=replace(scored, score=0.80))
    one = replace(one, data=replace(one.data, metric="f1-macro"))
    drop = score_drop(one)
    assert (pytest.approx(0.15), 0.1, 0.2) == (drop.estimate, drop.low, drop.high)
    assert "worse" == word(one)
    unbounded = score_drop(replace(one, answers=replace(one.answers, drop_bounds=None)))
    assert (-math.inf, math.inf) == (unbounded.low, unbounded.high)


# The gate


@pytest.mark.parametrize(
    "one",
    [
        result(),
        unsupported(),
        result(answers=answers(score=0.1), gate=None),
        result(answers=answers(score=0.9)),
        contender(answers=answers(lost=12)),
        *(EXAMPLES[name] for name in ("invalid", "slower", "undecided", "same", "ship")),
    ],
)
def test_nothing_unproven_breaks_a_gate(one):
    assert [] == shortfalls(one)


@LAW
@given(st.floats(0.3, 4), st.integers(0, 80), st.floats(0.9, 1.1), st.floats(0.5, 1), st.none() | st.floats(0.5, 4))
def test_no_verdict_contradicts_the_gate(factor, lost, control, min_score, min_speedup):
    gate = Gate(min_score=min_score, max_drop=0.01, min_speedup=min_speedup)
    one = contender(factor, control=control, answers=answers(lost), gate=gate)
    assert bool(shortfalls(one)) == (word(one) in ("failed", "worse", "below"))


def test_score_that_other_rows_could_raise_shows_its_interval():
    low = result(
        answers=answers(rows=100, score=0.75, correct="1" * 75 + "0" * 25), gate=Gate(min_score=0.8, max_drop=0.1)
    )
    (problem,) = shortfalls(low)
    assert problem == (
        "score 0.7500 on 100 rows is below min_score=0.8 (reference: 0.7500); its 95 % interval [0.6534, 0.8312] "
        "includes min_score, which is held against the score itself"
    )


@pytest.mark.parametrize(("reference", "text"), [(0.89, "0.8900"), (None, "undefined")])
def test_score_below_min_score_breaks_the_gate(reference, text):
    low = answers(score=0.89, reference_score=reference, correct="1" * 870 + "0" * 130)
    problem = f"score 0.8900 on 1000 rows is below min_score=0.9 (reference: {text})"
    assert [problem] == shortfalls(result(answers=low))


def test_proven_drop_breaks_the_gate_with_its_counts():
    (problem,) = shortfalls(contender(answers=answers(lost=40)))
    assert problem.startswith("score drops 4.00 points [3.0")
    assert problem.endswith("against pytorch, more than the 1 allowed (40 of 1000 rows lost, 0 gained)")


def test_every_broken_limit_of_a_gate_is_named():
    bad = contender(0.5, answers=answers(lost=100), min_speedup=1.5)
    assert ["score", "score", "speed-up"] == [text.split()[0] for text in shortfalls(bad)]
