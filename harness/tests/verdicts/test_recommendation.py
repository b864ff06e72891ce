"""The recommendation: the fastest that is proven, passes its gate and meets constraints; else the reference or none."""

import re
from dataclasses import replace

import pytest
from factory import GATE, answers, elsewhere, failed, process, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report import sentences
from harness.results.schema import Built, Constraints
from harness.spec import Gate
from harness.stats.intervals import Interval, lead_with_bound
from harness.verdicts.accuracy import score_drop
from harness.verdicts.recommendation import pareto_front, recommend
from harness.verdicts.speed import own_speedup

LAW = settings(max_examples=60)


def recommended(*others, reference=None):
    best, reason = recommend([reference or result(), *others])
    return best.backend if best else None, reason


# The fastest that is safe


def test_fastest_safe_backend_is_recommended():
    name, reason = recommended(
        result("onnxruntime", 1.5), result("onnxruntime-int8", 3.0), result("onnxruntime-o2", 2.0), failed("broken")
    )
    assert "onnxruntime-int8" == name
    assert reason.startswith("3.00x [")
    assert re.search(
        r"\] the reference's speed at batch 1, accuracy drops 0\.00 points \[-0\.\d\d, 0\.\d\d\] \(allowed: 1\)$",
        reason,
    )


def test_largest_proven_speed_counts_and_not_the_largest_estimate():
    loud = result("loud", series=(series(3.2, noise=0.4),))
    quiet = result("quiet", series=(series(3.0, noise=0.01),))
    assert own_speedup(loud.series[0]).estimate > own_speedup(quiet.series[0]).estimate
    assert "quiet" == recommended(loud, quiet)[0]


def test_smaller_drop_decides_between_speeds_within_the_tolerance():
    lossy, exact = result("int8", 3.01, answers=answers(lost=2)), result("float", 3.0)
    assert "float" == recommended(lossy, exact)[0]
    assert "int8" == recommended(replace(lossy, series=(series(3.3),)), exact)[0]


def test_improved_scores_gain_points():
    _, reason = recommended(result("better", 2.0, answers=answers(lost=1, gained=5)))
    assert re.search(r"accuracy gains 0\.40 points \[-0\.\d\d, \d\.\d\d\] \(allowed: 1\)$", reason)


@pytest.mark.parametrize(("names", "text"), [(["b"], "b"), (["b", "c"], "b and c"), (["b", "c", "d"], "b, c and d")])
def test_backends_that_may_be_as_fast_are_named(names, text):
    name, reason = recommended(result("a", 3.0), *(result(name, 3.0) for name in names))
    assert "a" == name
    assert reason.endswith(f"(allowed: 1); {text} may be as fast")
    name, _ = recommended(*(result(name, 3.0) for name in names), result("a", 3.0))
    assert "b" == name


OTHERS = {
    "slower": result("x", 0.5),
    "same": result("x", 1.0),
    "same but for a hair": result("x", 1.015),
    "undecided": result("x", series=(series(1.1, noise=1.0),)),
    "undecided with one launch": result("x", series=(series(3.0, launches=1),)),
    "undecided drop": result("x", 3.0, answers=answers(lost=8)),
    "undecided without a gate": result("x", 3.0, gate=None),
    "slower at batch 1 only": result("x", series=(series(0.8), series(5.0, batch=16))),
}


@pytest.mark.parametrize("case", OTHERS)
def test_reference_is_recommended_without_a_faster_safe_backend(case):
    reason = f"no other backend is proven faster within the allowed drop (x: {case.split()[0]})"
    assert ("pytorch", reason) == recommended(OTHERS[case])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (failed(), ""),
        (unsupported(), ""),
        (result("x", 3.0, answers=answers(score=0.8)), " (x: score 0.8000 on 1000 rows is below min_score=0.9)"),
        (result("x", 3.0, answers=answers(lost=60, score=0.99)), " (x: score drops 6.00 points ["),
        (
            result("x", 3.0, gate=replace(GATE, min_speedup=5)),
            " (x: speed-up 3.00x [3.00, 3.00] against the reference, ",
        ),
    ],
    ids=["failed", "unsupported", "below min_score", "worse", "below min_speedup"],
)
def test_reason_names_the_limits_that_others_break(other, why):
    name, reason = recommended(other)
    assert "pytorch" == name
    nothing = "no other measured backend passes its gate" if why else "no other backend was measured"
    assert reason.startswith(f"{nothing}{why}")
    _, reason = recommended(other, result("slow", 0.5))
    assert reason.startswith("no other backend is proven faster within the allowed drop (slow: slower)")
    assert bool(why) == (f"; these break their gate{why}" in reason)


