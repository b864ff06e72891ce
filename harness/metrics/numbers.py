"""Metrics over one number a row: correlations, errors in the unit of the numbers, and the variance explained.

Without variance a correlation is undefined, and so is the variance explained: NaN. In a resample of the rows, which
may draw equal ones only, such a score is 0, as if nothing were explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Value
from numpy.typing import NDArray

from harness.metrics.base import MeanMetric, SummedMetric

NUMBERS = {"predictions": Value("float64"), "references": Value("float64")}
NO_VARIANCE = 1e-13
"""Share of the mean square below which a variance is the rounding error of equal numbers."""

Weigh = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class NumberMetric(SummedMetric):
    """A metric over one number a row."""

    columns = NUMBERS

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        if self._is_undefined(np.asarray(predictions, float), np.asarray(references, float)):
            return {self.key: float("nan")}
        return {self.key: float(self.weigh(predictions, references)(np.ones(len(references))))}

    def _is_undefined(self, own: NDArray[np.float64], truth: NDArray[np.float64]) -> bool:
        return False

    def unseen_pairs(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return the smallest number as the truth and the largest as the answer, and the reverse."""
        ends = (min(references), max(references))
        return [ends, ends[::-1]]

    def compared_part(self, prediction: Any) -> Any:
        """Return the number to three digits: runtimes differ in the last of a dozen."""
        return f"{prediction:.3g}"

    def correct_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Return whether each number is the expected one, to three digits."""
        pairs = zip(predictions, references, strict=True)
        return [self.compared_part(own) == self.compared_part(truth) for own, truth in pairs]


class Pearson(NumberMetric):
    """Pearson's coefficient of correlation."""

    key = "pearson"

    def _is_undefined(self, own: NDArray[np.float64], truth: NDArray[np.float64]) -> bool:
        return bool((own == own[0]).all() or (truth == truth[0]).all())

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (1, x, y, x², y², xy) of predictions x and references y, which are centred and scaled."""
        x, y = _centred(predictions), _centred(references)
        return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariance / root of the product of both variances."""
        rows, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
        return _correlation(xy - x * y / rows, xx - x * x / rows, yy - y * y / rows, xx, yy)


class Spearman(Pearson):
    """Spearman's coefficient of rank correlation; equal numbers share the mean of their ranks."""

    key = "spearman"

    def weigh(self, predictions: Sequence[Any], references: Sequence[Any]) -> Weigh:
        """Return a function from weights to scores, which ranks the rows as they are weighted."""
        ranks = [_ranker(np.asarray(column, float)) for column in (predictions, references)]

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            total = weights.sum(axis=-1, keepdims=True)
            x, y = ((own := rank(weights)) - (weights * own).sum(axis=-1, keepdims=True) / total for rank in ranks)
            xx, yy, xy = ((weights * product).sum(axis=-1) for product in (x * x, y * y, x * y))
            return _correlation(xy, xx, yy, total[..., 0] ** 3, total[..., 0] ** 3)

        return score


class MeanAbsoluteError(NumberMetric, MeanMetric):
    """Mean distance between answer and truth."""

    key = "mae"
    correct_rows = NumberMetric.correct_rows

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return abs(float(prediction) - float(reference))


class RootMeanSquaredError(MeanAbsoluteError):
    """Root of the mean squared distance between answer and truth."""

    key = "rmse"

    def _row_score(self, prediction: Any, reference: Any) -> float:
        return (float(prediction) - float(reference)) ** 2

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Root of the mean square."""
        return np.sqrt(super().score_sums(sums))


class RSquared(NumberMetric):
    """Share of the truths' variance that the answers explain: 0 as the mean of all, below it if worse."""

    key = "r2"

    def _is_undefined(self, own: NDArray[np.float64], truth: NDArray[np.float64]) -> bool:
        return bool((truth == truth[0]).all())

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (1, squared error, y, y²) of references y, all centred and scaled as the references are."""
        truth = np.asarray(references, float)
        y, scale = _centred(truth), _scale(truth)
        errors = (np.asarray(predictions, float) - truth) / scale
        return np.stack([np.ones_like(y), errors**2, y, y * y], axis=1)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 - squared errors / squared distances from the mean."""
        rows, errors, y, yy = np.moveaxis(sums, -1, 0)
        variance = yy - y * y / rows
        has_any = variance > NO_VARIANCE * yy
        explained: NDArray[np.float64] = np.where(has_any, 1 - errors / np.where(has_any, variance, 1.0), 0.0)
        return explained


def _scale(numbers: NDArray[np.float64]) -> float:
    """Return the largest distance from the mean; 1 if there is none."""
    return float(np.abs(numbers - numbers.mean()).max()) or 1.0


def _centred(numbers: Sequence[Any] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers of mean 0 within -1 and 1, so that no digit of their squares is lost."""
    values: NDArray[np.float64] = np.asarray(numbers, float)
    centred: NDArray[np.float64] = (values - values.mean()) / _scale(values)
    return centred


def _correlation(
    xy: NDArray[np.float64], xx: NDArray[np.float64], yy: NDArray[np.float64], x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """xy / root of xx yy, and 0 where xx or yy is no more than the rounding error of sums as large as x and y."""
    has_any = (xx > NO_VARIANCE * x) & (yy > NO_VARIANCE * y)
    root = np.sqrt(np.where(has_any, xx, 1.0)) * np.sqrt(np.where(has_any, yy, 1.0))
    correlation: NDArray[np.float64] = np.where(has_any, np.clip(xy / root, -1.0, 1.0), 0.0)
    return correlation


def _ranker(numbers: NDArray[np.float64]) -> Weigh:
    """Return a function from weights of the rows to ranks: the weight below a row, and half that of its equals."""
    _, group = np.unique(numbers, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))

    def rank(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        sizes = np.add.reduceat(weights[..., order], starts, axis=-1)
        return (np.cumsum(sizes, axis=-1) - sizes / 2)[..., group]

    return rank
