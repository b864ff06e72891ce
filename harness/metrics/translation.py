"""Metrics of generated text against one reference a row, by sacrebleu with its own settings; 1.0 is its 100."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Value
from numpy.typing import NDArray

from harness.metrics.summed import SummedMetric

TEXTS = {"predictions": Value("string"), "references": Value("string")}


class _Sacrebleu(SummedMetric):
    columns = TEXTS

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """What sacrebleu counts of a row: matches and sizes by order of n-gram."""
        # Not in its documentation, and what its own paired bootstrap adds up; its public scores cannot be added.
        counted = self.metric()._extract_corpus_statistics(list(predictions), [list(references)])
        return np.array(counted, dtype=float)

    def of(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """sacrebleu's score of these counts."""
        metric = self.metric()

        def score(counts: NDArray[np.float64]) -> float:
            found = metric._compute_score_from_stats([int(count) for count in counts]).score / 100
            return min(1.0, float(found))  # its logarithms may end a hair above

        return np.apply_along_axis(score, -1, sums)

    @abstractmethod
    def metric(self) -> Any:
        """sacrebleu's."""


class Bleu(_Sacrebleu):
    """BLEU of the corpus: 13a tokens, four orders, exponential smoothing."""

    key = "bleu"

    def metric(self) -> Any:
        """sacrebleu's."""
        from sacrebleu.metrics import BLEU

        return BLEU()


class ChrF(_Sacrebleu):
    """chrF2 of the corpus: six orders of characters."""

    key = "chrf"

    def metric(self) -> Any:
        """sacrebleu's."""
        from sacrebleu.metrics import CHRF

        return CHRF()
