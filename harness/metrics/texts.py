"""Metrics of generated text against one reference a row, by sacrebleu with its own settings; 1.0 is its 100.

ALSO: Metrics of answers to questions, as SQuAD counts them: the best of several right answers; case, punctuation and
articles aside. Transformers has the arithmetic."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import MeanMetric, SummedMetric

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


ANSWERS = {"predictions": Value("string"), "references": List(Value("string"))}


class ExactMatch(MeanMetric):
    """Share of rows whose answer is one of the right ones."""

    key, columns, whole_rows = "exact-match", ANSWERS, True

    def figure(self, prediction: Any, reference: Any) -> float:
        """1 for a right answer; where there is none, for no answer."""
        from transformers.data.metrics.squad_metrics import compute_exact

        return _best(compute_exact, prediction, reference)


class TokenF1(MeanMetric):
    """Mean over rows of the F1 of an answer's words."""

    key, columns = "token-f1", ANSWERS

    def figure(self, prediction: Any, reference: Any) -> float:
        """F1 of the words against those of the right answer that is nearest."""
        from transformers.data.metrics.squad_metrics import compute_f1

        return _best(compute_f1, prediction, reference)


def _best(figure: Callable[[str, str], float], prediction: str, reference: list[str]) -> float:
    from transformers.data.metrics.squad_metrics import normalize_answer

    # As Transformers reads SQuAD: an answer of articles alone is none.
    truths = [truth for truth in reference if normalize_answer(truth)] or [""]
    return max(float(figure(truth, prediction)) for truth in truths)
