"""Laws of choosing: the fastest that is proven, promised and within constraints; else the reference; else nothing."""

import re
from dataclasses import replace

import pytest
from factory import GATE, answers, elsewhere, failed, process, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.results.schema import Built, Constraints
from harness.verdicts.accuracy import drop
from harness.verdicts.recommendation import choose, recommend, undominated
from harness.verdicts.speed import own_speedup

LAW = settings(max_examples=60)


def chosen(*others, reference=None):
    found, why = choose([reference or result(), *others])
    return found.backend if found else None, why


# The fastest that is safe


def test_the_fastest_backend_that_is_safe_is_chosen():
    name, why = chosen(result("onnxruntime", 1.5), result("onnxruntime-int8", 3.0), result("onnxruntime-o2", 2.0))
    assert "onnxruntime-int8" == name
    assert why.startswith("3.00x [")
    lost = r"losing 0\.00 points \[-0\.\d\d, 0\.\d\d\] of accuracy where 1 may be lost"
    assert re.search(rf"\] the reference's speed at batch 1, {lost}$", why)


@pytest.mark.parametrize(("names", "told"), [(["b"], "b"), (["b", "c"], "b and c"), (["b", "c", "d"], "b, c and d")])
def test_those_that_may_be_as_fast_are_named(names, told):
    name, why = chosen(result("a", 3.0), *(result(name, 3.0) for name in names))
    assert "a" == name
    assert why.endswith(f"may be lost, not told apart from {told}")


