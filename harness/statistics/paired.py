"""Speed-ups with their intervals, from the paired rounds of all starts; of many claims at once, and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from harness.rounds.samples import LOOKS
from harness.statistics.starts import intervals, located
from harness.statistics.stats import Interval

ERROR = 0.05
"""Chance, over all looks and arms of a comparison, that an interval leaves the truth outside; half to either side.
A claim must hold against both workers of the reference, so that it errs far less often: the self-test counts it."""
KEPT = 10_000
"""Claims that are remembered: tables, verdicts and pictures ask for each of them several times."""
PerStart = Sequence[Sequence[int]]
"""Nanoseconds: one entry a start, in it one a round."""


def confidence(arms: int) -> float:
    """Of one interval, so that all looks and `arms` together err no more than ERROR (Bonferroni)."""
    return 1 - ERROR / (len(LOOKS) * max(arms, 1))


class Claim(NamedTuple):
    """That one worker is so many times faster than another."""

    reference_ns: PerStart
    own_ns: PerStart
    third_ns: PerStart
    """Of a further worker of the same rounds, the control for instance, or none."""
    arms: int
    """How many contenders the error rate is split over."""


def speedup(reference_ns: PerStart, own_ns: PerStart, third_ns: PerStart, arms: int) -> Interval:
    """Times faster than the reference, from the paired rounds of all starts.

    The spread between starts is that of own, reference and a third worker (the control) together. So what else is
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
    samples: dict[int, PerStart] = {}
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
