"""Metrics over one label a row; scikit-learn does the arithmetic."""

from collections.abc import Sequence

import evaluate
from datasets import Features, Value
from sklearn.metrics import accuracy_score, f1_score


class _LabelMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate ships no types
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            inputs_description="predictions and references: one label index a row",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )


class Accuracy(_LabelMetric):
    """Share of rows with the right label."""

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(_LabelMetric):
    """F1 of each label, averaged without weights."""

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        # What a model used as it is answers beside the task's labels is below 0: wrong, and no label to average over.
        known = sorted({*references, *(label for label in predictions if label >= 0)})
        return {"f1-macro": float(f1_score(references, predictions, labels=known, average="macro"))}
