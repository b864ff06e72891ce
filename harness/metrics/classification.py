"""Metrics over one label index a row. A label below 0 is one that no row has: wrong, whatever it is.

ALSO: Metrics of candidates, the best first, of which one is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import MeanMetric, SummedMetric, ratio

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


WORDS = {"predictions": List(Value("string")), "references": Value("string")}

NUMBERS = {"predictions": List(Value("int64")), "references": Value("int64")}


class _Ranked(MeanMetric):
    def head(self, prediction: Any) -> Any:
        """The first candidate."""
        return prediction[:1]


class Top1(_Ranked):
    """Share of rows whose first candidate is right."""

    key, columns, whole_rows = "top-1", WORDS, True

    def figure(self, prediction: Any, reference: Any) -> float:
        """1 where the first is right."""
        return float(reference in prediction[:1])


class Top5(_Ranked):
    """Share of rows of whose first five candidates one is right."""

    key, columns, whole_rows = "top-5", WORDS, True

    def figure(self, prediction: Any, reference: Any) -> float:
        """1 where one of five is right."""
        return float(reference in prediction[:5])

    def head(self, prediction: Any) -> Any:
        """The five, in whichever order."""
        return sorted(prediction[:5])


class AccuracyAt1(Top1):
    """Share of queries whose nearest document is theirs."""

    key, columns, whole_rows = "accuracy@1", NUMBERS, True


class MeanReciprocalRank(_Ranked):
    """Mean over queries of 1 / the place of their document; 0 beyond those that the prediction names."""

    key, columns = "mrr", NUMBERS

    def figure(self, prediction: Any, reference: Any) -> float:
        """1 / place."""
        return 1 / (1 + prediction.index(reference)) if reference in prediction else 0.0

    def head(self, prediction: Any) -> Any:
        """All, in order."""
        return prediction
