"""Where log-ratios to a reference lie, when rounds fall into starts that differ among themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from harness.stats import Interval, median_interval, quantile

START_SD = 0.01
"""How far log-ratios of fresh workers lie apart, as far as weights need to know; 0.002 to 0.028 were seen."""
CORNER_SD = 2
"""Of START_SD: rounds so near the location count in full, so that starts may differ without being outliers. With less,
intervals were found too narrow where starts lie 3 % apart; with more, wide beside busy neighbours."""
CORE = 0.15
"""Or the share of rounds nearest to the median. Beside a busy neighbour a third of all rounds are undisturbed."""


@dataclass(frozen=True)
class Located:
    """The location of an arm's rounds, and what each start has to do with it."""

    rounds: NDArray[np.float64]
    """Of all starts."""
    centre: float
    pulls: NDArray[np.float64]
    """How far each start moves the location away from what the others would make it; they add up to zero."""
    weights: NDArray[np.float64]
    """Each start's share of the location."""


def starts_interval(
    arm: Sequence[ArrayLike], beside: Sequence[Sequence[ArrayLike]], confidence: float = 0.95
) -> Interval:
    """Where the log-ratios of `arm` lie: one array a start, one log-ratio a round.

    `beside` is the same of other arms of the same rounds, whose spread between starts is pooled with this arm's.
    """
    return interval(located(arm), [located(other) for other in beside], confidence)


def interval(own: Located, beside: Sequence[Located], confidence: float) -> Interval:
    """Likewise, of what is located.

    Variance is estimated from the starts' pulls, clustered (K.-Y. Liang and S. L. Zeger, Biometrika 73, 13-22, 1986),
    the reference being an arm whose log-ratio is zero; Student's t has (arms - 1)(effective starts - 1) degrees of
    freedom. The interval also covers `median_interval` over all rounds, so that an arm noisier than those it is pooled
    with is not believed more than its own rounds allow. One start gives an infinite interval.
    """
    if len(own.pulls) < 2:
        return Interval(own.centre, -math.inf, math.inf)
    pulls = np.array([np.zeros(len(own.pulls)), own.pulls, *(other.pulls for other in beside)])
    arms, largest = len(pulls), float((own.weights**2).sum())
    # Of a ratio, the variance is that of two workers: the arm's and the reference's.
    variance = 2 * float(((pulls - pulls.mean(axis=0)) ** 2).sum()) / (arms - 1) / (1 - largest)
    half = float(stdtrit((arms - 1) * (1 / largest - 1), (1 + confidence) / 2)) * math.sqrt(variance)
    pooled = median_interval(own.rounds, confidence)
    return Interval(own.centre, min(own.centre - half, pooled.low), max(own.centre + half, pooled.high))


def located(starts: Sequence[ArrayLike]) -> Located:
    """Huber's location of all rounds together, close to their median (Annals of Mathematical Statistics 35, 1964).

    A median of each start would not do: a neighbour that hits half of a start's few rounds moves it anywhere, whereas
    the undisturbed rounds of all starts agree. Starts weigh by the inverse of the variance they should have: START_SD
    squared, and what their rounds add.
    """
    each = [np.asarray(start, dtype=float) for start in starts]
    rounds = np.array([len(start) for start in each])
    values, start = np.concatenate(each), np.repeat(np.arange(len(each)), rounds)
    median = quantile(values, 0.5)
    corner = math.hypot(quantile(np.abs(values - median), CORE), CORNER_SD * START_SD)
    centre = _solved(values, np.ones(len(values)), corner)
    psi, inside = _scores(values - centre, corner)
    per_round = float((psi**2).mean() / inside.mean() ** 2)
    weights = 1 / (START_SD**2 + per_round / rounds) / rounds
    centre = _solved(values, weights[start], corner)
    psi, inside = _scores(values - centre, corner)
    pulls = np.bincount(start, weights[start] * psi) / float(weights[start] @ inside)
    return Located(values, centre, pulls, weights * rounds / float(weights @ rounds))


def _scores(residuals: NDArray[np.float64], corner: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Huber's psi and its derivative; one round at least is near."""
    away = np.abs(residuals)
    return np.clip(residuals, -corner, corner), (away <= max(corner, float(away.min()))).astype(float)


def _solved(values: NDArray[np.float64], weights: NDArray[np.float64], corner: float) -> float:
    """The centre at which the weighted scores cancel; the middle one where many do.

    As the centre moves, their sum falls along straight lines that bend at the values less and plus the corner.
    """
    bends = np.concatenate([values - corner, values + corner])
    order = bends.argsort()
    bends, slopes = bends[order], np.concatenate([weights, -weights])[order].cumsum()
    whole = corner * float(weights.sum())
    fallen = np.concatenate([[0.0], (slopes[:-1] * np.diff(bends)).cumsum()])
    return float(np.interp([whole * (1 - ROUNDING), whole * (1 + ROUNDING)], fallen, bends).mean())


ROUNDING = 1e-12
"""Sums within this share of their range are the same."""
