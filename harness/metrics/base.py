"""The base of all metrics: a function of weights of the rows; of most the weighted sum over rows is all it needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import evaluate
import numpy as np
from datasets import Features
from numpy.typing import NDArray


class WeighedMetric(evaluate.Metric, ABC):  # type: ignore[misc]  # evaluate ships no types
    """A metric, from 0 to 1 unless its entry says otherwise."""

    key: ClassVar[str]
    """Its name in a task."""
    binary_rows: ClassVar[bool] = False
    """True if a row is either correct or wrong, with nothing in between."""
    columns: ClassVar[dict[str, Any]]
    """Features of predictions and references, for `datasets`."""
    other_columns: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Further forms that they may have."""
    setting: Any = None
    """An assumption about the rows that is not the same in every task: see `Metric.setting`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            inputs_description="predictions and references, one each a row",
            features=[Features(columns) for columns in (self.columns, *self.other_columns)],
        )

    @abstractmethod
    def weigh(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Return a function from weights of the rows, shape (…, rows), to scores of shape (…)."""

    @abstractmethod
    def counting_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether each row has a part in the score: for the F1 of a label, rows that have or are given it."""

    def unseen_pairs(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return a prediction and a reference for each of the extreme rows that may exist beside these.

        Metrics need them whose scores do not run from 0 to 1.
        """
        raise NotImplementedError(f"{self.key} runs from 0 to 1")

    def is_binary(self, references: Sequence[Any]) -> bool:
        """Return whether each of these rows is either correct or wrong."""
        return self.binary_rows

    def compared_part(self, prediction: Any) -> Any:
        """Return the part of a prediction that the metric depends on."""
        return prediction

    def correct_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Return whether each row is entirely correct."""
        return [own == truth for own, truth in zip(predictions, references, strict=True)]


class SummedMetric(WeighedMetric):
    """A metric that is a function of sums over rows."""

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {self.key: float(self.score_sums(self.statistics(predictions, references).sum(axis=0)))}

    @abstractmethod
    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return what is summed over rows, shape (rows, k)."""

    @abstractmethod
    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of shape (…, k) → scores of shape (…)."""

    def weigh(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Return a function from weights of the rows, shape (…, rows), to scores of shape (…)."""
        statistics = self.statistics(predictions, references)
        return lambda weights: self.score_sums(weights @ statistics)

    def counting_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether anything of each row is summed."""
        return np.asarray(self.statistics(predictions, references).any(axis=1))


class MeanMetric(SummedMetric):
    """The mean of a score that each row has."""

    @abstractmethod
    def _row_score(self, prediction: Any, reference: Any) -> float:
        """Return one row's score, from 0 to 1."""

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (a row's score, 1)."""
        pairs = zip(predictions, references, strict=True)
        return np.array([[self._row_score(own, truth), 1.0] for own, truth in pairs])

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of scores / number of rows."""
        return sums[..., 0] / sums[..., 1]

    def correct_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Return whether each row's score is 1."""
        return [score == 1 for score, _ in self.statistics(predictions, references)]


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """above / below, and 0 where below is 0: scikit-learn's and seqeval's reading of an F1 over nothing."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)  # type: ignore[no-any-return]
