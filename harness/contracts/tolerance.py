"""When two outputs for a row count as equal: numbers, embeddings and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ATOL, RTOL = 1e-3, 1e-3
"""A float export may differ from its source by this much; kernels of two runtimes differ by 1e-6 to 1e-5."""
SCALE_RTOL = 1e-4
"""And by this share of the output's largest number: the sum of numbers in the thousands is no more exact than they are,
even where it comes to nearly zero.
"""
MAX_COSINE_DISTANCE = 1e-5
"""Two runtimes differ by 1e-7; a layer that is 1 % too large moves embeddings further than this."""


class Tolerance(NamedTuple):
    """Distance that the outputs of a float export may have from its source's."""

    distance: Callable[[NDArray[Any], NDArray[Any]], float]
    """(own output, source's output) for one row → the distance that is recorded."""
    excess: Callable[[NDArray[Any], NDArray[Any]], float]
    """(own output, source's output) for one row → how far they lie beyond the tolerance; at most 0 within it."""
    description: str
    """The tolerance in words."""
    max_share: float = 0.0
    """Share of the rows that may lie beyond it."""
    same_shape: bool = True
    """False where outputs may differ in shape, as generated text does."""
    of_largest: float = 0.0
    """Share of the output's largest number that `excess` may reach."""

    def of(self, values: NDArray[Any]) -> Tolerance:
        """Return the tolerance of an output: this one for numbers, TOKENS for integers and truth values."""
        return TOKENS if values.dtype.kind in "iub" else self

    def excesses(self, own: Sequence[NDArray[Any]], source: Sequence[NDArray[Any]]) -> list[float]:
        """Return how far each row of an output lies beyond the tolerance, given those of all rows; NaN is beyond it.

        Numbers that are equal to the last digit do not count as large: a mask of -10,000 is no sign of coarse logits.
        """
        pairs = list(zip(own, source, strict=True))
        changed = (np.abs(b[a != b]).max(initial=0.0) for a, b in pairs) if self.of_largest else ()
        slack = self.of_largest * float(max(changed, default=0.0))
        return [self.excess(a, b) - slack for a, b in pairs]


def _largest_difference(own: NDArray[Any], source: NDArray[Any]) -> float:
    return float(np.abs(own - source).max(initial=0.0))


def _elementwise_excess(own: NDArray[Any], source: NDArray[Any]) -> float:
    return float((np.abs(own - source) - RTOL * np.abs(source)).max(initial=0.0)) - ATOL


def _cosine_distance(own: NDArray[Any], source: NDArray[Any]) -> float:
    product = (own * source).sum(axis=-1)
    lengths = np.linalg.norm(own, axis=-1) * np.linalg.norm(source, axis=-1)
    return float((1 - product / np.maximum(lengths, np.finfo(np.float32).tiny)).max(initial=0.0))


def _cosine_excess(own: NDArray[Any], source: NDArray[Any]) -> float:
    return _cosine_distance(own, source) - MAX_COSINE_DISTANCE


def _different_tokens(own: NDArray[Any], source: NDArray[Any]) -> float:
    """Count the tokens that differ, those beyond the end of the shorter output too, unless they are padding."""
    width = min(own.shape[-1], source.shape[-1])
    rest = (own if own.shape[-1] > width else source)[..., width:]
    # Text ends with a token of its own, so what repeats a single token is padding.
    extra = rest.size if (rest != rest[..., :1]).any() else 0
    return float((own[..., :width] != source[..., :width]).sum() + extra)


ELEMENTWISE = Tolerance(
    _largest_difference,
    _elementwise_excess,
    f"{ATOL:g} + {RTOL:g} of the value + {SCALE_RTOL:g} of the output's largest",
    of_largest=SCALE_RTOL,
)
COSINE = Tolerance(_cosine_distance, _cosine_excess, f"a cosine distance of {MAX_COSINE_DISTANCE:g}")
# Rounding chooses between two words that a model finds equally good: at one place in a hundred thousand.
TOKENS = Tolerance(
    _different_tokens, _different_tokens, "the same tokens in 99 of 100 rows", max_share=0.01, same_shape=False
)
