"""Metrics over one tag a word; seqeval says where entities begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.contracts.kind import NO_ANSWER, NO_LABEL
from harness.metrics.base import SummedMetric, ratio

KNOWN = {NO_ANSWER: "O", NO_LABEL: f"I-{NO_LABEL}"}
"""What is answered beside the task's tags, as seqeval reads tags: no entity, and one that is nowhere."""

TAGS = {"predictions": List(Value("string")), "references": List(Value("string"))}


class EntityF1(SummedMetric):
    """F1 of whole entities, their sort and both ends right, as seqeval and CoNLL count them: micro-averaged."""

    key, columns = "entity-f1", TAGS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """(entities found that are there, entities found, entities that are there)."""
        from seqeval.metrics.sequence_labeling import get_entities

        found = []
        for own, truth in zip(predictions, references, strict=True):
            mine, theirs = set(get_entities([KNOWN.get(tag, tag) for tag in own])), set(get_entities(list(truth)))
            found.append([len(mine & theirs), len(mine), len(theirs)])
        return np.array(found, dtype=float)

    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """2 x hits / (found + there)."""
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


class WordAccuracy(SummedMetric):
    """Share of words with the right tag."""

    key, columns = "word-accuracy", TAGS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """(words that are right, words)."""
        return np.array(
            [
                [sum(mine == theirs for mine, theirs in zip(own, truth, strict=True)), len(truth)]
                for own, truth in zip(predictions, references, strict=True)
            ],
            dtype=float,
        )

    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Right words over words."""
        return ratio(sums[..., 0], sums[..., 1])
