"""Scores of predictions, and the drop in score between two backends on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.stats.intervals import Interval, bootstrap_interval, drop_interval, rare_event_bound

if TYPE_CHECKING:
    from harness.metrics import Metric


def score(metric: Metric, predictions: Sequence[Any], truths: Sequence[Any]) -> float:
    """Return the metric's score of `predictions` against `truths`, one each per row; 1.0 is perfect."""
    values: dict[str, float] = metric.load().compute(predictions=predictions, references=truths)
    return values[metric.name]


def correct_rows(metric: Metric, predictions: Sequence[Any], truths: Sequence[Any]) -> NDArray[np.bool_]:
    """Return for each row whether the metric counts it as correct; a partly correct row is not."""
    return np.array(metric.load().correct_rows(predictions, truths), dtype=bool)


def compared_parts(metric: Metric, predictions: Sequence[Any]) -> list[Any]:
    """Return the part of each prediction that the metric looks at, such as the head of a ranking."""
    return [metric.load().compared_part(prediction) for prediction in predictions]


def score_interval(metric: Metric, predictions: Sequence[Any], truths: Sequence[Any]) -> Interval:
    """Return the score with a two-sided 95 % interval, by bootstrap over rows.

    Where hardly any row is wrong, resampling cannot draw the wrong rows of a larger sample. The interval is therefore
    at least as wide as the 97.5 % bound of an event never seen in the rows that count (for F1, those of its label).
    """
    chosen = metric.load()
    statistics = chosen.statistics(predictions, truths)
    drawn = bootstrap_interval(chosen.score_sums, [statistics], tail=0.025)
    unseen = rare_event_bound(0, max(1, int(statistics.any(axis=1).sum())), 0.975)
    low, high = min(drawn.low, drawn.estimate - unseen), max(drawn.high, drawn.estimate + unseen)
    return Interval(drawn.estimate, max(0.0, low), min(1.0, high))


def score_drop(metric: Metric, own: Sequence[Any], other: Sequence[Any], truths: Sequence[Any]) -> Interval:
    """Return the score of `other` minus that of `own` on the same rows, with one-sided 95 % bounds by paired bootstrap.

    Where hardly any row changes, resampling cannot draw changes that it never saw. The interval is therefore at least
    as wide as the bounds of the rows lost and gained, or of a change never seen where rows may be partly correct.
    """
    chosen = metric.load()
    own_correct, other_correct = (correct_rows(metric, predictions, truths) for predictions in (own, other))
    lost, gained = other_correct & ~own_correct, own_correct & ~other_correct
    counted = drop_interval(int(lost.sum()), int(gained.sum()), len(truths))
    if list(own) == list(other):
        return counted
    statistics = [chosen.statistics(predictions, truths) for predictions in (other, own)]
    if len(truths) < 2:
        return Interval(float(chosen.score_sums(statistics[0][0]) - chosen.score_sums(statistics[1][0])), -1.0, 1.0)
    drawn = bootstrap_interval(lambda others, owns: chosen.score_sums(others) - chosen.score_sums(owns), statistics)
    if not chosen.binary_rows:
        unseen = rare_event_bound(0, len(truths))
        counted = Interval(drawn.estimate, drawn.estimate - unseen, drawn.estimate + unseen)
    return Interval(drawn.estimate, min(drawn.low, counted.low), max(drawn.high, counted.high))
