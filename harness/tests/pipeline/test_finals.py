"""Laws of the finals: when another model may replace a task's first, and how that is told."""

from dataclasses import replace

import pytest
from factory import HERE, series

from harness.errors import HarnessError
from harness.results.schema import Bounds, Finalist, Finals
from harness.verdicts.recommendation import standing, winner

ROWS = 1000
FIRST = "1" * 900 + "0" * 100


def entry(model, factor=1.0, right=FIRST, **changed):
    known = {"score": right.count("1") / ROWS, "size_bytes": 1, "process": None, "series": (series(factor),)}
    return Finalist(model=model, backend="pytorch", right=right, **(known | changed))


def finals(*others, max_drop=0.01):
    return Finals(
        task="toy", device="cpu", measurement="0", created="2026-01-01T00:00:00+00:00", environment=HERE,
        metric="accuracy", test_sha256="0", max_drop=max_drop, entries=(entry("first", None), *others), absent={},
    )  # fmt: skip


def test_the_fastest_of_those_proven_faster_and_safe_wins():
    best, why = winner(finals(entry("small", 2.0), entry("tiny", 3.0), entry("slow", 0.5)))
    assert "tiny" == best.model
    assert why.startswith("tiny on pytorch is 3.00x [")
    assert why.endswith("fewer rows right than first on pytorch, which it may replace")


@pytest.mark.parametrize(
    ("factor", "right", "max_drop", "said"),
    [
        (3.0, "1" * 895 + "0" * 105, 0.005, "leaves open whether it loses more than the 0.5 allowed"),
        (3.0, "1" * 800 + "0" * 200, 0.01, "proven more than the 1 allowed"),
        (1.0, FIRST, 0.01, "is not proven faster"),
        (3.0, FIRST, None, "no gate says what may be lost"),
    ],
)
def test_else_the_first_stays_and_it_is_said_why(factor, right, max_drop, said):
    best, why = winner(finals(entry("other", factor, right), max_drop=max_drop))
    assert "first" == best.model
    assert said in why


def test_rows_gained_are_told_as_gained_with_their_bounds():
    _, why = winner(finals(entry("other", 2.0, "1" * 950 + "0" * 50)))
    assert "has 5.00 points [3." in why
    assert "] more rows right" in why


def test_where_the_first_differs_from_itself_no_speed_is_told():
    loud = entry("other", series=(series(3.0, control=1.2),))
    assert standing(finals(loud), loud).pace is None
    best, why = winner(finals(loud))
    assert "first" == best.model
    assert "is of no valid speed (the reference differs from itself: " in why


def test_models_that_answered_other_rows_are_refused():
    with pytest.raises(ValueError, match="same test rows"):
        finals(entry("other", right="1"))


def test_finals_without_an_entry_say_what_to_do():
    with pytest.raises(HarnessError, match="delete the file and run the suite again"):
        winner(replace(finals(), entries=()))


def test_a_score_that_counts_no_rows_is_judged_by_its_own_bounds():
    bounds = Bounds(low=-0.01, high=0.004)
    best, why = winner(finals(entry("small", 2.0, score=0.898, right=FIRST, bounds=bounds)))
    assert "small" == best.model
    assert "and scores 0.20 points [-1.00, 0.40] less than first on pytorch" in why
    best, why = winner(finals(entry("small", 2.0, score=0.898, bounds=replace(bounds, high=0.011))))
    assert "first" == best.model
    assert "leaves open whether it loses more than the 1 allowed" in why
