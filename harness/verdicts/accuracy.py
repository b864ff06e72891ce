"""The drop in score on the same test rows, its interval, and whether the gate allows it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from harness.contracts.backend import REFERENCE
from harness.metrics import METRICS
from harness.results.schema import Answers, Result
from harness.stats.intervals import Interval, drop_interval, format_points, rare_event_bound, smallest_margin

AccuracyVerdict = Literal["not worse", "worse", "undecided"]


def judge_accuracy(result: Result) -> AccuracyVerdict:
    """Return whether every drop is proven to lie within the gate's max_drop, or one is proven to exceed it."""
    if result.gate is None:
        return "undecided"
    drops = [drop for _, drop in score_drops(result)]
    if any(drop.low > result.gate.max_drop for drop in drops):
        return "worse"
    return "not worse" if drops and all(drop.high < result.gate.max_drop for drop in drops) else "undecided"


def score_drop(result: Result) -> Interval | None:
    """Return the drop against the reference, positive if worse; each end is a one-sided 95 % bound.

    None without predictions, or where the metric is undefined on these rows.
    """
    return next((drop for name, drop in score_drops(result) if name == REFERENCE), None)


def score_drops(result: Result) -> Iterator[tuple[str, Interval]]:
    """Yield the drops against the reference and against the artifact this one was built from, each with its name."""
    answers = result.answers
    if answers is None or result.data is None or answers.score is None or answers.reference_score is None:
        return
    arms = [(REFERENCE, answers.reference_score, answers.lost, answers.gained, answers.drop_bounds)]
    if answers.compared_with != REFERENCE and answers.source_score is not None:
        source = (answers.source_score, answers.source_lost, answers.source_gained, answers.source_drop_bounds)
        arms.append((answers.compared_with, *source))
    for name, score, lost, gained, bounds in arms:
        if counts_rows(result.data.metric):
            yield name, drop_interval(lost, gained, answers.rows)
        elif bounds is None:
            yield name, Interval(score - answers.score, -math.inf, math.inf)
        else:
            yield name, Interval(score - answers.score, bounds.low, bounds.high)


def format_drop(drop: Interval) -> str:
    """Write a drop for a sentence whose subject is the score: "drops 0.20 points […]" or "gains 0.12 points […]"."""
    return f"{'drops' if drop.estimate >= 0 else 'gains'} {format_points(magnitude(drop))}"


def magnitude(drop: Interval) -> Interval:
    """Return the drop, or the gain if the score improved, as an interval around a positive estimate."""
    return drop if drop.estimate >= 0 else Interval(-drop.estimate, 0.0 - drop.high, 0.0 - drop.low)


def provable_drop(answers: Answers) -> float:
    """Return the smallest drop that these rows can exclude with as many flips."""
    return smallest_margin(answers.lost + answers.gained, answers.rows)


def score_interval(result: Result) -> Interval | None:
    """Return the score with a two-sided 95 % interval, by `interval_method`; None if it was not recorded."""
    answers = result.answers
    if answers is None or answers.score is None or result.data is None:
        return None
    if not counts_rows(result.data.metric):
        bounds = answers.score_bounds
        return Interval(answers.score, bounds.low, bounds.high) if bounds else None
    correct = answers.correct.count("1")
    low = 1 - rare_event_bound(answers.rows - correct, answers.rows, 0.975)
    return Interval(answers.score, low, rare_event_bound(correct, answers.rows, 0.975))


def interval_method(metric: str) -> str:
    """Name the method of `score_interval` for a metric."""
    if counts_rows(metric):
        return "exact for a share of rows (Clopper and Pearson)"
    return "percentile bootstrap over rows, 2,000 resamples of a fixed seed"


def counts_rows(metric: str) -> bool:
    """Return whether a metric is the share of rows answered correctly."""
    return metric in METRICS and METRICS[metric].counts_rows
