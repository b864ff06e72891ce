"""Metrics of answers, and what one backend's answers lost against another's on the same rows."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics import METRICS
from harness.stats.intervals import Interval, drop_interval, rare_event_bound, resampled


@cache
def _metric(name: str) -> Any:
    module, _, class_name = METRICS[name].path.partition(":")
    # In memory, since evaluate otherwise keeps lock files in the user's home folder.
    return getattr(importlib.import_module(module), class_name)(keep_in_memory=True)


def score(metric: str, predictions: Sequence[Any], truths: Sequence[Any]) -> float:
    """The named metric of `predictions` against `truths`, one each a row; 1.0 is perfect."""
    values: dict[str, float] = _metric(metric).compute(predictions=predictions, references=truths)
    return values[metric]


def right(metric: str, predictions: Sequence[Any], truths: Sequence[Any]) -> NDArray[np.bool_]:
    """Whether each row is right, by the named metric; where rows are right by degrees, whether wholly."""
    return np.array(_metric(metric).right(predictions, truths), dtype=bool)


def answered(metric: str, predictions: Sequence[Any]) -> list[Any]:
    """Of each prediction what the named metric looks at: of a ranking, its head."""
    return [_metric(metric).head(prediction) for prediction in predictions]


def score_interval(metric: str, predictions: Sequence[Any], truths: Sequence[Any]) -> Interval:
    """The named metric with a two-sided 95 % interval, by bootstrap over rows, as of rows drawn from many more.

    Where hardly a row is wrong, resampling knows of no other that could be. So it is never narrower than the share that
    may be though none was seen to, among the rows that count: an F1 counts those that have its label, or are given it.
    """
    found = _metric(metric)
    statistics = found.statistics(predictions, truths)
    drawn = resampled(found.of, [statistics], tail=0.025)
    unseen = rare_event_bound(0, max(1, int(statistics.any(axis=1).sum())), 0.975)
    low, high = min(drawn.low, drawn.estimate - unseen), max(drawn.high, drawn.estimate + unseen)
    return Interval(drawn.estimate, max(0.0, low), min(1.0, high))


def score_drop(metric: str, own: Sequence[Any], other: Sequence[Any], truths: Sequence[Any]) -> Interval:
    """What `own` scores less than `other` on the same rows, by paired bootstrap; ends are one-sided 95 % bounds.

    Where hardly a row changes, resampling knows of no other that could. So it is never narrower than the bounds of the
    rows lost, where a row is right or wrong, and elsewhere than the share of rows that may change though none was seen
    to.
    """
    found = _metric(metric)
    mine, theirs = (right(metric, predictions, truths) for predictions in (own, other))
    counted = drop_interval(int((theirs & ~mine).sum()), int((mine & ~theirs).sum()), len(truths))
    if list(own) == list(other):
        return counted
    statistics = [found.statistics(predictions, truths) for predictions in (other, own)]
    if len(truths) < 2:
        return Interval(float(found.of(statistics[0][0]) - found.of(statistics[1][0])), -1.0, 1.0)
    drawn = resampled(lambda others, owns: found.of(others) - found.of(owns), statistics)
    if not found.whole_rows:
        unseen = rare_event_bound(0, len(truths))
        counted = Interval(drawn.estimate, drawn.estimate - unseen, drawn.estimate + unseen)
    return Interval(drawn.estimate, min(drawn.low, counted.low), max(drawn.high, counted.high))
