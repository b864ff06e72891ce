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
    "entity-f1": Named("harness.metrics.words:EntityF1"),
    "word-accuracy": Named("harness.metrics.words:WordAccuracy"),
    "exact-match": Named("harness.metrics.answering:ExactMatch", counts_rows=True),
    "token-f1": Named("harness.metrics.answering:TokenF1"),
    "top-1": Named("harness.metrics.ranking:Top1", counts_rows=True),
    "top-5": Named("harness.metrics.ranking:Top5", counts_rows=True),
    "accuracy@1": Named("harness.metrics.ranking:AccuracyAt1", counts_rows=True),
    "mrr": Named("harness.metrics.ranking:MeanReciprocalRank"),
    "bleu": Named("harness.metrics.translation:Bleu"),
    "chrf": Named("harness.metrics.translation:ChrF"),
}