def test_wide_interval_leads_with_what_is_proven():
    _, reason = recommended(result("x", series=(series(12.0, noise=0.6, rounds=15),)))
    assert re.match(r"at least \d+\.\d\dx \(1\d\.\d\dx \[\d+\.\d\d, \d\d\.\d\d\]\) the reference's speed", reason)
    assert "2.00x [1.90, 2.10]" == lead_with_bound(Interval(2.0, 1.9, 2.1))
    assert "at most 0.22x (0.18x [0.15, 0.22])" == lead_with_bound(Interval(0.18, 0.15, 0.22))
    assert "1.20x [0.80, 1.90]" == lead_with_bound(Interval(1.2, 0.8, 1.9))


def test_cases_that_are_judged_at_different_batches_are_incomparable():
    gate = Gate(min_score=0.9, max_drop=0.01, batch=16)
    best, reason = recommend([result(), result("x", gate=gate, series=(series(2.0, batch=16), series(0.5)))])
    assert best is None
    assert "differ in batch of the gate: 1 and 16; run both again" in reason


def test_recommended_backend_that_is_slower_in_batches_says_so():
    one = result("x", series=(series(3.0), series(0.18, batch=16)))
    _, reason = recommended(one)
    assert "; but slower than the reference, 0.18x [0.18, 0.18] at batch 16" in reason
    faster = result("y", 4.0)
    (sentence,) = sentences.other_batches([result(), one, faster])
    assert "x is slower than the reference, 0.18x [0.18, 0.18] at batch 16." == sentence


def test_reference_that_was_not_timed_alone_is_still_recommended():
    alone = result(series=(), process=None)
    assert ("pytorch", "no other backend was measured") == recommended(failed(), reference=alone)


def test_min_speedup_in_doubt_is_named():
    gate = replace(GATE, min_speedup=2.0)
    _, reason = recommended(result("x", series=(series(2.0, noise=0.2),), gate=gate))
    assert "no other backend is proven to reach min_speedup=2 within the allowed drop (x: undecided)" == reason


def test_recommendation_without_the_reference():
    assert "onnxruntime" == recommend([result("onnxruntime", 2.0)])[0].backend
    best, reason = recommend([result("onnxruntime", 0.5)])
    assert best is None
    assert reason.startswith("pytorch, the reference, was not measured or does not qualify, and no other backend is ")
    assert reason.endswith("(onnxruntime: slower)")


@pytest.mark.parametrize("several", [[], [failed("pytorch"), failed()], [result(answers=answers(score=0.5))]])
def test_nothing_is_recommended_where_no_gate_is_passed(several):
    best, reason = recommend(several)
    assert best is None
    assert reason.startswith("no measured backend passes its gate")


@LAW
@given(st.lists(st.tuples(st.floats(0.3, 4.0), st.integers(0, 30)), max_size=4), st.randoms(use_true_random=False))
def test_recommendation_is_safe_and_independent_of_order(contenders, rng):
    several = [
        result(),
        *(result(f"b{i}", factor, answers=answers(lost)) for i, (factor, lost) in enumerate(contenders)),
    ]
    best, _ = recommend(several)
    assert best.backend == "pytorch" or own_speedup(best.series[0]).low > 1.02
    assert score_drop(best).high < GATE.max_drop
    again, _ = recommend(rng.sample(several, len(several)))
    assert own_speedup(best.series[0]).estimate == pytest.approx(own_speedup(again.series[0]).estimate)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"control": 0.9}, "the reference differs from itself: 0.9"),
        ({"control": 1.1}, "the reference differs from itself: 1.1"),
        ({"control_ns": ()}, "the control was lost"),
    ],
)
def test_invalid_speed_recommends_the_reference(changed, problem):
    name, reason = recommended(result("x", series=(series(2.0, **changed),)))
    assert "pytorch" == name
    assert reason.startswith(f"speed is not valid, because {problem}")
    assert reason.endswith("; measure again on a quieter machine")


