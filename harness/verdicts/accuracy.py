"""What the answers say of accuracy: score lost on the same rows, its bounds, and what they allow to be said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from harness.contracts.backend import REFERENCE
from harness.metrics import METRICS
from harness.results.schema import Answers, Bounds, Result
from harness.stats.intervals import Interval, drop_interval, rare_event_bound, smallest_margin

AccuracyVerdict = Literal["not worse", "worse", "undecided"]


def drop(result: Result) -> Interval | None:
    """Score lost against the reference on the same rows, positive is worse; each end is a one-sided 95 % bound.

    None where there are no answers, or where the metric is undefined on these rows.
    """
    return next((found for name, found in drops(result) if name == REFERENCE), None)


def drops(result: Result) -> Iterator[tuple[str, Interval]]:
    """The drop against the reference, and against the artifact this one was built from, by name."""
    answers = result.answers
    if answers is None or result.data is None or answers.score is None or answers.reference_score is None:
        return
    exact = counts_rows(result.data.metric)
    if exact:
        yield REFERENCE, drop_interval(answers.lost, answers.gained, answers.rows)
    else:
        yield REFERENCE, _bounded(answers.reference_score - answers.score, answers.bounds)
    if answers.compared_with == REFERENCE or answers.source_score is None:
        return
    if exact:
        yield answers.compared_with, drop_interval(answers.source_lost, answers.source_gained, answers.rows)
    else:
        yield answers.compared_with, _bounded(answers.source_score - answers.score, answers.source_bounds)


def score_interval(result: Result) -> Interval | None:
    """The score with a two-sided 95 % interval, as of rows drawn from many more, by `interval_method`.

    None where there is no score, or a result of before intervals were recorded.
    """
    answers = result.answers
    if answers is None or answers.score is None or result.data is None:
        return None
    if not counts_rows(result.data.metric):
        found = answers.score_bounds
        return Interval(answers.score, found.low, found.high) if found else None
    right = answers.right.count("1")
    low = 1 - rare_event_bound(answers.rows - right, answers.rows, 0.975)
    return Interval(answers.score, low, rare_event_bound(right, answers.rows, 0.975))


def interval_method(metric: str) -> str:
    """How a score's interval is made, in words."""
    return (
        "exact for a share of rows (Clopper and Pearson)"
        if counts_rows(metric)
        else "percentile bootstrap over rows, 2,000 resamples of a fixed seed"
    )


def counts_rows(metric: str) -> bool:
    """Whether a metric is the share of rows that are right."""
    return metric in METRICS and METRICS[metric].counts_rows


def _bounded(estimate: float, bounds: Bounds | None) -> Interval:
    return Interval(estimate, bounds.low, bounds.high) if bounds else Interval(estimate, -math.inf, math.inf)


def provable_drop(answers: Answers) -> float:
    """Smallest drop that these rows can exclude at the flips seen."""
    return smallest_margin(answers.lost + answers.gained, answers.rows)


def judge_accuracy(result: Result) -> AccuracyVerdict:
    """Whether the drop is proven to lie within the gate, or beyond it, against reference and source alike."""
    if result.gate is None:
        return "undecided"
    allowed = result.gate.max_drop
    found = [interval for _, interval in drops(result)]
    if any(interval.low > allowed for interval in found):
        return "worse"
    return "not worse" if found and all(interval.high < allowed for interval in found) else "undecided"
