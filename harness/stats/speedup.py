"""Speed-ups with their intervals, from the paired rounds of all launches."""

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
"""Rounds after which the harness checks whether every arm is decided; the looks share the error rate."""
ERROR = 0.05
"""Chance, over all looks and arms of a comparison, that an interval misses the truth; half on either side.
A claim must hold against both workers of the reference, so it errs far less often: the self-test counts how often."""
LAUNCH_SD = 0.01
"""Assumed spread of log-ratios between launches, from which weights are computed; 0.002 to 0.028 were seen."""
CORNER_SD = 2
"""Rounds within this many LAUNCH_SD of the location count in full, so that launches may differ without being outliers.
With less, intervals were too narrow where launches lie 3 % apart; with more, too wide beside busy neighbours."""
CORE = 0.15
"""Or within the distance of this share of rounds: beside a busy neighbour, a third of all rounds are undisturbed."""
ROUNDING = 1e-12
"""Sums within this share of their range are equal."""
CACHED_CLAIMS = 10_000
"""Intervals kept in memory: tables, verdicts and charts need each of them several times."""

Floats = NDArray[np.float64]
Ratios = Sequence[ArrayLike]
PerLaunch = Sequence[Sequence[int]]
"""Nanoseconds: one entry per launch, holding one per round."""

_cache: dict[Claim, Interval] = {}


class Claim(NamedTuple):
    """The samples behind "one worker is so many times faster than another", and how many arms share the error rate."""

    reference_ns: PerLaunch
    own_ns: PerLaunch
    third_ns: PerLaunch
    """Another worker of the same rounds, such as the control; may be empty."""
    arms: int


def speedup(reference_ns: PerLaunch, own_ns: PerLaunch, third_ns: PerLaunch, arms: int) -> Interval:
    """Return how many times faster than the reference `own_ns` is; ValueError for samples of different rounds.

    The spread between launches is pooled over own, reference and a third worker (the control). So other backends of the
    same rounds can widen this interval, through `arms`, but never narrow it, and a result file holds all it needs.
    """
    reference, own, third = (tuple(map(tuple, samples)) for samples in (reference_ns, own_ns, third_ns))
    claim = Claim(reference, own, third, arms)
    if claim not in _cache:
        precompute([claim])
    return _cache[claim]


def precompute(claims: Iterable[Claim]) -> None:
    """Compute and cache the intervals of many claims together, in a twentieth of the time."""
    groups: dict[tuple[tuple[int, ...], bool], list[Claim]] = {}
    for claim in claims:
        rounds = tuple(map(len, claim.own_ns))
        for samples in (claim.reference_ns, claim.third_ns or claim.own_ns):
            if tuple(map(len, samples)) != rounds:
                raise ValueError("paired samples must come from the same rounds; some are shorter or longer")
        groups.setdefault((rounds, bool(claim.third_ns)), []).append(claim)
    if len(_cache) > CACHED_CLAIMS:
        _cache.clear()
    for (rounds, _), group in groups.items():
        _cache.update(zip(group, _speedups(group, rounds), strict=True))


def _speedups(claims: Sequence[Claim], rounds: Sequence[int]) -> Iterator[Interval]:
    """Yield the interval of each claim; all have the same rounds, and all or none a third worker."""
    samples: dict[int, PerLaunch] = {}  # by id: hashing the samples would take longer than the rest
    pairs: dict[tuple[int, int], int] = {}
    arms = []
    for claim in claims:
        others = [series for series in (claim.own_ns, claim.third_ns) if series]
        samples |= {id(series): series for series in (claim.reference_ns, *others)}
        arms.append([pairs.setdefault((id(claim.reference_ns), id(series)), len(pairs)) for series in others])
    logs = np.log(np.array([list(chain.from_iterable(series)) for series in samples.values()], dtype=float))
    positions = {key: position for position, key in enumerate(samples)}
    reference, other = np.array([[positions[key] for key in pair] for pair in pairs], dtype=np.intp).T
    locations, indices = locate(logs[reference] - logs[other], rounds), np.array(arms, dtype=np.intp)
    confidences = [confidence_level(claim.arms) for claim in claims]
    with np.errstate(over="ignore"):
        for log_ratio in launch_intervals(locations, indices[:, 0], indices[:, 1:], confidences):
            yield Interval(*(float(np.exp(end)) for end in (log_ratio.estimate, log_ratio.low, log_ratio.high)))


def confidence_level(arms: int) -> float:
    """Return the confidence of one interval at which all looks and `arms` together err at most ERROR (Bonferroni)."""
    return 1 - ERROR / (len(LOOKS) * max(arms, 1))


def launch_interval(arm: Ratios, others: Sequence[Ratios], confidence: float = 0.95) -> Interval:
    """Return the interval of one arm's log-ratios, by launch and round; `others` are arms of the same rounds."""
    arms = [np.concatenate([np.asarray(launch, dtype=float) for launch in launches]) for launches in (arm, *others)]
    locations = locate(np.array(arms), [np.size(launch) for launch in arm])
    return launch_intervals(locations, np.array([0]), np.arange(1, len(arms))[None], [confidence])[0]


