"""Confidence intervals, the sample sizes they need, and one way of writing them in sentences and tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit
from scipy.stats import beta, binom, norm

CONTINUITY_ROWS = 1.0
"""Continuity correction of a drop, in rows: half a step, since gained - lost moves by 2 among rows that flip."""
RESAMPLES_AT_ONCE = 100
"""Bootstrap resamples drawn in one go; bounds the memory they take."""

WIDE = 1.15
"""An estimate that lies further than this factor from its proven bound does not lead a sentence."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it."""

    estimate: float
    low: float
    high: float


def median_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the median with the sign test's interval, which assumes only that values are exchangeable.

    Order statistics x(k) and x(n+1-k), with k the largest for which P(Binomial(n, 1/2) < k) <= (1-confidence)/2;
    too few values for any k give an infinite interval. Conover, Practical Nonparametric Statistics, 3rd ed., 3.2.
    """
    return median_intervals(np.asarray(values, dtype=float)[None], [confidence])[0]


def median_intervals(values: NDArray[np.float64], confidences: Sequence[float]) -> list[Interval]:
    """Return `median_interval` of each row of values, each with its own confidence."""
    n = values.shape[1]
    if n == 0:
        return [Interval(math.nan, -math.inf, math.inf)] * len(values)
    ordered = np.sort(values, axis=1)
    medians = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    ranks = [_sign_rank(n, (1 - confidence) / 2) for confidence in confidences]
    return [
        Interval(median, float(row[k - 1]), float(row[n - k])) if k > 0 else Interval(median, -math.inf, math.inf)
        for row, median, k in zip(ordered, medians.tolist(), ranks, strict=True)
    ]


@lru_cache
def _sign_rank(n: int, tail: float) -> int:
    """Return the largest k for which P(Binomial(n, 1/2) < k) <= tail."""
    k = int(binom.ppf(tail, n, 0.5))
    return k + 1 if binom.cdf(k, n, 0.5) <= tail else k


def spread_interval(estimate: float, parts: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return an estimate with Student's interval from the spread of its logarithm over `parts`, such as launches.

    One part gives an infinite interval.
    """
    if len(parts) < 2:
        return Interval(estimate, 0.0, math.inf)
    logs = np.log(np.asarray(parts, dtype=float))
    half = float(stdtrit(len(parts) - 1, (1 + confidence) / 2) * logs.std(ddof=1) / math.sqrt(len(parts)))
    return Interval(estimate, estimate * math.exp(-half), estimate * math.exp(min(half, 700.0)))


