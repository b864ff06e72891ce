"""Metrics of answers to questions, as SQuAD counts them: the best of several right answers; case, punctuation and
articles aside. Transformers has the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import List, Value

from harness.metrics.summed import MeanMetric

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
