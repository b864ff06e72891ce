"""Metrics of answers, and what one backend's answers lost against another's on the same rows."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from harness.metrics import METRICS
from harness.stats import Interval, resampled, rows_lost


@cache
def _metric(name: str) -> Any:
    module, _, class_name = METRICS[name].partition(":")
    # In memory, since evaluate otherwise keeps lock files in the user's home folder.
    return getattr(importlib.import_module(module), class_name)(keep_in_memory=True)


def score(metric: str, predictions: Sequence[int], labels: Sequence[int]) -> float:
    """The named metric of `predictions` against `labels`, one each a row; 1.0 is perfect."""
    values: dict[str, float] = _metric(metric).compute(predictions=predictions, references=labels)
    return values[metric]


def score_lost(metric: str, own: Sequence[int], other: Sequence[int], labels: Sequence[int]) -> Interval:
    """What `own` scores less than `other` on the same rows, by paired bootstrap; ends are one-sided 95 % bounds.

    Never narrower than the bounds of the rows lost: where hardly a row flips, resampling knows of no other that could.
    """
    mine, theirs, truth = (np.asarray(column) for column in (own, other, labels))
    compute = _metric(metric)._compute  # evaluate's own would copy the rows into a table two thousand times

    def lost(mine: Any, theirs: Any, truth: Any) -> float:
        values = (compute(predictions=column, references=truth)[metric] for column in (theirs, mine))
        return float(next(values)) - float(next(values))

    counted = rows_lost(
        int(((theirs == truth) & (mine != truth)).sum()), int(((theirs != truth) & (mine == truth)).sum()), len(truth)
    )
    if (mine == theirs).all():
        return counted
    found = resampled(lost, (mine, theirs, truth))
    return Interval(found.estimate, min(found.low, counted.low), max(found.high, counted.high))
