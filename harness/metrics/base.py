"""What all metrics share: each is a function of sums over rows, so that rows can be drawn again by adding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import evaluate
import numpy as np
from datasets import Features
from numpy.typing import NDArray


class SummedMetric(evaluate.Metric, ABC):  # type: ignore[misc]  # evaluate ships no types
    """A metric by its name in a task, from 0 to 1."""

    key: ClassVar[str]
    whole_rows: ClassVar[bool] = False
    """Whether a row is right or wrong, and nothing between."""
    columns: ClassVar[dict[str, Any]]
    """Of predictions and references, as `datasets` has them."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            inputs_description="predictions and references, one each a row",
            features=Features(self.columns),
        )

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {self.key: float(self.of(self.statistics(predictions, references).sum(axis=0)))}

    @abstractmethod
    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Shape (rows, k): what is summed over rows."""

    @abstractmethod
    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of shape (…, k) → the metric, shape (…)."""

    def head(self, prediction: Any) -> Any:
        """What of a prediction is looked at."""
        return prediction

    def right(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Whether each row is wholly right."""
        return [own == truth for own, truth in zip(predictions, references, strict=True)]


class MeanMetric(SummedMetric):
    """The mean of a figure that each row has."""

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """(a row's figure, 1)."""
        pairs = zip(predictions, references, strict=True)
        return np.array([[self.figure(own, truth), 1.0] for own, truth in pairs])

    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of figures over number of rows."""
        found: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
        return found

    @abstractmethod
    def figure(self, prediction: Any, reference: Any) -> float:
        """Of one row, from 0 to 1."""

    def right(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Whether each row's figure is 1."""
        return [self.figure(own, truth) == 1 for own, truth in zip(predictions, references, strict=True)]


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """above / below, 0 where below is 0: how scikit-learn and seqeval read an F1 of nothing."""
    found: NDArray[np.float64] = np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
    return found