def test_incomparable_results_give_no_recommendation():
    best, reason = recommend([result(), result("onnxruntime", 3.0, environment=elsewhere(threads=1))])
    assert best is None
    assert reason.startswith("results are not comparable: toy-task/toy-model.pytorch.cpu and toy-task/toy-model.onnx")
    assert "pytorch" == recommend([result(), failed(environment=elsewhere(threads=1))])[0].backend


# Constraints


def constrained(one, **limits):
    return replace(one, constraints=Constraints(**limits))


def sized(megabytes):
    return Built(key="44", size_bytes=int(megabytes * 1e6), seconds=1.0, info={})


FAST = result("fast", 4.0, process=process(memory_mb=900), artifact=sized(300))
FRUGAL = result("frugal", 2.0, process=process(memory_mb=100), artifact=sized(20))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "fast"),
        ({"max_memory_mb": 899}, "frugal"),
        ({"max_size_mb": 299}, "frugal"),
        ({"max_memory_mb": 900}, "fast"),
        ({"max_size_mb": 300}, "fast"),
        ({"max_latency_ms": 0.251}, "fast"),
    ],
    ids=str,
)
def test_constraints_exclude_what_exceeds_them(limits, expected):
    several = [constrained(one, **limits) for one in (result(), FAST, FRUGAL)]
    assert expected == recommend(several)[0].backend


def test_every_exceeded_constraint_is_named():
    limits = {"max_latency_ms": 0.1, "max_memory_mb": 50, "max_size_mb": 1}
    best, reason = recommend([constrained(one, **limits) for one in (result(), FRUGAL)])
    assert best is None
    assert reason == (
        "no backend meets the constraints of this run (pytorch: latency 1 ms exceeds 0.1, memory 250 MB exceeds 50, "
        "size 1.5 MB exceeds 1; frugal: latency 0.5 ms exceeds 0.1, memory 100 MB exceeds 50, size 20 MB exceeds 1)"
    )


def test_reference_beyond_the_constraints_is_not_recommended():
    slow = result("slow", 0.5, process=process(memory_mb=50))
    best, reason = recommend([constrained(one, max_memory_mb=100) for one in (result(), slow)])
    assert best is None
    assert reason.startswith("pytorch, the reference, was not measured or does not qualify")
    _, reason = recommend([constrained(one, max_memory_mb=300) for one in (result(), FAST)])
    assert "no other measured backend passes its gate and meets the constraints of this run" == reason


# The Pareto front


def front(*several):
    return [one.backend for one in pareto_front(several)]


def test_every_tradeoff_is_on_the_front():
    accurate = result("accurate", 1.5)
    fast = result("fast", 3.0, answers=answers(lost=30, score=0.99))
    small = result("small", 1.2, process=process(memory_mb=50))
    assert ["accurate", "fast", "small"] == front(result(), accurate, fast, small)


def test_proven_slower_and_no_better_is_beaten():
    assert ["fast"] == front(result("slow", 1.5), result("fast", 2.0))
    assert ["pytorch"] == front(result(), result("slow", 0.5))
    assert ["fast"] == front(result(), result("fast", 2.0))
    assert ["a"] == front(result("a", 2.0), result("b", 2.0, answers=answers(lost=60)))


@pytest.mark.parametrize(("memory_mb", "expected"), [(254, ["a", "b"]), (260, ["a"])])
def test_memory_beats_beyond_allocator_noise(memory_mb, expected):
    assert expected == front(result("a", 2.0), result("b", 2.0, process=process(memory_mb=memory_mb)))


def test_doubtful_speed_keeps_backends_on_the_front():
    loud = [result(name, series=(series(factor, noise=0.5),)) for name, factor in (("a", 2.0), ("b", 2.02))]
    assert ["a", "b"] == front(*loud)
    assert ["fast", "slow"] == front(result("fast", 2.0), result("slow", 0.5, measurement="another"))
    invalid = [result(name, series=(series(factor, control=1.2),)) for name, factor in (("a", 2.0), ("b", 0.5))]
    assert ["a", "b"] == front(*invalid)


@LAW
@given(st.lists(st.tuples(st.floats(0.3, 4.0), st.integers(0, 60), st.floats(50, 500)), min_size=1, max_size=4))
def test_front_is_never_empty_and_only_of_measured_results(contenders):
    several = [
        result(f"b{i}", factor, answers=answers(lost), process=process(memory_mb=memory))
        for i, (factor, lost, memory) in enumerate(contenders)
    ]
    names = front(result(), *several, failed("broken"))
    assert names
    assert "broken" not in names
