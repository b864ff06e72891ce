"""Metrics as `evaluate.Metric` subclasses; `evaluate.load` would ask the Hub for their code.

`evaluate` takes seconds to import, so the classes are named here and loaded when a score is computed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import inf, isnan
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.metrics.base import WeighedMetric

Setting = int | str | tuple[int, ...] | None


class MetricEntry(NamedTuple):
    """Where a metric's class is, and how its score is bounded."""

    module: str
    class_name: str
    counts_rows: bool = False
    """True if the score is the share of correct rows: drops are then counted row by row, with exact bounds."""
    needs_setting: bool = False
    """True if it depends on an assumption about the rows, its `Metric.setting`."""
    low: float = 0.0
    high: float = 1.0
    """The scores that are possible."""
    less_is_better: bool = False

    @property
    def in_points(self) -> bool:
        """True if scores run from 0 to 1, so that drops are given in points, hundredths; else in its own unit."""
        return (self.low, self.high) == (0.0, 1.0)


@dataclass(frozen=True)
class Metric:
    """A metric as a task's rows settle it: cache keys, scores and bootstraps share this value."""

    name: str
    setting: Setting = None
    """For `f1` the index of its label, for `off-by-one-accuracy` each label's rank, for `entity-f1` the scheme of the
    tags and their form, for `bleu` the tokenizer."""
    reading: str = ""
    """The setting in words that follow the name: "of 'fault'"."""

    @property
    def counts_rows(self) -> bool:
        """True if the score is the share of correct rows."""
        return METRICS[self.name].counts_rows

    @property
    def sign(self) -> int:
        """-1 if less is better, else 1: the score times it is the better, the larger it is."""
        return -1 if METRICS[self.name].less_is_better else 1

    def is_best(self, score: float, others: Iterable[float]) -> bool:
        """Return whether a score is better than all others; one that is undefined (NaN) never is."""
        return all(self.sign * score > self.sign * other or isnan(other) for other in others) and not isnan(score)

    @cache  # noqa: B019  # a handful of values in a session
    def load(self) -> WeighedMetric:
        """Return an instance of the metric, in memory: evaluate otherwise keeps lock files in the user's home."""
        entry = METRICS[self.name]
        if entry.needs_setting and self.setting is None:
            raise HarnessError(f"{self.name} needs a setting, which `harness.data.metric_settings` takes from the rows")
        metric: WeighedMetric = getattr(importlib.import_module(entry.module), entry.class_name)(keep_in_memory=True)
        metric.setting = self.setting
        return metric


METRICS = {
    "accuracy": MetricEntry("harness.metrics.classification", "Accuracy", counts_rows=True),
    "off-by-one-accuracy": MetricEntry(
        "harness.metrics.classification", "OffByOneAccuracy", counts_rows=True, needs_setting=True
    ),
    "f1": MetricEntry("harness.metrics.classification", "F1", needs_setting=True),
    "f1-macro": MetricEntry("harness.metrics.classification", "MacroF1"),
    "f1-micro": MetricEntry("harness.metrics.classification", "MicroF1"),
    "subset-accuracy": MetricEntry("harness.metrics.classification", "SubsetAccuracy", counts_rows=True),
    "entity-f1": MetricEntry("harness.metrics.tagging", "EntityF1", needs_setting=True),
    "word-accuracy": MetricEntry("harness.metrics.tagging", "WordAccuracy"),
    "exact-match": MetricEntry("harness.metrics.texts", "ExactMatch", counts_rows=True),
    "token-f1": MetricEntry("harness.metrics.texts", "TokenF1"),
    "top-1": MetricEntry("harness.metrics.classification", "Top1", counts_rows=True),
    "top-5": MetricEntry("harness.metrics.classification", "Top5", counts_rows=True),
    "accuracy@1": MetricEntry("harness.metrics.classification", "AccuracyAt1", counts_rows=True),
    "mrr": MetricEntry("harness.metrics.classification", "MeanReciprocalRank"),
    "bleu": MetricEntry("harness.metrics.texts", "Bleu", needs_setting=True),
    "chrf": MetricEntry("harness.metrics.texts", "ChrF"),
    "rouge1": MetricEntry("harness.metrics.texts", "Rouge1"),
    "rouge2": MetricEntry("harness.metrics.texts", "Rouge2"),
    "rougeL": MetricEntry("harness.metrics.texts", "RougeL"),
    "wer": MetricEntry("harness.metrics.transcripts", "WordErrorRate", high=inf, less_is_better=True),
    "cer": MetricEntry("harness.metrics.transcripts", "CharacterErrorRate", high=inf, less_is_better=True),
    "perplexity": MetricEntry("harness.metrics.likelihood", "Perplexity", low=1.0, high=inf, less_is_better=True),
    "pearson": MetricEntry("harness.metrics.numbers", "Pearson", low=-1.0),
    "spearman": MetricEntry("harness.metrics.numbers", "Spearman", low=-1.0),
    "mae": MetricEntry("harness.metrics.numbers", "MeanAbsoluteError", high=inf, less_is_better=True),
    "rmse": MetricEntry("harness.metrics.numbers", "RootMeanSquaredError", high=inf, less_is_better=True),
    "map": MetricEntry("harness.metrics.detection", "MeanAveragePrecision"),
    "map-50": MetricEntry("harness.metrics.detection", "MeanAveragePrecision50"),
    "mean-iou": MetricEntry("harness.metrics.segmentation", "MeanIoU"),
    "pixel-accuracy": MetricEntry("harness.metrics.segmentation", "PixelAccuracy"),
    "r2": MetricEntry("harness.metrics.numbers", "RSquared", low=-inf),
}


def in_points(name: str) -> bool:
    """Return whether drops of a metric are given in points; those of a suite's own are."""
    return name not in METRICS or METRICS[name].in_points


def less_is_better(name: str) -> bool:
    """Return whether a smaller score of a metric is the better one."""
    return name in METRICS and METRICS[name].less_is_better
