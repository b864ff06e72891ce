"""Metrics as `evaluate.Metric` subclasses: `evaluate.load` would ask the Hub for the code.

`evaluate` takes seconds to import, so the classes lie in modules of their own and are named here.
"""

from typing import NamedTuple


class Named(NamedTuple):
    """Where a metric's class is."""

    path: str
    """`module:Class`."""
    counts_rows: bool = False
    """Whether it is the share of rows that are right: then what is lost is counted, and its bounds are exact."""


METRICS = {
    "accuracy": Named("harness.metrics.classification:Accuracy", counts_rows=True),
    "off-by-one-accuracy": Named("harness.metrics.classification:OffByOneAccuracy", counts_rows=True),
    "f1": Named("harness.metrics.classification:F1"),
    "f1-macro": Named("harness.metrics.classification:MacroF1"),
    "entity-f1": Named("harness.metrics.tagging:EntityF1"),
    "word-accuracy": Named("harness.metrics.tagging:WordAccuracy"),
    "exact-match": Named("harness.metrics.texts:ExactMatch", counts_rows=True),
    "token-f1": Named("harness.metrics.texts:TokenF1"),
    "top-1": Named("harness.metrics.classification:Top1", counts_rows=True),
    "top-5": Named("harness.metrics.classification:Top5", counts_rows=True),
    "accuracy@1": Named("harness.metrics.classification:AccuracyAt1", counts_rows=True),
    "mrr": Named("harness.metrics.classification:MeanReciprocalRank"),
    "bleu": Named("harness.metrics.texts:Bleu"),
    "chrf": Named("harness.metrics.texts:ChrF"),
}
