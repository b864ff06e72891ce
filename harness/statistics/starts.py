"""Where log-ratios to a reference lie, when rounds fall into starts that differ among themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from harness.statistics.stats import Interval, median_intervals

START_SD = 0.01
"""How far log-ratios of fresh workers lie apart, as far as weights need to know; 0.002 to 0.028 were seen."""
CORNER_SD = 2
"""Of START_SD: rounds so near the location count in full, so that starts may differ without being outliers. With less,
intervals were found too narrow where starts lie 3 % apart; with more, wide beside busy neighbours."""
CORE = 0.15
"""Or the share of rounds nearest to the median. Beside a busy neighbour a third of all rounds are undisturbed."""


@dataclass(frozen=True)
class Located:
    """Where the rounds of arms lie, and what each start has to do with it. The same starts have the same rounds."""

    rounds: NDArray[np.float64]
    """Log-ratios, shape (arms, rounds of all starts)."""
    centre: NDArray[np.float64]
    """Shape (arms,)."""
    pulls: NDArray[np.float64]
    """How far each start moves the centre away from what the others would make it, shape (arms, starts); they add up
    to zero."""
    weights: NDArray[np.float64]
    """Each start's share of the centre, likewise."""


def starts_interval(
    arm: Sequence[ArrayLike], beside: Sequence[Sequence[ArrayLike]], confidence: float = 0.95
) -> Interval:
    """Where the log-ratios of `arm` lie: one array a start, one log-ratio a round.

    `beside` is the same of other arms of the same rounds, whose spread between starts is pooled with this arm's.
    """
    arms = [np.concatenate([np.asarray(start, dtype=float) for start in one]) for one in (arm, *beside)]
    found = located(np.array(arms), [np.size(start) for start in arm])
    others = np.arange(1, len(arms))[None]
    return intervals(found, np.array([0]), others, [confidence])[0]


def intervals(
    arms: Located, own: NDArray[np.intp], beside: NDArray[np.intp], confidence: list[float]
) -> list[Interval]:
    """Of the arms with the indices `own`; those in the rows of `beside`, of any number, know their spread as well.

    Variance is estimated from the starts' pulls, clustered (K.-Y. Liang and S. L. Zeger, Biometrika 73, 13-22, 1986),
    the reference being an arm whose log-ratio is zero; Student's t has (arms - 1)(effective starts - 1) degrees of
    freedom. The interval also covers `median_interval` over all rounds, so that an arm noisier than those it is pooled
    with is not believed more than its own rounds allow. One start gives an infinite interval.
    """
    centre, pulls = arms.centre[own], arms.pulls[own][:, None]
    if pulls.shape[-1] < 2:
        return [Interval(float(middle), -math.inf, math.inf) for middle in centre]
    pulls = np.concatenate([np.zeros_like(pulls), pulls, arms.pulls[beside]], axis=1)
    count, largest = pulls.shape[1], (arms.weights[own] ** 2).sum(axis=1)
    # Of a ratio, the variance is that of two workers: the arm's and the reference's.
    variance = 2 * ((pulls - pulls.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)) / (count - 1) / (1 - largest)
    half = stdtrit((count - 1) * (1 / largest - 1), (1 + np.array(confidence)) / 2) * np.sqrt(variance)
    pooled = median_intervals(arms.rounds[own], confidence)
    return [
        Interval(middle, min(low, all_rounds.low), max(high, all_rounds.high))
        for middle, low, high, all_rounds in zip(
            centre.tolist(), (centre - half).tolist(), (centre + half).tolist(), pooled, strict=True
        )
    ]


def located(values: NDArray[np.float64], rounds: Sequence[int]) -> Located:
    """Huber's location of all rounds of an arm together, close to their median (Annals of Mathematical Statistics 35,
    1964); `values` has shape (arms, rounds of all starts), `rounds` counts those of each start.

    A median of each start would not do: a neighbour that hits half of a start's few rounds moves it anywhere, whereas
    the undisturbed rounds of all starts agree. Starts weigh by the inverse of the variance they should have: START_SD
    squared, and what their rounds add.
    """
    count, firsts = np.array(rounds), np.cumsum([0, *rounds[:-1]])
    median = np.median(values, axis=1, keepdims=True)
    nearest = np.quantile(np.abs(values - median), CORE, axis=1, keepdims=True)
    corner = np.hypot(nearest, CORNER_SD * START_SD)
    centre = _solved(values, np.ones_like(values), corner)
    psi, inside = _scores(values - centre, corner)
    per_round = (psi**2).mean(axis=1, keepdims=True) / inside.mean(axis=1, keepdims=True) ** 2
    weights = 1 / (START_SD**2 + per_round / count) / count
    each = np.repeat(weights, count, axis=1)
    centre = _solved(values, each, corner)
    psi, inside = _scores(values - centre, corner)
    pulls = np.add.reduceat(each * psi, firsts, axis=1) / (each * inside).sum(axis=1, keepdims=True)
    whole = weights * count
    return Located(values, centre[:, 0], pulls, whole / whole.sum(axis=1, keepdims=True))


def _scores(
    residuals: NDArray[np.float64], corner: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Huber's psi and its derivative; one round at least is near."""
    away = np.abs(residuals)
    near = away <= np.maximum(corner, away.min(axis=1, keepdims=True))
    return np.clip(residuals, -corner, corner), near.astype(float)


def _solved(
    values: NDArray[np.float64], weights: NDArray[np.float64], corner: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The centres, shape (arms, 1), at which the weighted scores cancel; the middle one where many do.

    As a centre moves, their sum falls along straight lines that bend at the values less and plus the corner.
    """
    bends = np.concatenate([values - corner, values + corner], axis=1)
    order = bends.argsort(axis=1)
    bends = np.take_along_axis(bends, order, axis=1)
    slopes = np.take_along_axis(np.concatenate([weights, -weights], axis=1), order, axis=1).cumsum(axis=1)
    fallen = np.cumsum(slopes[:, :-1] * np.diff(bends, axis=1), axis=1)
    fallen = np.concatenate([np.zeros_like(corner), fallen], axis=1)
    half = corner * weights.sum(axis=1, keepdims=True)  # of the whole way down
    return (_crossing(bends, fallen, half * (1 - ROUNDING)) + _crossing(bends, fallen, half * (1 + ROUNDING))) / 2


ROUNDING = 1e-12
"""Sums within this share of their range are the same."""


def _crossing(
    places: NDArray[np.float64], heights: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where rising lines through the points reach the height wanted; all have shape (arms, …)."""
    after = (heights < wanted).sum(axis=1, keepdims=True)
    (x0, y0), (x1, y1) = (
        (np.take_along_axis(places, at, axis=1), np.take_along_axis(heights, at, axis=1)) for at in (after - 1, after)
    )
    return x0 + (x1 - x0) * (wanted - y0) / (y1 - y0)
