"""Where a series of log speed-ups has moved to another level, told point by point: pure functions on numbers.

After each point it is asked, of every way to cut the points since the last step in two, whether the means of the two
parts differ: the largest t statistic over all cuts is held against a threshold that a series without a step exceeds
once in `EVERY` points. Neither level nor noise need be known, and the rate holds whatever they are. That is the
change-point model of Hawkins, Qiu and Kang, Journal of Quality Technology 35, 355-366 (2003), with thresholds of our
own simulation, since parts of less than BEFORE and AFTER points are no levels here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from harness.stats import Interval

BEFORE = 5
"""Fewest points that make a level: below it the noise is not known."""
AFTER = 3
"""Fewest points that make the next: one or two are strays."""
EVERY = 1_000
"""Points in which a series without a step is said to have one, on average."""
_THRESHOLDS = {
    8: 6.342, 9: 6.160, 10: 5.919, 12: 5.475, 15: 5.099, 20: 4.671, 25: 4.462, 30: 4.336, 40: 4.142, 50: 4.061,
    75: 3.933, 100: 3.883, 150: 3.837,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of level."""

    at: int
    """Index of the first point of the new level, by all points up to the next step."""
    told: int
    """Index of the point at which it was first known."""
    change: Interval
    """Of the means, new less old, with Student's 95 % interval, as if the place had not been searched for."""


def steps(values: Sequence[float]) -> list[Step]:
    """Every step of a series in its order; none where fewer than BEFORE + AFTER points are."""
    found = np.asarray(values, dtype=float)
    begin, told, cuts = 0, [], [0]
    for end in range(1, len(found) + 1):
        if end - begin >= BEFORE + AFTER:
            statistic, cut = _largest(found[begin:end])
            if statistic > threshold(end - begin):
                begin += cut
                told.append(end - 1)
                cuts.append(begin)
    cuts.append(len(found))
    for number in range(1, len(cuts) - 1):  # where it lies is known better by what followed
        part = found[cuts[number - 1] : cuts[number + 1]]
        cuts[number] = cuts[number - 1] + _largest(part)[1]
    parts = [found[begin:end] for begin, end in pairwise(cuts)]
    return [
        Step(at=at, told=known, change=difference(old, new))
        for at, known, (old, new) in zip(cuts[1:-1], told, pairwise(parts), strict=True)
    ]


def threshold(points: int) -> float:
    """Of the largest t statistic of so many points."""
    known = sorted(_THRESHOLDS)
    return float(np.interp(-1 / points, [-1 / n for n in known], [_THRESHOLDS[n] for n in known]))


def difference(old: NDArray[np.float64], new: NDArray[np.float64]) -> Interval:
    """Of two means, new less old, with Student's interval at a common variance."""
    freedom = len(old) + len(new) - 2
    estimate = float(new.mean() - old.mean())
    left = float(((old - old.mean()) ** 2).sum() + ((new - new.mean()) ** 2).sum())
    half = float(t.ppf(0.975, freedom)) * math.sqrt(left / freedom * (1 / len(old) + 1 / len(new)))
    return Interval(estimate, estimate - half, estimate + half)


def _largest(values: NDArray[np.float64]) -> tuple[float, int]:
    """The largest |t| over all cuts, and how many points lie before that cut."""
    n = len(values)
    centred = values - values.mean()
    cuts = np.arange(BEFORE, n - AFTER + 1)
    left = centred.cumsum()[cuts - 1]
    between = left**2 * n / (cuts * (n - cuts))  # sum of squares that the cut explains
    best = int(between.argmax())
    within = max(float(centred @ centred) - float(between[best]), np.finfo(float).tiny)
    return math.sqrt(float(between[best]) * (n - 2) / within), int(cuts[best])
