"""Metrics of candidates, the best first, of which one is correct."""

from __future__ import annotations

from typing import Any

from datasets import List, Value

from harness.metrics.base import MeanMetric

WORDS = {"predictions": List(Value("string")), "references": Value("string")}

NUMBERS = {"predictions": List(Value("int64")), "references": Value("int64")}


class Top1(MeanMetric):
    """Share of rows whose first candidate is correct."""

    key, columns, binary_rows = "top-1", WORDS, True

    def row_score(self, prediction: Any, reference: Any) -> float:
        """1 where the first candidate is correct."""
        return float(reference in prediction[:1])

    def compared_part(self, prediction: Any) -> Any:
        """Return the first candidate."""
        return prediction[:1]


class Top5(MeanMetric):
    """Share of rows with a correct one among the first five candidates."""

    key, columns, binary_rows = "top-5", WORDS, True

    def row_score(self, prediction: Any, reference: Any) -> float:
        """1 where one of the first five is correct."""
        return float(reference in prediction[:5])

    def compared_part(self, prediction: Any) -> Any:
        """Return the first five, whatever their order."""
        return sorted(prediction[:5])


class AccuracyAt1(Top1):
    """Share of queries whose nearest document is the correct one."""

    key, columns, binary_rows = "accuracy@1", NUMBERS, True


class MeanReciprocalRank(MeanMetric):
    """Mean over queries of 1 / the rank of their document; 0 if the prediction does not list it."""

    key, columns = "mrr", NUMBERS

    def row_score(self, prediction: Any, reference: Any) -> float:
        """1 / rank."""
        return 1 / (1 + prediction.index(reference)) if reference in prediction else 0.0
