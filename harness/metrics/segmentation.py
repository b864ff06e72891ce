"""Metrics of labelled pixels, from the confusion matrix of each image.

A row is a list of (label answered, label expected, pixels); as a reference both labels are the expected one. A label
below 0 is one that no row has: always wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import SummedMetric, ratio

PIXELS = {"predictions": List(List(Value("int64"))), "references": List(List(Value("int64")))}


class MeanIoU(SummedMetric):
    """Mean over labels of intersection over union, each summed over all images.

    Labels that are neither expected nor answered in any image are left out.
    """

    key, columns = "mean-iou", PIXELS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return two columns a label: pixels that are expected and answered, and those that are either."""
        labels = 1 + max(
            (label for row in (*predictions, *references) for pair in row for label in pair[:2]), default=0
        )
        counts = np.zeros((len(predictions), labels, 2))
        for row, pairs in enumerate(predictions):
            for own, truth, pixels in pairs:
                counts[row, truth, :] += (pixels * (own == truth), pixels)
                if own >= 0 and own != truth:
                    counts[row, own, 1] += pixels
        return counts.reshape(len(predictions), -1)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Intersection / union of each label, averaged."""
        shared, either = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 2), -1, 0)
        return ratio(ratio(shared, either).sum(axis=-1), (either > 0).sum(axis=-1))


class PixelAccuracy(SummedMetric):
    """Share of all pixels that have the correct label."""

    key, columns = "pixel-accuracy", PIXELS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (pixels answered correctly, pixels)."""
        return np.array(
            [[sum(n for own, truth, n in row if own == truth), sum(n for *_, n in row)] for row in predictions], float
        ).reshape(-1, 2)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Correct pixels / pixels."""
        return ratio(sums[..., 0], sums[..., 1])