def percentile_bound(values: ArrayLike, share: float, confidence: float = 0.99) -> float | None:
    """Return a distribution-free upper confidence bound of a percentile; None if the sample is too small for one.

    The smallest order statistic x(k) with P(Binomial(n, share) < k) >= confidence. It exists from 44 samples for the
    90th percentile, 90 for the 95th, 459 for the 99th. Hahn and Meeker, Statistical Intervals, 5.2.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    k = int(binom.ppf(confidence, len(ordered), share)) + 1
    return float(ordered[k - 1]) if k <= len(ordered) else None


def rare_event_bound(events: float, rows: int, confidence: float = 0.95) -> float:
    """Return the upper bound of a share seen in `events` of `rows`. Clopper and Pearson, Biometrika 26 (1934)."""
    return 1.0 if events >= rows else float(beta.ppf(confidence, events + 1, rows - events))


def paired_difference(
    lost: float, gained: float, rows: int, confidence: float = 0.90, correction: float = 0.0
) -> Interval:
    """Return (gained - lost) / rows with Tango's score interval; by default each end is a one-sided 95 % bound.

    T. Tango, Statistics in Medicine 17, 891-908 (1998), equation 8. `correction` rows are subtracted from the distance
    between gained - lost and the tested value.
    """
    z, estimate = float(norm.ppf((1 + confidence) / 2)), (gained - lost) / rows

    def score(delta: float, sign: int) -> float:
        a = 2 * rows
        b = -gained - lost + (2 * rows - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = rows * (2 * q + delta * (1 - delta))
        distance = gained - lost - rows * delta - sign * correction
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    edge, low, high = 1e-12, -1.0, 1.0
    if score(-1 + edge, 1) > z:
        low = brentq(lambda d: min(score(d, 1), 1e9) - z, -1 + edge, estimate - edge)
    if score(1 - edge, -1) < -z:
        high = brentq(lambda d: max(score(d, -1), -1e9) + z, estimate + edge, 1 - edge)
    return Interval(estimate, float(low), float(high))


@lru_cache(4096)
def drop_interval(lost: float, gained: float, rows: int, confidence: float = 0.90) -> Interval:
    """Return the drop, (lost - gained) / rows; by default each end is a one-sided 95 % bound.

    Tango's interval, corrected for continuity as McNemar's test is (A. L. Edwards, Psychometrika 13, 185-187, 1948), or
    its ends err up to 8.9 times in 100 where few rows flip. Exact bounds of rows lost and rows gained limit it further.
    """
    difference = paired_difference(lost, gained, rows, confidence, correction=CONTINUITY_ROWS)
    low = max(-difference.high, -rare_event_bound(gained, rows, (1 + confidence) / 2))
    high = min(-difference.low, rare_event_bound(lost, rows, (1 + confidence) / 2))
    return Interval((lost - gained) / rows, low, high)


def agree_beyond_chance(answers: Sequence[str], truths: Sequence[str], confidence: float = 0.99) -> bool:
    """Return whether two columns of labels are equal in more rows than if one of them were shuffled.

    Cohen's kappa above zero, with mean and variance over all shuffles: B. S. Everitt, British Journal of Mathematical
    and Statistical Psychology 21, 97-103 (1968).
    """
    n, counts = len(truths), [Counter(column) for column in (answers, truths)]
    pairs = [(counts[0][label], counts[1][label]) for label in counts[0]]
    equal = sum(answer == truth for answer, truth in zip(answers, truths, strict=True))
    product = sum(a * b for a, b in pairs)
    variance = (n * n * product - n * sum(a * b * (a + b) for a, b in pairs) + product**2) / (n * n * max(1, n - 1))
    return equal - product / n > float(norm.ppf(confidence)) * math.sqrt(max(0.0, variance))


def smallest_margin(flips: int, rows: int) -> float:
    """Return the smallest drop that `rows` can exclude when `flips` of them changed, half in each direction."""
    return drop_interval(flips / 2, flips / 2, rows).high


def rows_needed(margin: float) -> int:
    """Return the fewest rows that exclude a drop beyond `margin` when no row flips."""
    return math.ceil(math.log(0.05) / math.log1p(-margin))


def bootstrap_interval(
    score: Callable[[NDArray[np.float64]], NDArray[Any]],
    rows: int,
    resamples: int = 2_000,
    seed: int = 0,
    tail: float = 0.05,
) -> Interval:
    """Return a score with its percentile-bootstrap interval, `tail` beyond each end.

    It is a function from weights of the rows, shape (…, rows), to scores of shape (…): how often each row is drawn is
    multinomial. Efron and Tibshirani, An Introduction to the Bootstrap, 13.3.
    """
    rng, values = np.random.default_rng(seed), []
    for first in range(0, resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, resamples - first)
        weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(float)
        values.append(score(weights))
    low, high = np.quantile(np.concatenate(values), (tail, 1 - tail))
    return Interval(float(score(np.ones(rows))), float(low), float(high))


def format_bounds(low: float, high: float, decimals: int = 2) -> str:
    """Write the two ends of an interval: "[1.32, 1.47]"."""
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]" if math.isfinite(high) else "[too few launches or rounds]"


def format_ratio(ratio: Interval) -> str:
    """Write a speed-up: "1.39x [1.32, 1.47]"."""
    return f"{ratio.estimate:.2f}x {format_bounds(ratio.low, ratio.high)}"


def lead_with_bound(ratio: Interval) -> str:
    """Write a speed-up for a sentence; a wide interval's proven bound leads: "at least 2.17x (2.63x [2.17, 3.18])"."""
    if ratio.low > 1 and ratio.estimate > WIDE * ratio.low:
        return f"at least {ratio.low:.2f}x ({format_ratio(ratio)})"
    if ratio.high < 1 and ratio.high > WIDE * ratio.estimate:
        return f"at most {ratio.high:.2f}x ({format_ratio(ratio)})"
    return format_ratio(ratio)


def format_points(share: Interval) -> str:
    """Write a share of rows, a drop or a gain, in percentage points: "0.12 points [-0.36, 0.60]"."""
    return f"{100 * share.estimate:.2f} points {format_bounds(100 * share.low, 100 * share.high)}"


def join_names(names: Sequence[str]) -> str:
    """Join one or more names as a sentence does: "a, b and c"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
