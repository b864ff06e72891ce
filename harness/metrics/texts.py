"""Metrics of texts: generated text by sacrebleu (1.0 is its 100), and answers to questions as SQuAD counts them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import MeanMetric, SummedMetric

TEXTS = {"predictions": Value("string"), "references": Value("string")}

ANSWERS = {"predictions": Value("string"), "references": List(Value("string"))}
"""Several correct answers a row, of which the nearest counts."""


class _Sacrebleu(SummedMetric):
    columns = TEXTS

    @abstractmethod
    def _metric(self) -> Any:
        """Return sacrebleu's metric with its default settings."""

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return sacrebleu's counts for each row: matches and sizes by order of n-gram."""
        # Undocumented, but what sacrebleu's own paired bootstrap adds up; its public scores cannot be added.
        counts = self._metric()._extract_corpus_statistics(list(predictions), [list(references)])
        return np.array(counts, dtype=float)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sacrebleu's score of these counts."""
        metric = self._metric()

        def score(counts: NDArray[np.float64]) -> float:
            points = metric._compute_score_from_stats([int(count) for count in counts]).score
            return min(1.0, float(points / 100))  # its logarithms may end a hair above

        return np.apply_along_axis(score, -1, sums)


class Bleu(_Sacrebleu):
    """BLEU of the corpus: 13a tokens, four orders, exponential smoothing."""

    key = "bleu"

    def _metric(self) -> Any:
        from sacrebleu.metrics import BLEU

        return BLEU()


class ChrF(_Sacrebleu):
    """chrF2 of the corpus: six orders of characters."""

    key = "chrf"

    def _metric(self) -> Any:
        from sacrebleu.metrics import CHRF

        return CHRF()


class ExactMatch(MeanMetric):
    """Share of rows whose answer is one of the correct ones; case, punctuation and articles are ignored."""

    key, columns, binary_rows = "exact-match", ANSWERS, True

    def row_score(self, prediction: Any, reference: Any) -> float:
        """1 for a correct answer; where the row has none, for an empty one."""
        from transformers.data.metrics.squad_metrics import compute_exact

        return _best(compute_exact, prediction, reference)


class TokenF1(MeanMetric):
    """Mean over rows of the F1 of an answer's words against the nearest correct answer."""

    key, columns = "token-f1", ANSWERS

    def row_score(self, prediction: Any, reference: Any) -> float:
        """F1 of the words."""
        from transformers.data.metrics.squad_metrics import compute_f1

        return _best(compute_f1, prediction, reference)


def _best(compute: Callable[[str, str], float], prediction: str, reference: list[str]) -> float:
    from transformers.data.metrics.squad_metrics import normalize_answer

    # As Transformers reads SQuAD: an answer that consists of articles only is empty.
    truths = [truth for truth in reference if normalize_answer(truth)] or [""]
    return max(float(compute(truth, prediction)) for truth in truths)
