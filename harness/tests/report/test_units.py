"""Drops in the unit of a metric of numbers, and limits where less is better: in verdicts, tables and proposals."""

import re
from dataclasses import replace

import pytest
from factory import answers, result

from harness.backends import PYTORCH
from harness.commands.gates import Spread, proposals
from harness.contracts.sources import Folder, Local
from harness.report.charts import pictures
from harness.report.documents import case_line, document, section, summary_table, terminal_text
from harness.report.integrations import github_summary
from harness.report.page import page
from harness.report.rendering import is_missing, signed_drop
from harness.report.sentences import spread_of_seeds
from harness.results.schema import Bounds, Finalist, Finals, Seed
from harness.spec import Case, Gate, Model, Recipe, Task
from harness.stats.intervals import Interval
from harness.verdicts.accuracy import format_allowed, format_drop, propose, score_drop
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend, standing, winner
from harness.verdicts.table import tidy
from harness.verdicts.verdict import shortfalls, verdict

MAE = Gate(max_score=0.5, max_drop=0.05)


def measured(backend="onnxruntime", metric="mae", own=0.412, other=0.4, low=-0.01, high=0.034, gate=MAE, **changed):
    """A case of a metric of numbers, whose drop has these bounds."""
    one = result(backend, 2.0, gate=gate, **changed)
    bounds = Bounds(low=low, high=high)
    scored = replace(
        answers(), score=own, reference_score=other, source_score=other, drop_bounds=bounds, source_drop_bounds=bounds,
        score_bounds=Bounds(low=own - 0.05, high=own + 0.05), correct="0" * 1000, agreement=0.5,
    )  # fmt: skip
    return replace(one, data=replace(one.data, metric=metric, labels=(), kind="text-regression"), answers=scored)


def group(**changed):
    reference = measured("pytorch", own=0.4, low=0.0, high=0.0)
    return [reference, measured(**changed)]


@pytest.mark.parametrize(
    ("drop", "metric", "expected"),
    [
        (Interval(0.012, -0.01, 0.034), "mae", "is worse by 0.0120 mae [-0.0100, 0.0340]"),
        (Interval(-0.012, -0.034, 0.01), "mae", "is better by 0.0120 mae [-0.0100, 0.0340]"),
        (Interval(1234.5, -1.0, 4321.0), "rmse", "is worse by 1234 rmse [-1, 4321]"),
        (Interval(0.00012, 0.0, 0.0002), "mae", "is worse by 0.000120 mae [0.000000, 0.000200]"),
        (Interval(0.012, -0.01, 0.034), "pearson", "drops 0.0120 pearson [-0.0100, 0.0340]"),
        (Interval(-0.012, -0.034, 0.01), "r2", "gains 0.0120 r2 [-0.0100, 0.0340]"),
        (Interval(0.002, -0.001, 0.005), "accuracy", "drops 0.20 points [-0.10, 0.50]"),
    ],
)
def test_sentences_give_drops_in_their_unit(drop, metric, expected):
    assert expected == format_drop(drop, metric)


@pytest.mark.parametrize(("metric", "expected"), [("mae", "0.05"), ("accuracy", "5")])
def test_allowed_drop_has_the_unit_of_drops(metric, expected):
    assert expected == format_allowed(0.05, metric)


def test_smaller_error_is_a_gain():
    assert pytest.approx(0.012) == score_drop(measured()).estimate
    assert pytest.approx(-0.05) == score_drop(measured(own=0.35)).estimate
    assert pytest.approx(0.012) == score_drop(measured(metric="pearson", own=0.4, other=0.412)).estimate


def test_error_above_its_limit_breaks_the_gate():
    assert ["score 0.5200 on 1000 rows is above max_score=0.5 (reference: 0.4000); its 95 % interval [0.4700, 0.5700] "
            "includes max_score, which is held against the score itself"] == shortfalls(measured(own=0.52))  # fmt: skip
    assert [] == shortfalls(measured(own=0.5))
    far = shortfalls(measured(own=0.6))
    assert ["score 0.6000 on 1000 rows is above max_score=0.5 (reference: 0.4000)"] == far
    assert "below" == verdict(measured(own=0.52)).word


def test_proven_drop_in_an_error_is_worse():
    case = measured(own=0.47, low=0.06, high=0.08)
    assert "worse" == verdict(case).word
    assert (
        "score is worse by 0.0700 mae [0.0600, 0.0800] against pytorch, more than the 0.05 allowed"
        == shortfalls(case)[0]
    )
    assert "ship" == verdict(measured()).word
    assert "undecided" == verdict(measured(high=0.06)).word


def test_recommendation_names_the_unit():
    best, reason = recommend(group())
    assert "onnxruntime" == best.backend
    assert ", score is worse by 0.0120 mae [-0.0100, 0.0340] (allowed: 0.05)" in reason


def test_tables_name_the_unit():
    text = document(map(section, comparisons(group())))
    assert "| drop (mae) " in text.replace("  ", "")
    assert "+0.0120 [-0.0100, +0.0340]" in text
    assert "points" not in text
    assert "drop (mae)" in terminal_text(group())
    assert "drop (points)" in terminal_text([result(), result("onnxruntime", 2.0)])


