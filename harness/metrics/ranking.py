"""Metrics of candidates, the best first, of which one is right."""

from __future__ import annotations

from typing import Any

from datasets import List, Value

from harness.metrics.summed import MeanMetric

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
