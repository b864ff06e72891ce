"""Metrics over labels: the index of a row's one, those of all that it has, or candidates of which one is correct.

An index below 0 is a label that no row has: always wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import MeanMetric, SummedMetric, ratio

LABELS = {"predictions": Value("int64"), "references": Value("int64")}
SETS = {"predictions": List(Value("int64")), "references": List(Value("int64"))}
WORDS = {"predictions": List(Value("string")), "references": Value("string")}
DOCUMENTS = {"predictions": List(Value("int64")), "references": Value("int64")}


class Accuracy(MeanMetric):
    """Share of rows with the correct label."""

    key, columns, binary_rows = "accuracy", LABELS, True

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return float(prediction == reference)


class OffByOneAccuracy(MeanMetric):
    """Share of rows with the correct label or a neighbour of it; the setting is the rank of each label."""

    key, columns, binary_rows = "off-by-one-accuracy", LABELS, True

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return float(prediction >= 0 and abs(self.setting[prediction] - self.setting[reference]) <= 1)


class MacroF1(SummedMetric):
    """Unweighted mean of the labels' F1, over the labels that are expected or predicted in some row.

    Rows have one label each, or any number.
    """

    key, columns, binary_rows, other_columns = "f1-macro", LABELS, True, (SETS,)

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return three columns a label: expected and predicted, predicted, expected."""
        labels = self._counted_labels(_flat([*predictions, *references]))
        predicted, expected = _membership(predictions, labels), _membership(references, labels)
        return np.stack([predicted & expected, predicted, expected], axis=2).reshape(len(predicted), -1).astype(float)

    def is_binary(self, references: Sequence[Any]) -> bool:
        """Return whether rows have one label each: of several, some may be answered correctly."""
        return not any(isinstance(labels, list) for labels in references)

    def _counted_labels(self, used: NDArray[Any]) -> NDArray[Any]:
        return np.unique(used[used >= 0])

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """2 x hits / (predicted + expected) of each label, averaged."""
        counts = sums.reshape(*sums.shape[:-1], -1, 3)
        rows = counts[..., 1] + counts[..., 2]
        return ratio(ratio(2 * counts[..., 0], rows).sum(axis=-1), (rows > 0).sum(axis=-1))


class F1(MacroF1):
    """F1 of one of two labels, whose index is the setting."""

    key = "f1"

    def _counted_labels(self, used: NDArray[Any]) -> NDArray[Any]:
        return np.array([self.setting])


class MicroF1(SummedMetric):
    """F1 over all labels of all rows, of which each has any number: every label counts as often as it occurs."""

    key, columns = "f1-micro", SETS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (labels correctly predicted, predicted, expected)."""
        pairs = zip(predictions, references, strict=True)
        return np.array([[len({*own} & {*truth}), len(own), len(truth)] for own, truth in pairs], dtype=float)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """2 x hits / (predicted + expected)."""
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


class SubsetAccuracy(MeanMetric):
    """Share of rows with all of their labels and no other."""

    key, columns, binary_rows = "subset-accuracy", SETS, True

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return float(sorted(prediction) == sorted(reference))


def _flat(answers: Sequence[Any]) -> NDArray[Any]:
    """Return all labels of all rows."""
    holds_sets = any(isinstance(labels, list) for labels in answers)
    return np.array([label for labels in answers for label in labels] if holds_sets else answers, dtype=int)


def _membership(answers: Sequence[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return whether each row has each label, shape (rows, labels)."""
    if any(isinstance(own, list) for own in answers):
        return np.array([np.isin(labels, own) for own in answers])
    return np.asarray(answers)[:, None] == labels  # type: ignore[no-any-return]


class Top1(MeanMetric):
    """Share of rows whose first candidate is correct."""

    key, columns, binary_rows = "top-1", WORDS, True
    candidates: ClassVar[int] = 1

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return float(reference in prediction[: self.candidates])

    def compared_part(self, prediction: Any) -> Any:
        """Return the first candidates, whatever their order."""
        return sorted(prediction[: self.candidates])


class Top5(Top1):
    """Share of rows with a correct one among the first five candidates."""

    key, candidates = "top-5", 5


class AccuracyAt1(Top1):
    """Share of queries whose nearest document is the correct one."""

    key, columns = "accuracy@1", DOCUMENTS


class MeanReciprocalRank(MeanMetric):
    """Mean over queries of 1 / the rank of their document; 0 if the prediction does not list it."""

    key, columns = "mrr", DOCUMENTS

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return 1 / (1 + prediction.index(reference)) if reference in prediction else 0.0
