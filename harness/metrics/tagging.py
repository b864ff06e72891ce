"""Metrics over one tag a word; seqeval decides where entities begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.contracts.kind import NO_ANSWER, NO_LABEL
from harness.metrics.base import SummedMetric, ratio

SEQEVAL_TAGS = {NO_ANSWER: "O", NO_LABEL: f"I-{NO_LABEL}"}
"""Answers that are not tags of the task, as seqeval reads them: no entity, and an entity that is never expected."""

TAGS = {"predictions": List(Value("string")), "references": List(Value("string"))}


class EntityF1(SummedMetric):
    """Micro-averaged F1 of whole entities with the correct type and both ends correct, as in seqeval and CoNLL."""

    key, columns = "entity-f1", TAGS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (correctly predicted, predicted, expected entities)."""
        from seqeval.metrics.sequence_labeling import get_entities

        counts = []
        for own, truth in zip(predictions, references, strict=True):
            predicted = set(get_entities([SEQEVAL_TAGS.get(tag, tag) for tag in own]))
            expected = set(get_entities(list(truth)))
            counts.append([len(predicted & expected), len(predicted), len(expected)])
        return np.array(counts, dtype=float)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """2 x hits / (predicted + expected)."""
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


class WordAccuracy(SummedMetric):
    """Share of words with the correct tag."""

    key, columns = "word-accuracy", TAGS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (correct words, words)."""
        pairs = zip(predictions, references, strict=True)
        counts = [[sum(a == b for a, b in zip(own, truth, strict=True)), len(truth)] for own, truth in pairs]
        return np.array(counts, dtype=float)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Correct words / words."""
        return ratio(sums[..., 0], sums[..., 1])
