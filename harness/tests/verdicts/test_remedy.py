"""The remedies of an undecided case: rows or a larger max_drop, rounds, and whether another run may decide."""

import re
from dataclasses import replace

import pytest
from factory import answers, failed, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.results.schema import Bounds, Seed
from harness.spec import Gate
from harness.stats.intervals import drop_interval
from harness.verdicts.accuracy import judge_accuracy
from harness.verdicts.remedy import remedies
from harness.verdicts.verdict import verdict


def tickets(lost, gained=0, rows=300, max_drop=0.01, every=1000):
    """A backend four times as fast, on so many test rows of a data set with `every` rows."""
    known = result(
        "onnxruntime", 4.0, answers=answers(lost, gained, rows=rows), gate=Gate(min_score=0.5, max_drop=max_drop)
    )
    return replace(known, data=replace(known.data, sizes={"train": every - rows, "test": rows}))


@pytest.mark.parametrize("one", [result(), result("x", 2.0), result("x", 0.5), failed(), unsupported(), tickets(60)])
def test_decided_cases_need_no_remedy(one):
    assert [] == remedies(one)


def test_flips_on_few_rows_name_rows_and_max_drop():
    (remedy,) = remedies(tickets(1))
    assert not remedy.by_repeating
    assert remedy.text == (
        "needs about 660 test rows instead of 300, if as many in a hundred flip (its splits together hold as many), or "
        "max_drop ≥ 0.016; running again will not help"
    )
    (remedy,) = remedies(tickets(2, every=350))
    assert "(its splits together hold 350)" in remedy.text


@settings(max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(300, 3000))
def test_named_rows_and_max_drop_decide(lost, gained, rows):
    one = tickets(lost, gained, rows=rows, every=5000)
    for remedy in remedies(one):
        larger = float(re.search(r"max_drop ≥ ([\d.]+)", remedy.text)[1])
        assert "not worse" == judge_accuracy(replace(one, gate=Gate(min_score=0.5, max_drop=larger)))
        if needed := re.search(r"about ([\d,]+) test rows", remedy.text):
            size = int(needed[1].replace(",", ""))
            drop = drop_interval(lost * size / rows, gained * size / rows, size)
            assert drop.high < 0.01 or drop.low > 0.01


def test_bootstrapped_drop_needs_rows_by_the_square_root():
    one = tickets(0, rows=1000)
    scored = replace(one.answers, score=0.945, reference_score=0.95, drop_bounds=Bounds(low=-0.005, high=0.015))
    one = replace(one, answers=scored, data=replace(one.data, metric="f1-macro"))
    (remedy,) = remedies(one)
    assert remedy.text.startswith("needs about 4,100 test rows instead of 1,000")


def test_drop_without_a_score_is_never_decided_by_repeating():
    for one in (tickets(0), replace(tickets(0), gate=None)):
        bare = replace(one, answers=replace(one.answers, score=None))
        assert [False] == [remedy.by_repeating for remedy in remedies(bare)]


@pytest.mark.parametrize(
    ("changed", "text", "by_repeating"),
    [
        ({"launches": 1}, "60 rounds in 1 launch(es) give no interval; run again with more of them", True),
        ({"control": 1.2}, "run again on a quieter machine", True),
        ({"factor": 1.06, "noise": 0.05, "rounds": 8}, "needs about ", True),
        ({"factor": 1.02, "noise": 0.05}, "needs about ", False),
    ],
)
def test_rounds_are_named_and_whether_they_are_within_reach(changed, text, by_repeating):
    one = result("x", series=(series(**({"factor": 2.0} | changed)),))
    (remedy,) = remedies(one)
    assert remedy.text.startswith(text)
    assert by_repeating == remedy.by_repeating


def test_unmeasured_speed_is_not_mended_by_repeating():
    one = result("x", series=())
    assert "invalid" == verdict(one).word
    assert [False] == [remedy.by_repeating for remedy in remedies(one)]


def test_collapse_is_not_mended_by_repeating():
    one = result("x", 2.0, seeds=(Seed(seed=0, score=0.5, only_label="a"),))
    assert "invalid" == verdict(one).word
    assert ["running again will not help"] == [remedy.text for remedy in remedies(one)]


def test_readme_gate_leaves_room_for_flips():
    assert "ship" == verdict(tickets(3, max_drop=0.03)).word