def test_table_of_several_tasks_names_units_in_cells():
    others = [replace(one, task="other") for one in (result(), result("onnxruntime", 2.0))]
    groups = list(comparisons([*group(), *others]))
    assert "≤ 0.0340 mae" in summary_table(groups)
    assert "+0.0120 [-0.0100, +0.0340] mae" in github_summary([*group(), *others]).replace("\\", "")
    html = page([*group(), *others])
    assert "drop (points, or as named)" in html
    assert "+0.0120 [-0.0100, +0.0340] mae" in html
    assert "drop (points)" in page(others)


def test_line_of_a_case_names_the_unit():
    assert "drop 0.0120 mae (≤ 0.0340 mae)" in case_line(measured())
    assert "drop 0.0700 mae (≥ 0.0600 mae)" in case_line(measured(own=0.47, low=0.06, high=0.08))


def test_tidy_table_has_the_limit_and_the_drop_in_the_unit():
    row = tidy(group()).iloc[-1]
    assert (0.5, 0.05) == (row["max_score"], row["max_drop"])
    assert is_missing(row["min_score"])
    assert (pytest.approx(0.012), -0.01, 0.034) == (row["drop"], row["drop_low"], row["drop_high"])
    assert is_missing(row["provable_drop"])


def test_signed_drops_of_zero_have_no_sign():
    assert "0.00 [0.00, 0.00]" == signed_drop(Interval(0.0, 0.0, 0.0), "mae")


def test_chart_has_the_unit_on_its_axis():
    (figure,) = (picture.figure for picture in pictures(group()) if picture.title == "Drop against speed")
    (axes,) = figure.axes
    assert "drop (mae)" == axes.get_ylabel()
    heights = [line.get_ydata()[0] for line in axes.lines]
    assert {0.012, 0.05} <= {round(float(height), 6) for height in heights}  # the drop, and what is allowed


def test_spread_of_seeds_has_the_unit():
    seeds = tuple(Seed(seed=number, score=0.4 + 0.01 * number) for number in range(3))
    (sentence,) = spread_of_seeds([replace(one, seeds=seeds) for one in group()])
    assert (
        "a range of 0.0200 mae (standard deviation 0.0100); backends differ from it by at most 0.0120 mae." in sentence
    )


def finals(own, other, metric="mae", low=-0.02, high=0.01):
    def entry(name, score, bounds, factor):
        one = result("onnxruntime", factor)
        return Finalist(model=name, backend="onnxruntime", score=score, correct="0" * 100, size_bytes=1,
                        process=one.process, series=one.series[:1], drop_bounds=bounds)  # fmt: skip

    first = result()
    return Finals(
        task="stars", device="cpu", measurement="1", created=first.created, environment=first.environment,
        metric=metric, test_sha256="11", max_drop=0.05, absent={},
        entries=(entry("large", other, None, 1.0), entry("small", own, Bounds(low=low, high=high), 2.0)),
    )  # fmt: skip


def test_finals_compare_errors_by_their_direction():
    better = finals(0.38, 0.4)
    assert pytest.approx(-0.02) == standing(better, better.entries[1]).drop.estimate
    best, reason = winner(better)
    assert "small" == best.model
    assert "and scores 0.0200 mae [-0.0100, 0.0200] less than large" in reason
    assert "drop (mae)" in terminal_text([], [better])
    worse = finals(0.5, 0.4, low=0.06, high=0.14)
    best, reason = winner(worse)
    assert "large" == best.model
    assert "scores 0.100 mae [0.060, 0.140] more, proven more than the 0.05 allowed" in reason


def seeds(*scores):
    return [Seed(seed=number, score=score) for number, score in enumerate(scores)]


def test_proposed_limit_of_an_error_lies_above_every_seed():
    proposal = propose(seeds(0.40, 0.42, 0.41, 0.40, 0.43), 0.02, "mae")
    assert 0.43 < proposal.bound < 0.48
    assert pytest.approx(proposal.bound + 0.02, abs=1e-3) == proposal.min_score
    assert proposal.min_score >= proposal.bound + 0.02
    mirrored = propose(seeds(0.60, 0.58, 0.59, 0.60, 0.57), 0.02, "pearson")
    assert pytest.approx(1 - mirrored.bound) == proposal.bound
    assert pytest.approx(1 - mirrored.min_score, abs=2e-3) == proposal.min_score


def test_limit_below_zero_is_not_proposed():
    proposal = propose(seeds(0.1, 0.3, -0.2), 0.1, "r2")
    assert proposal.min_score is None
    assert "a gate's limit is at least 0" in proposal.why


def test_proposals_name_the_limit_where_less_is_better():
    task = Task(name="stars", kind="text-regression", dataset=Folder("rows.csv"), inputs=("text",), label="stars",
                metric="mae")  # fmt: skip
    model = Model(name="mine", source=Local("model"), recipe=Recipe(epochs=1))
    case = Case(task=task, model=model, backend=PYTORCH, device="cpu", gate=MAE)
    text = proposals([Spread(case, tuple(seeds(0.40, 0.42, 0.41, 0.40, 0.43)), ())])
    (line,) = [line for line in text.splitlines() if line.startswith("stars")]
    proposed, present = (float(number) for number in re.findall(r"max_score (\d\.\d+)", line))
    assert 0.5 == present
    assert 0.48 < proposed < 0.53
