"""Intervals: pure functions on numbers, nothing but numpy and scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import binom, norm


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


def speedup(reference_ns: ArrayLike, own_ns: ArrayLike, confidence: float = 0.95) -> Interval:
    """Times faster than the reference, from the paired samples of the same rounds: exp of the median log-ratio."""
    logs = np.log(np.asarray(reference_ns, dtype=float)) - np.log(np.asarray(own_ns, dtype=float))
    found = median_interval(logs, confidence)
    with np.errstate(over="ignore"):
        return Interval(math.exp(found.estimate), float(np.exp(found.low)), float(np.exp(found.high)))


def paired_difference(lost: int, gained: int, rows: int, confidence: float = 0.90) -> Interval:
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
