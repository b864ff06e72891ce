"""Metrics as `evaluate.Metric` subclasses; `evaluate.load` would ask the Hub for their code.

`evaluate` takes seconds to import, so the classes are named here and loaded when a score is computed.
"""

import importlib
from typing import Any, NamedTuple


class MetricEntry(NamedTuple):
    """Where a metric's class is, and how its score is bounded."""

    module: str
    class_name: str
    counts_rows: bool = False
    """True if the score is the share of correct rows: drops are then counted row by row, with exact bounds."""

    def load(self) -> Any:
        """Return an instance of the metric, in memory: evaluate otherwise keeps lock files in the user's home."""
        return getattr(importlib.import_module(self.module), self.class_name)(keep_in_memory=True)


METRICS = {
    "accuracy": MetricEntry("harness.metrics.classification", "Accuracy", counts_rows=True),
    "off-by-one-accuracy": MetricEntry("harness.metrics.classification", "OffByOneAccuracy", counts_rows=True),
    "f1": MetricEntry("harness.metrics.classification", "F1"),
    "f1-macro": MetricEntry("harness.metrics.classification", "MacroF1"),
    "entity-f1": MetricEntry("harness.metrics.tagging", "EntityF1"),
    "word-accuracy": MetricEntry("harness.metrics.tagging", "WordAccuracy"),
    "exact-match": MetricEntry("harness.metrics.texts", "ExactMatch", counts_rows=True),
    "token-f1": MetricEntry("harness.metrics.texts", "TokenF1"),
    "top-1": MetricEntry("harness.metrics.classification", "Top1", counts_rows=True),
    "top-5": MetricEntry("harness.metrics.classification", "Top5", counts_rows=True),
    "accuracy@1": MetricEntry("harness.metrics.classification", "AccuracyAt1", counts_rows=True),
    "mrr": MetricEntry("harness.metrics.classification", "MeanReciprocalRank"),
    "bleu": MetricEntry("harness.metrics.texts", "Bleu"),
    "chrf": MetricEntry("harness.metrics.texts", "ChrF"),
}