@dataclass(frozen=True)
class Locations:
    """Locations of arms that share launches and rounds, and each launch's part in them."""

    rounds: Floats
    """Log-ratios, shape (arms, rounds of all launches)."""
    centre: Floats
    """Shape (arms,)."""
    pulls: Floats
    """Distance that each launch moves the centre from where the others put it, shape (arms, launches); sums to zero."""
    weights: Floats
    """Each launch's share of the centre, shape (arms, launches)."""


def launch_intervals(
    arms: Locations, own: NDArray[np.intp], others: NDArray[np.intp], confidences: list[float]
) -> list[Interval]:
    """Return an interval for each arm with an index in `own`, its spread pooled with the arms in its row of `others`.

    Variance is estimated from the launches' pulls, clustered (K.-Y. Liang and S. L. Zeger, Biometrika 73, 13-22, 1986),
    with the reference as an arm whose log-ratio is zero; Student's t has (arms - 1)(effective launches - 1) degrees of
    freedom. The interval also covers `median_interval` over all rounds, so that an arm noisier than those it is pooled
    with is not trusted more than its own rounds allow. One launch gives an infinite interval.
    """
    centre, pulls = arms.centre[own], arms.pulls[own][:, None]
    if pulls.shape[-1] < 2:
        return [Interval(float(middle), -math.inf, math.inf) for middle in centre]
    pulls = np.concatenate([np.zeros_like(pulls), pulls, arms.pulls[others]], axis=1)
    count, largest = pulls.shape[1], (arms.weights[own] ** 2).sum(axis=1)
    # The variance of a ratio is that of two workers: the arm's and the reference's.
    variance = 2 * ((pulls - pulls.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)) / (count - 1) / (1 - largest)
    half = stdtrit((count - 1) * (1 / largest - 1), (1 + np.array(confidences)) / 2) * np.sqrt(variance)
    ends = (centre - half).tolist(), centre.tolist(), (centre + half).tolist()
    return [
        Interval(middle, min(low, pooled.low), max(high, pooled.high))
        for low, middle, high, pooled in zip(*ends, median_intervals(arms.rounds[own], confidences), strict=True)
    ]


def locate(values: Floats, rounds: Sequence[int]) -> Locations:
    """Compute Huber's location (Annals of Mathematical Statistics 35, 1964) of all rounds, close to their median.

    `values` has shape (arms, rounds of all launches); `rounds` counts those of each launch. A neighbour that hits half
    of a launch's few rounds moves its median anywhere, whereas the undisturbed rounds of all launches agree. Launches
    weigh by the inverse of their expected variance: LAUNCH_SD squared, plus what their rounds add.
    """
    count, firsts = np.array(rounds), np.cumsum([0, *rounds[:-1]])
    median = np.median(values, axis=1, keepdims=True)
    nearest = np.quantile(np.abs(values - median), CORE, axis=1, keepdims=True)
    corner = np.hypot(nearest, CORNER_SD * LAUNCH_SD)
    centre = solve_centres(values, np.ones_like(values), corner)
    psi, inside = _scores(values - centre, corner)
    per_round = (psi**2).mean(axis=1, keepdims=True) / inside.mean(axis=1, keepdims=True) ** 2
    weights = 1 / (LAUNCH_SD**2 + per_round / count) / count
    per_value = np.repeat(weights, count, axis=1)
    centre = solve_centres(values, per_value, corner)
    psi, inside = _scores(values - centre, corner)
    pulls = np.add.reduceat(per_value * psi, firsts, axis=1) / (per_value * inside).sum(axis=1, keepdims=True)
    total = weights * count
    return Locations(values, centre[:, 0], pulls, total / total.sum(axis=1, keepdims=True))


def _scores(residuals: Floats, corner: Floats) -> tuple[Floats, Floats]:
    """Return Huber's psi and its derivative; at least one round counts as near."""
    distance = np.abs(residuals)
    near = distance <= np.maximum(corner, distance.min(axis=1, keepdims=True))
    return np.clip(residuals, -corner, corner), near.astype(float)


def solve_centres(values: Floats, weights: Floats, corner: Floats) -> Floats:
    """Return the centres, shape (arms, 1), at which the weighted scores cancel; the middle one if many do.

    As a centre moves, the sum of scores falls along straight lines that bend at each value minus and plus the corner.
    """
    bends = np.concatenate([values - corner, values + corner], axis=1)
    order = bends.argsort(axis=1)
    bends = np.take_along_axis(bends, order, axis=1)
    slopes = np.take_along_axis(np.concatenate([weights, -weights], axis=1), order, axis=1).cumsum(axis=1)
    fallen = np.pad(np.cumsum(slopes[:, :-1] * np.diff(bends, axis=1), axis=1), [(0, 0), (1, 0)])
    half = corner * weights.sum(axis=1, keepdims=True)  # half of the whole way down
    return (_crossing(bends, fallen, half * (1 - ROUNDING)) + _crossing(bends, fallen, half * (1 + ROUNDING))) / 2


def _crossing(xs: Floats, ys: Floats, level: Floats) -> Floats:
    """Return where the rising polyline through the points reaches the level; shapes are (arms, …)."""
    after = (ys < level).sum(axis=1, keepdims=True)
    x0, x1, y0, y1 = (np.take_along_axis(of, at, axis=1) for of in (xs, ys) for at in (after - 1, after))
    return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
