"""Errors of transcripts against what was said, as jiwer counts them: substitutions, deletions and insertions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics.base import SummedMetric
from harness.metrics.texts import TEXTS

READING = "in lower case, without punctuation"
"""Form of the texts that are compared, in words."""
APOSTROPHES = "'’ʼ"


def normalize_transcript(text: str) -> str:
    """Return a text as it is compared: in lower case, without apostrophes, other punctuation and symbols as spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    shown = (" " if unicodedata.category(char)[0] in "PS" else char for char in folded if char not in APOSTROPHES)
    return " ".join("".join(shown).split())


class WordErrorRate(SummedMetric):
    """Errors in words per word that was said, over all rows; it may exceed 1."""

    key, columns = "wer", TEXTS

    def _align(self, reference: str, prediction: str) -> Any:
        import jiwer

        return jiwer.process_words(reference, prediction)

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.float64]:
        """Return (errors, words that were said) for each row."""
        pairs = zip(references, predictions, strict=True)
        rows = [self._align(*map(normalize_transcript, pair)) for pair in pairs]
        missed = np.array([row.substitutions + row.deletions for row in rows], dtype=float)
        said = missed + [row.hits for row in rows]
        return np.stack([missed + [row.insertions for row in rows], said], axis=1)

    def score_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Errors / words."""
        rate: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
        return rate

    def unseen_pairs(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return the longest text, transcribed as nothing, and as it is."""
        longest = max(references, key=len)
        return [("", longest), (longest, longest)]

    def compared_part(self, prediction: Any) -> Any:
        """Return the text without what no error is counted for."""
        return normalize_transcript(prediction)

    def correct_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Return whether each row is transcribed without an error."""
        return [errors == 0 for errors, _ in self.statistics(predictions, references)]


class CharacterErrorRate(WordErrorRate):
    """Errors in characters, spaces included, per character that was said, over all rows; it may exceed 1."""

    key = "cer"

    def _align(self, reference: str, prediction: str) -> Any:
        import jiwer

        return jiwer.process_characters(reference, prediction)
