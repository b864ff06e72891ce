"""Scores of predictions, and the drop in score between two backends on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics import METRICS
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
    chosen, entry = metric.load(), METRICS[metric.name]
    drawn = bootstrap_interval(chosen.weigh(predictions, truths), len(truths), tail=0.025)
    counting = int(chosen.counting_rows(predictions, truths).sum()) if entry.in_points else len(truths)
    unseen = unseen_change(metric, predictions, truths, rare_event_bound(0, max(1, counting), 0.975))
    low, high = min(drawn.low, drawn.estimate - unseen), max(drawn.high, drawn.estimate + unseen)
    return Interval(drawn.estimate, max(entry.low, low), min(entry.high, high))


def unseen_change(metric: Metric, predictions: Sequence[Any], truths: Sequence[Any], share: float) -> float:
    """Return how far the score may move with a share of rows, none of which was seen.

    It is the share itself where scores run from 0 to 1; else that of the worst rows which the metric expects.
    """
    if METRICS[metric.name].in_points:
        return share
    rows, chosen = len(truths), metric.load()
    weights = np.array([[1.0] * rows + [0.0], [1 - share] * rows + [share * rows]])
    pairs = chosen.unseen_pairs(predictions, truths)
    scores = (chosen.weigh([*predictions, own], [*truths, truth])(weights) for own, truth in pairs)
    return max(abs(float(after - before)) for before, after in scores)


def score_drop(metric: Metric, own: Sequence[Any], other: Sequence[Any], truths: Sequence[Any]) -> Interval:
    """Return how much worse `own` scores than `other` on the same rows, with one-sided 95 % bounds by paired bootstrap.

    Where hardly any row changes, resampling cannot draw changes that it never saw. The interval is therefore at least
    as wide as the bounds of the rows lost and gained, or of a change never seen where rows may be partly correct.
    """
    chosen, rows = metric.load(), len(truths)
    own_scores, other_scores = (chosen.weigh(predictions, truths) for predictions in (own, other))

    def drop(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return metric.sign * (other_scores(weights) - own_scores(weights))

    if not METRICS[metric.name].in_points:
        drawn, share = bootstrap_interval(drop, rows), rare_event_bound(0, rows)
        unseen = max(unseen_change(metric, predictions, truths, share) for predictions in (own, other))
        low, high = min(drawn.low, drawn.estimate - unseen), max(drawn.high, drawn.estimate + unseen)
        return Interval(drawn.estimate, low, high)
    own_correct, other_correct = (correct_rows(metric, predictions, truths) for predictions in (own, other))
    lost, gained = other_correct & ~own_correct, own_correct & ~other_correct
    counted = drop_interval(int(lost.sum()), int(gained.sum()), rows)
    if list(own) == list(other):
        return counted
    if rows < 2:
        return Interval(float(drop(np.ones(rows))), -1.0, 1.0)
    drawn = bootstrap_interval(drop, rows)
    if not chosen.is_binary(truths):
        unseen = rare_event_bound(0, rows)
        counted = Interval(drawn.estimate, drawn.estimate - unseen, drawn.estimate + unseen)
    return Interval(drawn.estimate, min(drawn.low, counted.low), max(drawn.high, counted.high))
