"""Metrics of answers, and what one backend's answers lost against another's on the same rows."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from harness.metrics import METRICS


@cache
def _metric(name: str) -> Any:
    module, _, class_name = METRICS[name].partition(":")
    # In memory, since evaluate otherwise keeps lock files in the user's home folder.
    return getattr(importlib.import_module(module), class_name)(keep_in_memory=True)


def score(metric: str, predictions: Sequence[int], labels: Sequence[int]) -> float:
    """The named metric of `predictions` against `labels`, one each a row; 1.0 is perfect."""
    values: dict[str, float] = _metric(metric).compute(predictions=predictions, references=labels)
    return values[metric]
