"""Metrics over one tag a word; the scheme of the tags decides where entities begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.contracts.kind import NO_ANSWER, NO_LABEL
from harness.metrics.base import SummedMetric, ratio
from harness.metrics.entities import SCHEMES, entities

TAGS = {"predictions": List(Value("string")), "references": List(Value("string"))}


class EntityF1(SummedMetric):
    """Micro-averaged F1 of whole entities with the correct type and both ends correct, as in seqeval's strict mode.

    The setting is the scheme of the tags and how they are written, `IOB2 prefix` for instance.
    """

    key, columns = "entity-f1", TAGS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (correctly predicted, predicted, expected entities)."""
        scheme, form = self.setting.split()
        alone = SCHEMES[scheme][-1:]
        wrong = f"{NO_LABEL}-{alone}" if form == "suffix" else f"{alone}-{NO_LABEL}"
        # Answers that are not tags of the task: no entity, and an entity that is never expected.
        read_as = {NO_ANSWER: "O", NO_LABEL: wrong}
        counts = []
        for own, truth in zip(predictions, references, strict=True):
            predicted = entities(tuple(read_as.get(tag, tag) for tag in own), scheme, form)
            expected = entities(tuple(truth), scheme, form)
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
