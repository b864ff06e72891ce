"""The choice between machines: what may ship there, what it costs, and whether it can be compared at all."""

import math
from dataclasses import replace

import factory
import pytest
from scipy.stats import t

from harness.results.schema import Constraints
from harness.stats.intervals import Interval, spread_interval
from harness.verdicts.machines import Timing, by_model, candidates, cheapest, subject_differences
from harness.verdicts.recommendation import may_ship


def on(machine, *results):
    return [replace(result, environment=factory.elsewhere(machine=machine)) for result in results]


def timing(**changed):
    known = {"batch": 1, "call_ms": Interval(1, 1, 1), "request_ms": Interval(36.0, 18.0, 72.0), "gain": None}
    return Timing(**(known | changed))


def test_spread_interval_is_students_on_a_logarithmic_scale():
    parts = [1.0, 2.0, 4.0]
    half = t.ppf(0.975, 2) * math.log(2) / math.sqrt(3)
    interval = spread_interval(3.0, parts)
    assert [3.0, 3 * math.exp(-half), 3 * math.exp(half)] == pytest.approx(
        [interval.estimate, interval.low, interval.high]
    )
    assert Interval(3.0, 3.0, 3.0) == spread_interval(3.0, [2.0, 2.0])
    assert Interval(3.0, 0.0, math.inf) == spread_interval(3.0, [2.0])


def test_million_requests_cost_their_time_at_the_price_of_an_hour():
    """36 ms a request are ten hours for a million."""
    assert (1.7, 0.85, 3.4) == pytest.approx([getattr(timing().cost(0.17), end) for end in ("estimate", "low", "high")])


def test_candidate_has_its_time_for_a_call_and_for_a_request():
    first, last = factory.series(2.0, noise=0), factory.series(2.0, batch=16, noise=0)
    slow = replace(first, own_ns=((500_000,) * 59 + (60 * 500_000,),) * 4)  # one call of 60 takes as long as the others
    reference, fast = candidates([factory.result(), factory.result("fast", 2.0, series=(slow, last))])
    assert (0.5, 0.5 * (59 + 60) / 60) == pytest.approx((fast.first.call_ms.estimate, fast.first.request_ms.estimate))
    assert (16, 0.5, 0.5 / 16) == pytest.approx(
        (fast.last.batch, fast.last.call_ms.estimate, fast.last.request_ms.estimate)
    )
    assert 2.0 == pytest.approx(fast.last.gain.estimate, rel=1e-3)
    assert reference.first.gain is None


def test_candidates_know_their_verdict_and_the_choice_of_their_machine():
    group = [*factory.comparison(), factory.result("worse", 3.0, answers=factory.answers(lost=90))]
    found = {one.backend: (one.word, one.ships, one.is_chosen, one.first is None) for one in candidates(group)}
    assert {
        "pytorch": ("reference", True, False, False),
        "onnxruntime": ("ship", True, True, False),
        "onnxruntime-int8": ("slower", False, False, False),
        "broken": ("failed", False, False, True),
        "onnxruntime-o2": ("unsupported", False, False, True),
        "worse": ("worse", False, False, False),
    } == found


def test_candidate_of_an_earlier_run_says_so():
    earlier = factory.result("onnxruntime", 1.5, measurement="ba9876543210", created="2025-12-31T00:00:00+00:00")
    assert ["reference", "ship, not in the last run"] == [one.word for one in candidates([factory.result(), earlier])]


def test_largest_batch_is_that_of_the_comparison():
    small = factory.result("small", 1.5, series=(factory.series(1.5),))
    assert [16, None] == [one.last and one.last.batch for one in candidates([factory.result(), small])]
    alone = [factory.result(series=(factory.series(None),)), small]
    assert [None, None] == [one.last for one in candidates(alone)]


def test_nothing_may_ship_where_nothing_is_recommended():
    broken = factory.result(answers=factory.answers(score=0.5))
    assert [] == may_ship([broken, factory.result("onnxruntime", 2.0, answers=factory.answers(score=0.5))])


def test_constraints_of_the_run_hold_for_what_may_ship():
    limit = Constraints(max_latency_ms=0.8)
    group = [factory.result(constraints=limit), factory.result("onnxruntime", 2.0, constraints=limit)]
    assert ["onnxruntime"] == [result.backend for result in may_ship(group)]


def test_cheapest_names_those_that_overlap():
    several = [("a", Interval(1.0, 0.9, 1.1)), ("b", Interval(1.2, 1.05, 1.4)), ("c", Interval(2.0, 1.2, 3.0))]
    assert ("a", ["b"]) == cheapest(several)


def test_models_are_grouped_over_machines():
    groups = [
        on("m7a", *factory.comparison("b")),
        on("c7i", *factory.comparison("a")),
        on("c7i", *factory.comparison("b")),
    ]
    found = list(by_model(one for group in groups for one in candidates(group)))
    assert [["c7i"], ["m7a", "c7i"]] == [list(dict.fromkeys(one.machine for one in group)) for group in found]


def several(*pairs):
    return [one for machine, result in pairs for one in candidates(on(machine, result))]


def test_different_rows_and_models_are_named_by_their_smallest_part():
    recipe = {"source": {"type": "Scratch", "config": {"layers": 4, "dropout": 0.1}}, "max_length": 96}
    other = {"source": {"type": "Scratch", "config": {"layers": 4}}, "max_length": 128}
    first, second = factory.result(recipe=recipe), factory.result(recipe=other)
    assert [] == subject_differences(several(("c7i", first), ("m7a", first)))
    assert [
        "model source, config, dropout is 0.1 on c7i and g6, none on m7a",
        "max_length is 96 on c7i and g6, 128 on m7a",
    ] == subject_differences(several(("c7i", first), ("g6", first), ("m7a", second)))
    rows = replace(first, data=replace(first.data, sha256={"test": "22"}))
    assert ["test rows is 11 on c7i, 22 on m7a"] == subject_differences(several(("c7i", first), ("m7a", rows)))


def test_case_that_failed_early_differs_in_nothing():
    failed = factory.failed(data=None)
    assert [] == subject_differences(several(("c7i", factory.result()), ("m7a", failed)))
