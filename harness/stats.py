"""Intervals: pure functions on numbers, nothing but numpy and scipy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import beta, binom, bootstrap, norm, t


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
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if n == 0:
        return Interval(math.nan, -math.inf, math.inf)
    tail = (1 - confidence) / 2
    k = int(binom.ppf(tail, n, 0.5))
    if binom.cdf(k, n, 0.5) <= tail:
        k += 1
    if k < 1:
        return Interval(float(np.median(ordered)), -math.inf, math.inf)
    return Interval(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def starts_interval(
    arm: Sequence[ArrayLike], beside: Sequence[Sequence[ArrayLike]], confidence: float = 0.95
) -> Interval:
    """Where log-ratios to a reference lie, when rounds fall into starts that differ among themselves.

    `arm` has one array a start, one log-ratio a round; `beside` the same of other arms of the same rounds, whose
    spread between starts is pooled with this arm's. The estimate is the mean over starts of their medians, weighted by
    the root of their rounds: between equal weights, right if starts differ, and weights by rounds, right if they do
    not. Its variance is that of the residuals of arm x start, the reference being an arm whose log-ratio is zero, with
    a sandwich estimator that holds for either truth; Student's t has (arms - 1)(effective starts - 1) degrees of
    freedom. The interval also covers `median_interval` over all rounds, so that an arm noisier than those it is
    pooled with is not believed more than its own rounds allow. One start gives an infinite interval.
    """
    rounds = np.array([np.size(start) for start in arm])
    pooled = median_interval(np.concatenate([np.ravel(start) for start in arm]), confidence)
    medians = np.array(
        [[0.0] * len(rounds), *([float(np.median(np.asarray(start))) for start in one] for one in (arm, *beside))]
    )
    weights = np.sqrt(rounds) / np.sqrt(rounds).sum()
    estimate = float(medians[1] @ weights)
    largest = float((weights**2).sum())
    freedom = (len(medians) - 1) * (1 / largest - 1)
    if len(rounds) < 2:
        return Interval(estimate, -math.inf, math.inf)
    centred = medians - medians.mean(axis=0)
    residuals = centred - (centred @ weights)[:, None]
    spread = (residuals**2).sum(axis=0) / (len(medians) - 1)
    variance = 2 * float((weights**2 * spread).sum()) / (1 - largest)
    half = float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Interval(estimate, min(estimate - half, pooled.low), max(estimate + half, pooled.high))


def paired_difference(lost: float, gained: float, rows: int, confidence: float = 0.90) -> Interval:
    """(gained - lost) / rows with Tango's score interval for paired proportions.

    Two-sided `confidence` 0.90 makes each end a one-sided 95 % bound. T. Tango, Statistics in Medicine 17, 891-908
    (1998), equation 8.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    estimate = (gained - lost) / rows

    def score(delta: float) -> float:
        a = 2 * rows
        b = -gained - lost + (2 * rows - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = rows * (2 * q + delta * (1 - delta))
        distance = gained - lost - rows * delta
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    edge = 1e-12
    low = -1.0 if score(-1 + edge) <= z else brentq(lambda d: min(score(d), 1e9) - z, -1 + edge, estimate - edge)
    high = 1.0 if score(1 - edge) >= -z else brentq(lambda d: max(score(d), -1e9) + z, estimate + edge, 1 - edge)
    return Interval(estimate, float(low), float(high))


def percentile_bound(values: ArrayLike, share: float, confidence: float = 0.99) -> float | None:
    """Upper confidence bound of a percentile, distribution-free; None where the sample is too small for one.

    The smallest order statistic x(k) with P(Binomial(n, share) < k) >= confidence. Its existence needs 44 samples
    for the 90th percentile, 90 for the 95th, 459 for the 99th. Hahn and Meeker, Statistical Intervals, 5.2.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    k = int(binom.ppf(confidence, len(ordered), share)) + 1
    return float(ordered[k - 1]) if k <= len(ordered) else None


def rare_event_bound(events: float, rows: int, confidence: float = 0.95) -> float:
    """Upper bound of a share of which `events` of `rows` were seen. Clopper and Pearson, Biometrika 26 (1934)."""
    return 1.0 if events >= rows else float(beta.ppf(confidence, events + 1, rows - events))


def rows_lost(lost: float, gained: float, rows: int) -> Interval:
    """Share of rows lost less those gained; each end is a one-sided 95 % bound.

    Tango's interval; where all flips go one way, its open end is at least the exact binomial bound of their share, for
    the score bound is a little short where flips are few.
    """
    found = paired_difference(lost, gained, rows)
    low, high = 0.0 - found.high, 0.0 - found.low  # 0.0 - 0.0 has no sign
    if gained == 0:
        high = max(high, rare_event_bound(lost, rows))
    if lost == 0:
        low = min(low, -rare_event_bound(gained, rows))
    return Interval((lost - gained) / rows, low, high)


def smallest_margin(flips: int, rows: int) -> float:
    """Smallest loss that `rows` can exclude when `flips` of them changed, half to either side."""
    return rows_lost(flips / 2, flips / 2, rows).high


def rows_needed(margin: float) -> int:
    """Fewest rows of which, though none flipped, a loss beyond `margin` is excluded."""
    return math.ceil(math.log(0.05) / math.log1p(-margin))


def resampled(
    statistic: Callable[..., float], columns: Sequence[NDArray[Any]], resamples: int = 2_000, seed: int = 0
) -> Interval:
    """`statistic(*columns)` with the percentile bootstrap over rows, drawn together; each end a one-sided 95 % bound.

    Efron and Tibshirani, An Introduction to the Bootstrap, 13.3, by scipy.
    """
    found = bootstrap(
        tuple(columns), statistic, paired=True, vectorized=False, n_resamples=resamples, confidence_level=0.9,
        method="percentile", rng=np.random.default_rng(seed),
    )  # fmt: skip
    bounds = found.confidence_interval
    return Interval(float(statistic(*columns)), float(bounds.low), float(bounds.high))
