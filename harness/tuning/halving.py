"""Successive halving: many candidates for a few rounds, the better half of them for twice as many, until one is left.

After K. Jamieson and A. Talwalkar, AISTATS 2016: every rung costs about the same, so that what is plainly worse costs
little. Whoever is best of many by noisy figures has had luck; what it is worth, fresh rounds must say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

Rung = Callable[[Sequence[str], int], Mapping[str, float]]
"""(candidates, number of the rung) → log-ratio of each to the default; one that failed is left out."""


@dataclass(frozen=True)
class Standing:
    """What one rung said."""

    number: int
    ratios: dict[str, float]
    """Candidate → log-ratio, above 0 where it is faster than the default; the best first."""
    kept: tuple[str, ...]
    """Who goes on."""


def rungs(candidates: int) -> list[int]:
    """How many are left at each rung, if none fails."""
    found = [candidates]
    while found[-1] > 2:
        found.append(math.ceil(found[-1] / 2))
    return found


def halving(candidates: Sequence[str], rung: Rung) -> Iterator[Standing]:
    """Rungs until one candidate is left, or none. Whoever asks for no further one ends the search there."""
    left = tuple(candidates)
    for number in count():
        found = rung(left, number)
        ratios = dict(sorted(found.items(), key=lambda one: -one[1]))
        left = tuple(ratios)[: math.ceil(len(left) / 2)]
        yield Standing(number, ratios, left)
        if len(left) < 2:
            return
