"""The finals: which models meet, when one may replace a task's first, and what the sentence says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from factory import HERE, result, series

from harness.errors import HarnessError
from harness.pipeline.finals import OVERALL, lineups
from harness.report.sentences import finals_notes
from harness.results.schema import Bounds, Finalist, Finals
from harness.spec import Gate
from harness.verdicts.recommendation import standing, winner

ROWS = 1000
LIMITS = {"min_score": 0.5, "max_drop": 0.01}
FIRST = "1" * 900 + "0" * 100


def entry(model, factor=1.0, correct=FIRST, **changed):
    known = {"score": correct.count("1") / ROWS, "size_bytes": 1, "process": None, "series": (series(factor),)}
    return Finalist(model=model, backend="pytorch", correct=correct, **(known | changed))


def finals(*others, max_drop=0.01):
    return Finals(
        task="toy", device="cpu", measurement="0", created="2026-01-01T00:00:00+00:00", environment=HERE,
        metric="accuracy", test_sha256="0", max_drop=max_drop, entries=(entry("first", None), *others), absent={},
    )  # fmt: skip


def test_only_tasks_with_two_recommended_models_have_finals():
    results = [
        result(backend, factor, task=task, model=model, measurement=f"{task} {model}")
        for task, model in (("one", "a"), ("two", "b"), ("two", "a"))
        for backend, factor in (("pytorch", None), ("fast", 2.0))
    ]
    results += [replace(result(), task="two", model="c", measurement="c", status="failed")]
    names = [f"{each.task}/{each.model}" for each in results]
    selected = {
        each.name: (SimpleNamespace(model=SimpleNamespace(name=each.model), name=name, gate=each.gate), "folder")
        for each, name in zip(results, names, strict=True)
    }
    (lineup,) = lineups(results, selected)
    assert ("two", "cpu", ["c"]) == (lineup.task, lineup.device, list(lineup.absent))
    assert ["two/a", "two/b"] == [case.name for case, _ in lineup.entrants]


def test_models_judged_at_another_batch_than_the_first_are_absent():
    one, other = (
        (result(model=model, measurement=model, series=(series(None, batch=batch),)), Gate(**LIMITS, batch=batch))
        for model, batch in (("a", 1), ("b", 16))
    )
    third = (replace(one[0], model="c", measurement="c"), one[1])
    selected = {
        each.name: (SimpleNamespace(model=SimpleNamespace(name=each.model), gate=gate), "folder")
        for each, gate in (one, other, third)
    }
    (lineup,) = lineups([one[0], other[0], third[0]], selected)
    assert {"b": "its gate judges batch 16, that of the first model batch 1"} == lineup.absent


def test_fastest_entry_proven_faster_and_safe_wins():
    best, why = winner(finals(entry("small", 2.0), entry("tiny", 3.0), entry("slow", 0.5)))
    assert "tiny" == best.model
    assert why.startswith("tiny on pytorch is 3.00x [")
    assert why.endswith("fewer rows right than first on pytorch, which it may replace")


@pytest.mark.parametrize(
    ("factor", "correct", "max_drop", "reason"),
    [
        (3.0, "1" * 895 + "0" * 105, 0.005, "perhaps more than the 0.5 allowed"),
        (3.0, "1" * 800 + "0" * 200, 0.01, "proven more than the 1 allowed"),
        (1.0, FIRST, 0.01, "is not proven faster"),
        (3.0, FIRST, None, "no gate sets a max_drop"),
    ],
)
def test_otherwise_the_first_stays_with_a_reason(factor, correct, max_drop, reason):
    best, why = winner(finals(entry("other", factor, correct), max_drop=max_drop))
    assert "first" == best.model
    assert reason in why


def test_gained_rows_are_reported_as_gained():
    _, why = winner(finals(entry("other", 2.0, "1" * 950 + "0" * 50)))
    assert "has 5.00 points [3." in why
    assert "] more rows right" in why


def test_speed_is_withheld_where_the_control_differs():
    loud = entry("other", series=(series(3.0, control=1.2),))
    assert standing(finals(loud), loud).pace is None
    best, why = winner(finals(loud))
    assert "first" == best.model
    assert "(the reference differs from itself: " in why


def test_answers_to_different_rows_are_refused():
    with pytest.raises(ValueError, match="same test rows"):
        finals(entry("other", correct="1"))


def test_finals_without_an_entry_are_refused():
    with pytest.raises(HarnessError, match="delete the file and run the suite again"):
        winner(replace(finals(), entries=()))


def test_metric_that_counts_no_rows_uses_its_own_bounds():
    bounds = Bounds(low=-0.01, high=0.004)
    best, why = winner(finals(entry("small", 2.0, score=0.898, drop_bounds=bounds)))
    assert "small" == best.model
    assert "scores 0.20 points [-1.00, 0.40] less than first on pytorch" in why
    best, why = winner(finals(entry("small", 2.0, score=0.898, drop_bounds=replace(bounds, high=0.011))))
    assert "first" == best.model
    assert "perhaps more than the 1 allowed" in why


def test_remarks_of_the_finals_are_shown():
    assert OVERALL == finals_notes(replace(finals(entry("other")), notes=(OVERALL,)))[-1]
