"""How far two backends' outputs for one row lie apart, and how far they may: for numbers, embeddings and tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ABSOLUTE, RELATIVE = 1e-3, 1e-3
"""A float form may differ from its source by this much; kernels of two runtimes differ by 1e-6 to 1e-5."""
ANGLE = 1e-5
"""One less the cosine of two embeddings. Two runtimes differ by 1e-7; a layer 1 % too large by more than this."""


class Likeness(NamedTuple):
    """A rule by which a float form passes for its source."""

    distance: Callable[[NDArray[Any], NDArray[Any]], float]
    """Of two outputs for one row, as it is put on record."""
    excess: Callable[[NDArray[Any], NDArray[Any]], float]
    """(own, the source's) → how much of it is too much; at most 0 where nothing is."""
    allowed: str
    """The same in words."""
    share: float = 0.0
    """Of the rows, so many may lie too far apart."""
    sized: bool = True
    """Whether outputs must have the same shape; generated ones may not."""


def _largest(own: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(own - other).max(initial=0.0))


def _beyond(own: NDArray[Any], other: NDArray[Any]) -> float:
    return float((np.abs(own - other) - RELATIVE * np.abs(other)).max(initial=0.0)) - ABSOLUTE


def _angle(own: NDArray[Any], other: NDArray[Any]) -> float:
    product = (own * other).sum(axis=-1)
    lengths = np.linalg.norm(own, axis=-1) * np.linalg.norm(other, axis=-1)
    return float((1 - product / np.maximum(lengths, np.finfo(np.float32).tiny)).max(initial=0.0))


def _too_wide(own: NDArray[Any], other: NDArray[Any]) -> float:
    return _angle(own, other) - ANGLE


def _other_tokens(own: NDArray[Any], other: NDArray[Any]) -> float:
    """How many tokens differ, place by place.

    What one has beyond the other's end differs as well, unless it is padding: where text ends is a token of its own.
    """
    width = min(own.shape[-1], other.shape[-1])
    rest = (own if own.shape[-1] > width else other)[..., width:]
    more = rest.size if rest.size and (rest != rest[..., :1]).any() else 0
    return float((own[..., :width] != other[..., :width]).sum() + more)


ELEMENTS = Likeness(_largest, _beyond, f"{ABSOLUTE:g} + {RELATIVE:g} of the value")
COSINE = Likeness(_angle, _too_wide, f"{ANGLE:g} of one less the cosine")
# Of two words that a model finds equally good, rounding chooses: at one place in a hundred thousand.
TOKENS = Likeness(_other_tokens, _other_tokens, "no token, but in one row of 100", share=0.01, sized=False)
