"""Where log-ratios to a reference lie, when rounds fall into launches that differ among themselves.

ALSO: Speed-ups with their intervals, from the paired rounds of all launches; of many claims at once, and remembered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from harness.stats.intervals import Interval, median_intervals

LOOKS = (30, 60, 120, 240, 400)
"""Rounds after which it is asked whether every arm is decided; each look has its share of the error rate."""

LAUNCH_SD = 0.01
"""How far log-ratios of fresh workers lie apart, as far as weights need to know; 0.002 to 0.028 were seen."""

CORNER_SD = 2
"""Of START_SD: rounds so near the location count in full, so that launches may differ without being outliers. With less,
intervals were found too narrow where launches lie 3 % apart; with more, wide beside busy neighbours."""

CORE = 0.15
"""Or the share of rounds nearest to the median. Beside a busy neighbour a third of all rounds are undisturbed."""


@dataclass(frozen=True)
class Located:
    """Where the rounds of arms lie, and what each launch has to do with it. The same launches have the same rounds."""

    rounds: NDArray[np.float64]
    """Log-ratios, shape (arms, rounds of all launches)."""
    centre: NDArray[np.float64]
    """Shape (arms,)."""
    pulls: NDArray[np.float64]
    """How far each launch moves the centre away from what the others would make it, shape (arms, launches); they add up
    to zero."""
    weights: NDArray[np.float64]
    """Each launch's share of the centre, likewise."""


def launch_interval(
    arm: Sequence[ArrayLike], beside: Sequence[Sequence[ArrayLike]], confidence: float = 0.95
) -> Interval:
    """Where the log-ratios of `arm` lie: one array a launch, one log-ratio a round.

    `beside` is the same of other arms of the same rounds, whose spread between launches is pooled with this arm's.
    """
    arms = [np.concatenate([np.asarray(launch, dtype=float) for launch in one]) for one in (arm, *beside)]
    found = located(np.array(arms), [np.size(launch) for launch in arm])
    others = np.arange(1, len(arms))[None]
    return intervals(found, np.array([0]), others, [confidence])[0]


def intervals(
    arms: Located, own: NDArray[np.intp], beside: NDArray[np.intp], confidence: list[float]
) -> list[Interval]:
    """Of the arms with the indices `own`; those in the rows of `beside`, of any number, know their spread as well.

    Variance is estimated from the launches' pulls, clustered (K.-Y. Liang and S. L. Zeger, Biometrika 73, 13-22, 1986),
    the reference being an arm whose log-ratio is zero; Student's t has (arms - 1)(effective launches - 1) degrees of
    freedom. The interval also covers `median_interval` over all rounds, so that an arm noisier than those it is pooled
    with is not believed more than its own rounds allow. One launch gives an infinite interval.
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
    1964); `values` has shape (arms, rounds of all launches), `rounds` counts those of each launch.

    A median of each launch would not do: a neighbour that hits half of a launch's few rounds moves it anywhere, whereas
    the undisturbed rounds of all launches agree. Launches weigh by the inverse of the variance they should have: START_SD
    squared, and what their rounds add.
    """
    count, firsts = np.array(rounds), np.cumsum([0, *rounds[:-1]])
    median = np.median(values, axis=1, keepdims=True)
    nearest = np.quantile(np.abs(values - median), CORE, axis=1, keepdims=True)
    corner = np.hypot(nearest, CORNER_SD * LAUNCH_SD)
    centre = _solved(values, np.ones_like(values), corner)
    psi, inside = _scores(values - centre, corner)
    per_round = (psi**2).mean(axis=1, keepdims=True) / inside.mean(axis=1, keepdims=True) ** 2
    weights = 1 / (LAUNCH_SD**2 + per_round / count) / count
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


ERROR = 0.05
"""Chance, over all looks and arms of a comparison, that an interval leaves the truth outside; half to either side.
A claim must hold against both workers of the reference, so that it errs far less often: the self-test counts it."""

KEPT = 10_000
"""Claims that are remembered: tables, verdicts and pictures ask for each of them several times."""

PerLaunch = Sequence[Sequence[int]]
"""Nanoseconds: one entry a launch, in it one a round."""


def confidence(arms: int) -> float:
    """Of one interval, so that all looks and `arms` together err no more than ERROR (Bonferroni)."""
    return 1 - ERROR / (len(LOOKS) * max(arms, 1))


class Claim(NamedTuple):
    """That one worker is so many times faster than another."""

    reference_ns: PerLaunch
    own_ns: PerLaunch
    third_ns: PerLaunch
    """Of a further worker of the same rounds, the control for instance, or none."""
    arms: int
    """How many contenders the error rate is split over."""


def speedup(reference_ns: PerLaunch, own_ns: PerLaunch, third_ns: PerLaunch, arms: int) -> Interval:
    """Times faster than the reference, from the paired rounds of all launches.

    The spread between launches is that of own, reference and a third worker (the control) together. So what else is
    measured beside them may make an interval wider, never narrower, and a result holds all that its interval needs.
    Without a third there is less to know the spread by. ValueError for samples of unequal rounds.
    """
    reference, own, third = (tuple(map(tuple, samples)) for samples in (reference_ns, own_ns, third_ns))
    claim = Claim(reference, own, third, arms)
    if claim not in _known:
        foresee([claim])
    return _known[claim]


_known: dict[Claim, Interval] = {}


def foresee(claims: Iterable[Claim]) -> None:
    """Work out, and remember, what will be asked: a thousand claims together take a twentieth of the time."""
    groups: dict[tuple[tuple[int, ...], bool], list[Claim]] = {}
    for claim in claims:
        rounds = tuple(map(len, claim.own_ns))
        for samples in (claim.reference_ns, claim.third_ns or claim.own_ns):
            if tuple(map(len, samples)) != rounds:
                raise ValueError("samples that are paired must be of the same rounds, none shorter or longer")
        groups.setdefault((rounds, bool(claim.third_ns)), []).append(claim)
    if len(_known) > KEPT:
        _known.clear()
    for (rounds, _), asked in groups.items():
        _known.update(zip(asked, _worked_out(asked, rounds), strict=True))


def _worked_out(claims: Sequence[Claim], rounds: Sequence[int]) -> Iterator[Interval]:
    """Of claims with equally many rounds; all with a third, or all without."""
    samples: dict[int, PerLaunch] = {}
    pairs: dict[tuple[int, int], int] = {}
    arms = []
    for claim in claims:
        others = [other for other in (claim.own_ns, claim.third_ns) if other]
        samples |= {id(one): one for one in (claim.reference_ns, *others)}  # whose hash would take longer than the rest
        arms.append([pairs.setdefault((id(claim.reference_ns), id(other)), len(pairs)) for other in others])
    logs = np.log(np.array([list(chain.from_iterable(one)) for one in samples.values()], dtype=float))
    places = {key: place for place, key in enumerate(samples)}
    reference, other = np.array([[places[key] for key in pair] for pair in pairs], dtype=np.intp).T
    found, at = located(logs[reference] - logs[other], rounds), np.array(arms, dtype=np.intp)
    with np.errstate(over="ignore"):
        for ends in intervals(found, at[:, 0], at[:, 1:], [confidence(claim.arms) for claim in claims]):
            yield Interval(*(float(np.exp(end)) for end in (ends.estimate, ends.low, ends.high)))
