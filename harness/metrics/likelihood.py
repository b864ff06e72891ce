"""Perplexity of given texts: how many tokens a model hesitates between, on average over all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Value
from numpy.typing import NDArray

from harness.metrics.numbers import NumberMetric


class Perplexity(NumberMetric):
    """Exponential of the mean negative log-likelihood over the tokens of all rows.

    A prediction is the sum of it over a row's tokens, and the reference is their number.
    """

    key = "perplexity"
    columns: ClassVar[dict[str, Any]] = {"predictions": Value("float64"), "references": Value("int64")}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (negative log-likelihood, tokens) for each row."""
        return np.stack([np.asarray(predictions, float), np.asarray(references, float)], axis=1)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exponential of the mean."""
        perplexity: NDArray[np.float64] = np.exp(sums[..., 0] / sums[..., 1])
        return perplexity

    def unseen_pairs(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return the longest text, as likely per token as the least and as the most likely row."""
        means, longest = np.asarray(predictions, float) / np.asarray(references), max(references)
        return [(means.max() * longest, longest), (means.min() * longest, longest)]

    def correct_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Return False for each row: no likelihood is the correct one."""
        return [False] * len(references)
