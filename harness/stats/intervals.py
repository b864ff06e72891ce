"""Intervals: pure functions on numbers, nothing but numpy and scipy.

ALSO: Intervals in words: one way of writing them for sentences and for tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it."""

    estimate: float
    low: float
    high: float


def median_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """The median with the sign test's interval: it assumes no distribution, only that rounds are exchangeable.

    Order statistics x(k) and x(n+1-k), with k the largest for which P(Binomial(n, 1/2) < k) <= (1-confidence)/2;
    too few values for any k give an infinite interval. Conover, Practical Nonparametric Statistics, 3rd ed., 3.2.
    """
    return median_intervals(np.asarray(values, dtype=float)[None], [confidence])[0]


def median_intervals(values: NDArray[np.float64], confidence: Sequence[float]) -> list[Interval]:
    """Likewise, of each row of values, each with a confidence of its own."""
    n = values.shape[1]
    if n == 0:
        return [Interval(math.nan, -math.inf, math.inf)] * len(values)
    ordered = np.sort(values, axis=1)
    middles = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    ranks = [_sign_rank(n, (1 - one) / 2) for one in confidence]
    return [
        Interval(middle, float(row[k - 1]), float(row[n - k])) if k > 0 else Interval(middle, -math.inf, math.inf)
        for row, middle, k in zip(ordered, middles.tolist(), ranks, strict=True)
    ]


@lru_cache
def _sign_rank(n: int, tail: float) -> int:
    """Largest k for which P(Binomial(n, 1/2) < k) <= tail."""
    k = int(binom.ppf(tail, n, 0.5))
    return k + 1 if binom.cdf(k, n, 0.5) <= tail else k


def paired_difference(
    lost: float, gained: float, rows: int, confidence: float = 0.90, correction: float = 0.0
) -> Interval:
    """(gained - lost) / rows with Tango's score interval for paired proportions.

    Two-sided `confidence` 0.90 makes each end a one-sided 95 % bound. T. Tango, Statistics in Medicine 17, 891-908
    (1998), equation 8. Of the distance from gained - lost to what is tested, `correction` rows are taken off.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    estimate = (gained - lost) / rows

    def score(delta: float, sign: int) -> float:
        a = 2 * rows
        b = -gained - lost + (2 * rows - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = rows * (2 * q + delta * (1 - delta))
        distance = gained - lost - rows * delta - sign * correction
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    edge = 1e-12
    low, high = -1.0, 1.0
    if score(-1 + edge, 1) > z:
        low = brentq(lambda d: min(score(d, 1), 1e9) - z, -1 + edge, estimate - edge)
    if score(1 - edge, -1) < -z:
        high = brentq(lambda d: max(score(d, -1), -1e9) + z, estimate + edge, 1 - edge)
    return Interval(estimate, float(low), float(high))


def percentile_bound(values: ArrayLike, share: float, confidence: float = 0.99) -> float | None:
    """Upper confidence bound of a percentile, distribution-free; None where the sample is too small for one.

    The smallest order statistic x(k) with P(Binomial(n, share) < k) >= confidence. Its existence needs 44 samples
    for the 90th percentile, 90 for the 95th, 459 for the 99th. Hahn and Meeker, Statistical Intervals, 5.2.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    k = _percentile_rank(len(ordered), share, confidence)
    return float(ordered[k - 1]) if k <= len(ordered) else None


@lru_cache
def _percentile_rank(n: int, share: float, confidence: float) -> int:
    """Smallest k with P(Binomial(n, share) < k) >= confidence; n + 1 where there is none."""
    return int(binom.ppf(confidence, n, share)) + 1


def rare_event_bound(events: float, rows: int, confidence: float = 0.95) -> float:
    """Upper bound of a share of which `events` of `rows` were seen. Clopper and Pearson, Biometrika 26 (1934)."""
    return 1.0 if events >= rows else float(beta.ppf(confidence, events + 1, rows - events))


HALF_STEP = 1.0
"""Rows. Among rows that flip, gained - lost moves by 2."""


@lru_cache(4096)
def drop_interval(lost: float, gained: float, rows: int) -> Interval:
    """Share of rows lost less those gained; each end is a one-sided 95 % bound.

    Tango's interval, corrected for continuity as McNemar's test is (A. L. Edwards, Psychometrika 13, 185-187, 1948):
    where flips are few, its ends otherwise err up to 8.9 times in 100. No more is lost than the exact binomial bound of
    the rows lost alone, nor gained than that of the rows gained: closer where hardly any row flips.
    """
    found = paired_difference(lost, gained, rows, correction=HALF_STEP)
    low, high = max(-found.high, -rare_event_bound(gained, rows)), min(-found.low, rare_event_bound(lost, rows))
    return Interval((lost - gained) / rows, low, high)


def smallest_margin(flips: int, rows: int) -> float:
    """Smallest drop that `rows` can exclude when `flips` of them changed, half to either side."""
    return drop_interval(flips / 2, flips / 2, rows).high


def rows_needed(margin: float) -> int:
    """Fewest rows of which, though none flipped, a drop beyond `margin` is excluded."""
    return math.ceil(math.log(0.05) / math.log1p(-margin))


def resampled(
    statistic: Callable[..., NDArray[Any]],
    columns: Sequence[NDArray[Any]],
    resamples: int = 2_000,
    seed: int = 0,
    tail: float = 0.05,
) -> Interval:
    """`statistic` of the sums over rows, with the percentile bootstrap over rows; beyond each end lies a `tail`.

    Columns have shape (rows, k), and the statistic is given their sums, shape (…, k). How often each row is drawn is
    multinomial, and a product with that adds up a column. Efron and Tibshirani, An Introduction to the Bootstrap, 13.3.
    """
    rows, dice = len(columns[0]), np.random.default_rng(seed)
    found = []
    for at in range(0, resamples, DRAWN_AT_ONCE):
        drawn = dice.multinomial(rows, np.full(rows, 1 / rows), size=min(DRAWN_AT_ONCE, resamples - at)).astype(float)
        found.append(statistic(*(drawn @ column for column in columns)))
    low, high = np.quantile(np.concatenate(found), (tail, 1 - tail))
    estimate = statistic(*(column.sum(axis=0) for column in columns))
    return Interval(float(estimate), float(low), float(high))


DRAWN_AT_ONCE = 100


def ends(low: float, high: float, decimals: int = 2) -> str:
    """The two ends of an interval."""
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]" if math.isfinite(high) else "[too few launches or rounds]"


def listed(names: Sequence[str]) -> str:
    """One or more names as a sentence has them: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def times(found: Interval) -> str:
    """A ratio: how many times as fast."""
    return f"{found.estimate:.2f}x {ends(found.low, found.high)}"


def points(found: Interval) -> str:
    """A share of rows, in percentage points."""
    return f"{100 * found.estimate:.2f} points {ends(100 * found.low, 100 * found.high)}"
