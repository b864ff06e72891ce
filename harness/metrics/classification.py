"""Metrics over one label index a row. A label below 0 is one that no row has: wrong, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Value
from numpy.typing import NDArray

from harness.metrics.summed import MeanMetric, SummedMetric, ratio

LABELS = {"predictions": Value("int64"), "references": Value("int64")}


class Accuracy(MeanMetric):
    """Share of rows with the right label."""

    key, columns, whole_rows = "accuracy", LABELS, True

    def figure(self, prediction: Any, reference: Any) -> float:
        """1 for the right label."""
        return float(prediction == reference)


class OffByOneAccuracy(MeanMetric):
    """Share of rows with the right label or one beside it, for labels that have an order, stars for instance."""

    key, columns, whole_rows = "off-by-one-accuracy", LABELS, True

    def figure(self, prediction: Any, reference: Any) -> float:
        """1 for a label no more than one away."""
        return float(prediction >= 0 and abs(prediction - reference) <= 1)


class MacroF1(SummedMetric):
    """F1 of each label, averaged without weights over those that a row has or is given."""

    key, columns, whole_rows = "f1-macro", LABELS, True

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Three columns a label: rows that have it and are given it, that are given it, that have it."""
        own, truth = np.asarray(predictions)[:, None], np.asarray(references)[:, None]
        labels = self.labels(own, truth)
        given, has = own == labels, truth == labels
        return np.stack([given & has, given, has], axis=2).reshape(len(own), -1).astype(float)

    def labels(self, own: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """The labels that are counted."""
        return np.unique(np.concatenate([truth, own[own >= 0][:, None]]))

    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """2 x hits / (given + has) of each label, averaged."""
        counts = sums.reshape(*sums.shape[:-1], -1, 3)
        seen = counts[..., 1] + counts[..., 2]
        return ratio(ratio(2 * counts[..., 0], seen).sum(axis=-1), (seen > 0).sum(axis=-1))


class F1(MacroF1):
    """F1 of the second of two labels, as GLUE has it."""

    key = "f1"

    def labels(self, own: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """The second."""
        return np.array([1])
