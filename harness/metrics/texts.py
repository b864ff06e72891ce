"""Metrics of texts: generated text by sacrebleu (1.0 is its 100) and ROUGE, and answers as SQuAD counts them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import MeanMetric, SummedMetric

TEXTS = {"predictions": Value("string"), "references": Value("string")}
ANSWERS = {"predictions": Value("string"), "references": List(Value("string"))}
"""Several correct answers a row, of which the nearest counts; where a row has none, the empty text is correct."""
WORD = re.compile("[a-z0-9]+")
"""A word, in lower case, as ROUGE counts them; other letters part words."""

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Return an answer as SQuAD compares it: in lower case, without punctuation, articles and repeated spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


class Bleu(SummedMetric):
    """BLEU of the corpus: four orders, exponential smoothing; the setting is sacrebleu's tokenizer."""

    key, columns = "bleu", TEXTS

    def _metric(self) -> Any:
        import sacrebleu.metrics

        return sacrebleu.metrics.BLEU(tokenize=self.setting)

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


class ChrF(Bleu):
    """chrF2 of the corpus: six orders of characters."""

    key = "chrf"

    def _metric(self) -> Any:
        import sacrebleu.metrics

        return sacrebleu.metrics.CHRF()


class Rouge1(MeanMetric):
    """Mean over rows of the F1 of a text's words against those of its reference, without stemming."""

    key, columns = "rouge1", TEXTS
    order: ClassVar[int] = 1

    def _row_score(self, prediction: Any, reference: Any) -> float:
        words, expected = (WORD.findall(text.lower()) for text in (prediction, reference))
        return self._compare(words, expected)

    def _compare(self, words: list[str], expected: list[str]) -> float:
        own, truth = (
            Counter(zip(*(text[at:] for at in range(self.order)), strict=False)) for text in (words, expected)
        )
        return _f1((own & truth).total(), own.total(), truth.total())


class Rouge2(Rouge1):
    """Mean over rows of the F1 of a text's pairs of words against those of its reference."""

    key, order = "rouge2", 2


class RougeL(Rouge1):
    """Mean over rows of the F1 of the longest words that a text and its reference have in the same order."""

    key = "rougeL"

    def _compare(self, words: list[str], expected: list[str]) -> float:
        longest = [0] * (len(expected) + 1)  # of the words so far and each beginning of the reference
        for word in words:
            before = longest
            longest = [0]
            for at, other in enumerate(expected):
                longest.append(before[at] + 1 if word == other else max(before[at + 1], longest[at]))
        return _f1(longest[-1], len(words), len(expected))


def _f1(hits: int, predicted: int, expected: int) -> float:
    return 2 * hits / (predicted + expected) if hits else 0.0


class TokenF1(MeanMetric):
    """Mean over rows of the F1 of an answer's words against the nearest correct answer."""

    key, columns, other_columns = "token-f1", ANSWERS, (TEXTS,)

    def _row_score(self, prediction: Any, reference: Any) -> float:
        answer, reference = normalize_answer(prediction), [reference] if isinstance(reference, str) else reference
        # As SQuAD is read: an answer that consists of articles only is no answer.
        return max(self._compare(answer, truth) for truth in [*filter(None, map(normalize_answer, reference))] or [""])

    def _compare(self, answer: str, truth: str) -> float:
        words, expected = answer.split(), truth.split()
        if not words or not expected:
            return float(words == expected)
        return _f1((Counter(words) & Counter(expected)).total(), len(words), len(expected))


class ExactMatch(TokenF1):
    """Share of rows whose answer is one of the correct ones; case, punctuation and articles are ignored."""

    key, binary_rows = "exact-match", True

    def _compare(self, answer: str, truth: str) -> float:
        return float(answer == truth)