OTHERS = {
    "slower": result("x", 0.5),
    "same": result("x", 1.0),
    "same but for a hair": result("x", 1.015),
    "undecided": result("x", series=(series(1.1, noise=1.0),)),
    "undecided with one start": result("x", series=(series(3.0, launches=1),)),
    "undecided of drop": result("x", 3.0, answers=answers(lost=8)),
    "worse": result("x", 3.0, answers=answers(lost=60, score=0.99)),
    "undecided without a gate": result("x", 3.0, gate=None),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_reference_is_chosen_where_nothing_is_both_faster_and_safe(case):
    name, why = chosen(OTHERS[case])
    assert "pytorch" == name
    told = (
        "nothing else was measured that keeps its gate"
        if case == "worse"
        else (f"nothing beside it is proven both faster and no worse (x {case.split()[0]})")
    )
    assert told == why


@pytest.mark.parametrize(
    "other",
    [failed(), unsupported(), result("x", 3.0, answers=answers(score=0.8))],
    ids=["failed", "unsupported", "under the floor"],
)
def test_what_did_not_run_well_is_not_told_of(other):
    assert ("pytorch", "nothing else was measured that keeps its gate") == chosen(other)


def test_a_fast_and_safe_backend_is_chosen_though_the_reference_was_not_selected():
    assert "onnxruntime" == choose([result("onnxruntime", 2.0)])[0].backend


def test_without_the_reference_selected_none_is_chosen_where_nothing_else_is_faster():
    found, why = choose([result("onnxruntime", 0.5)])
    assert found is None
    assert why.startswith("the reference, pytorch, was not selected or keeps no gate, and nothing beside it is ")
    assert why.endswith("(onnxruntime slower)")


@pytest.mark.parametrize(
    "reference", [failed("pytorch"), result(answers=answers(score=0.5))], ids=["failed", "under the floor"]
)
def test_nothing_is_chosen_where_not_even_the_reference_ran_well(reference):
    assert (None, "no backend was measured that keeps its gate") == chosen(reference=reference)


def test_nothing_is_chosen_of_nothing():
    assert (None, "no backend was measured that keeps its gate") == choose([])


def test_batch_1_decides():
    mixed = result("onnxruntime", series=(series(0.8), series(5.0, batch=16)))
    assert "pytorch" == chosen(mixed)[0]


def test_of_two_equals_the_first_is_chosen_whatever_their_names():
    for names in (("a", "b"), ("b", "a")):
        assert names[0] == chosen(*(result(name, 2.0) for name in names))[0]


@LAW
@given(st.lists(st.tuples(st.floats(0.3, 4.0), st.integers(0, 30)), max_size=4))
def test_what_is_chosen_is_never_slower_than_the_reference_nor_unsafe(contenders):
    others = [result(f"b{i}", factor, answers=answers(lost)) for i, (factor, lost) in enumerate(contenders)]
    found, _ = choose([result(), *others])
    assert found.backend == "pytorch" or own_speedup(found.series[0]).low > 1.02
    assert drop(found).high < GATE.max_drop


@LAW
@given(st.lists(st.floats(0.3, 4.0), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_results_does_not_matter_to_what_is_chosen(factors, dice):
    others = [result(f"b{i}", factor + i / 10) for i, factor in enumerate(factors)]
    shuffled = dice.sample(others, len(others))
    assert own_speedup(choose([result(), *others])[0].series[0]).estimate == pytest.approx(
        own_speedup(choose([*shuffled, result()])[0].series[0]).estimate
    )


# Speed that cannot be judged


@pytest.mark.parametrize("control", [0.9, 1.1])
def test_where_the_reference_differs_from_itself_it_is_chosen_with_the_reason(control):
    several = [result(series=(series(None, control=control),)), result("x", series=(series(2.0, control=control),))]
    found, why = choose(several)
    assert "pytorch" == found.backend
    assert why.startswith(f"speed is invalid here, because the reference differs from itself: {control}")
    assert why.endswith("; measure again on a quieter machine")


def test_where_the_control_was_lost_the_reference_is_chosen_with_the_reason():
    several = [result(), result("onnxruntime", series=(series(2.0, control_ns=()),))]
    found, why = choose(several)
    assert "pytorch" == found.backend
    assert why.startswith("speed is invalid here, because the control was lost")


def test_results_that_are_not_comparable_are_not_chosen_from():
    found, why = recommend([result(), result("onnxruntime", 3.0, environment=elsewhere(threads=1))])
    assert (None, True) == (found, why.startswith("not comparable: "))


# Constraints


def held(one, **limits):
    return replace(one, constraints=Constraints(**limits))


def sized(megabytes):
    return Built(key="44", size_bytes=int(megabytes * 1e6), seconds=1.0, info={})


FAST = result("fast", 4.0, process=process(memory_mb=900), artifact=sized(300))
FRUGAL = result("frugal", 2.0, process=process(memory_mb=100), artifact=sized(20))


def test_without_constraints_the_fastest_is_chosen():
    assert "fast" == chosen(FAST, FRUGAL)[0]


@pytest.mark.parametrize("limits", [{"max_memory_mb": 899}, {"max_size_mb": 299}], ids=str)
def test_a_backend_beyond_a_constraint_is_passed_over(limits):
    several = [held(one, **limits) for one in (result(), FAST, FRUGAL)]
    assert "frugal" == choose(several)[0].backend


@pytest.mark.parametrize("limits", [{"max_memory_mb": 900}, {"max_size_mb": 300}, {"max_latency_ms": 0.251}], ids=str)
def test_a_limit_is_itself_allowed(limits):
    several = [held(one, **limits) for one in (result(), FAST, FRUGAL)]
    assert "fast" == choose(several)[0].backend


def test_a_latency_is_the_median_call_of_batch_1():
    several = [held(one, max_latency_ms=0.6) for one in (result(), FRUGAL)]
    assert "frugal" == choose(several)[0].backend
    several = [held(one, max_latency_ms=0.4) for one in (result(), FRUGAL)]
    found, why = choose(several)
    assert found is None
    assert "(pytorch: latency 1 ms is over 0.4; frugal: latency 0.5 ms is over 0.4)" == why[why.index("(") :]


def test_where_everything_breaks_the_constraints_every_break_is_told():
    limits = {"max_latency_ms": 0.1, "max_memory_mb": 50, "max_size_mb": 1}
    found, why = choose([held(one, **limits) for one in (result(), FRUGAL)])
    assert found is None
    assert "frugal: latency 0.5 ms is over 0.1, memory 100 MB is over 50, size 20 MB is over 1" in why
    assert "pytorch: latency 1 ms is over 0.1, memory 250 MB is over 50, size 1.5 MB is over 1" in why


def test_a_reference_beyond_the_constraints_is_not_fallen_back_on():
    slow = result("slow", 0.5, process=process(memory_mb=50))
    found, why = choose([held(one, max_memory_mb=100) for one in (result(), slow)])
    assert found is None
    assert why.startswith("the reference, pytorch, was not selected or keeps no gate")


@LAW
@given(st.floats(0.05, 2), st.floats(10, 1000), st.floats(0.1, 400))
def test_what_is_chosen_keeps_every_constraint(latency, memory, size):
    limits = {"max_latency_ms": latency, "max_memory_mb": memory, "max_size_mb": size}
    found, _ = choose([held(one, **limits) for one in (result(), FAST, FRUGAL)])
    if found is not None:
        assert latency >= {"pytorch": 0.99, "fast": 0.24, "frugal": 0.49}[found.backend]
        assert memory >= {"pytorch": 250, "fast": 900, "frugal": 100}[found.backend]
        assert size >= {"pytorch": 1.5, "fast": 300, "frugal": 20}[found.backend]


# What no other beats


def names(*several):
    return [one.backend for one in undominated(several)]


def test_each_trade_of_speed_against_loss_or_memory_is_unbeaten():
    accurate = result("accurate", 1.5)
    fast = result("fast", 3.0, answers=answers(lost=30, score=0.99))
    small = result("small", 1.2, process=process(memory_mb=50))
    assert ["accurate", "fast", "small"] == names(result(), accurate, fast, small)


def test_one_that_is_proven_slower_and_no_better_is_beaten():
    assert ["fast"] == names(result("fast", 2.0), result("slow", 1.5))
    assert ["fast"] == names(result("slow", 1.5), result("fast", 2.0))


def test_two_that_are_alike_are_both_unbeaten():
    assert ["a", "b"] == names(result("a", 2.0), result("b", 2.0))


def test_a_lead_within_noise_beats_nothing():
    loud = [result(name, series=(series(factor, noise=0.5),)) for name, factor in (("a", 2.0), ("b", 2.02))]
    assert ["a", "b"] == names(*loud)


@pytest.mark.parametrize(("memory_mb", "expected"), [(254, ["a", "b"]), (260, ["a"])])
def test_memory_beats_beyond_what_allocators_differ_by(memory_mb, expected):
    assert expected == names(result("a", 2.0), result("b", 2.0, process=process(memory_mb=memory_mb)))


def test_a_proven_loss_is_beaten_by_its_equal_in_speed():
    assert ["a"] == names(result("a", 2.0), result("b", 2.0, answers=answers(lost=60)))


def test_the_reference_takes_part():
    assert ["pytorch"] == names(result(), result("slow", 0.5))
    assert ["fast"] == names(result(), result("fast", 2.0))


def test_samples_of_two_measurements_beat_nothing():
    assert ["fast", "slow"] == names(result("fast", 2.0), result("slow", 0.5, measurement="another"))


def test_where_speed_is_invalid_nothing_is_beaten():
    several = [result(name, series=(series(factor, control=1.2),)) for name, factor in (("a", 2.0), ("b", 0.5))]
    assert ["a", "b"] == names(*several)


@LAW
@given(st.lists(st.tuples(st.floats(0.3, 4.0), st.integers(0, 60), st.floats(50, 500)), min_size=1, max_size=4))
def test_something_is_always_unbeaten_and_only_the_measured_is(contenders):
    several = [
        result(f"b{i}", factor, answers=answers(lost), process=process(memory_mb=memory))
        for i, (factor, lost, memory) in enumerate(contenders)
    ]
    found = names(result(), *several, failed("broken"))
    assert found
    assert "broken" not in found
