"""Where log-ratios to a reference lie, when rounds fall into starts that differ among themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from harness.stats import Interval, median_interval

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
    Variance is estimated from the starts' pulls, clustered (K.-Y. Liang and S. L. Zeger, Biometrika 73, 13-22, 1986),
    the reference being an arm whose log-ratio is zero; Student's t has (arms - 1)(effective starts - 1) degrees of
    freedom. The interval also covers `median_interval` over all rounds, so that an arm noisier than those it is pooled
    with is not believed more than its own rounds allow. One start gives an infinite interval.
    """
    own, *others = (located([np.asarray(start, dtype=float) for start in one]) for one in (arm, *beside))
    if len(arm) < 2:
        return Interval(own.centre, -math.inf, math.inf)
    pulls = np.array([np.zeros(len(arm)), own.pulls, *(other.pulls for other in others)])
    arms, largest = len(pulls), float((own.weights**2).sum())
    # Of a ratio, the variance is that of two workers: the arm's and the reference's.
    variance = 2 * float(((pulls - pulls.mean(axis=0)) ** 2).sum()) / (arms - 1) / (1 - largest)
    half = float(t.ppf((1 + confidence) / 2, (arms - 1) * (1 / largest - 1))) * math.sqrt(variance)
    pooled = median_interval(np.concatenate([np.ravel(start) for start in arm]), confidence)
    return Interval(own.centre, min(own.centre - half, pooled.low), max(own.centre + half, pooled.high))


def located(starts: Sequence[NDArray[np.float64]]) -> Located:
    """Huber's location of all rounds together, close to their median (Annals of Mathematical Statistics 35, 1964).

    A median of each start would not do: a neighbour that hits half of a start's few rounds moves it anywhere, whereas
    the undisturbed rounds of all starts agree. Starts weigh by the inverse of the variance they should have: START_SD
    squared, and what their rounds add.
    """
    rounds = np.array([len(start) for start in starts])
    values, start = np.concatenate(starts), np.repeat(np.arange(len(starts)), rounds)
    median = float(np.median(values))
    corner = math.hypot(float(np.quantile(np.abs(values - median), CORE)), CORNER_SD * START_SD)
    centre = _solved(values, np.ones(len(values)), median, corner)
    psi, inside = _scores(values - centre, corner)
    per_round = float((psi**2).mean() / inside.mean() ** 2)
    weights = 1 / (START_SD**2 + per_round / rounds) / rounds
    centre = _solved(values, weights[start], centre, corner)
    psi, inside = _scores(values - centre, corner)
    pulls = np.bincount(start, weights[start] * psi) / float(weights[start] @ inside)
    return Located(centre, pulls, weights * rounds / float(weights @ rounds))


def _scores(residuals: NDArray[np.float64], corner: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Huber's psi and its derivative; one round at least is near."""
    away = np.abs(residuals)
    return np.clip(residuals, -corner, corner), (away <= max(corner, float(away.min()))).astype(float)


def _solved(values: NDArray[np.float64], weights: NDArray[np.float64], centre: float, corner: float) -> float:
    """The centre at which the weighted scores cancel, by iteratively reweighted means."""
    for _ in range(500):
        pull = weights / np.maximum(1, np.abs(values - centre) / corner)
        before, centre = centre, float(pull @ values / pull.sum())
        if abs(centre - before) < 1e-12:
            break
    return centre
