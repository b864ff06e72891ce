"""What fine-tuning with one seed led to, and whether it led anywhere: pure functions of answers.

ALSO: From the scores of several seeds to the floor that a gate may hold the next run to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import t

from harness.results.schema import Seed


def is_collapsed(seed: Seed) -> bool:
    """Whether the model scores no more than always giving the most frequent label, or always gives one label."""
    beaten = seed.majority is None or seed.score is None or seed.score > seed.majority
    return seed.only is not None or not beaten


def collapse(seed: Seed) -> str:
    """How it collapsed, in words."""
    reached = "its score is undefined" if seed.score is None else f"score {seed.score:.4f}"
    if seed.only is not None:
        return f"seed {seed.seed} collapsed: {reached}, and every answer is {seed.only!r}"
    return (
        f"seed {seed.seed} collapsed: {reached} is no more than the {seed.majority:.4f} of always answering "
        f"{seed.frequent!r}"
    )


def sound(seeds: Iterable[Seed]) -> list[float]:
    """The scores of the seeds that did not collapse, where they are defined."""
    return [seed.score for seed in seeds if seed.score is not None and not is_collapsed(seed)]


CONFIDENCE = 0.99
"""Share of further runs, with seeds of their own, that stay above the bound."""

ENOUGH = 10
"""With fewer seeds a floor is provisional: of nine scores the standard deviation is known to a quarter of itself."""

FEWEST = 3
"""With two, Student's t has one degree of freedom, and the bound lies 39 standard deviations down."""

STEPS = 200
"""Floors are multiples of 1 / STEPS, so that nobody reads more into them than there is."""


@dataclass(frozen=True)
class Proposal:
    """What the seeds allow to be promised."""

    scores: tuple[float, ...]
    """Of the seeds that count: trained, scored, not collapsed."""
    bound: float | None
    """That the next run's score stays above, with `CONFIDENCE`; None where the seeds are too few."""
    min_score: float | None
    why: str
    """Why there is no floor; empty where there is one."""

    @property
    def provisional(self) -> bool:
        """Whether it comes from too few seeds to rely on."""
        return len(self.scores) < ENOUGH


def propose(seeds: Sequence[Seed], max_drop: float) -> Proposal:
    """A floor under the next run, less `max_drop`: a floor binds every backend, and each may lose that much.

    Rounded down, never above the lowest score seen, and none where a collapsed run could reach it. Collapsed runs
    say nothing of how far sound ones scatter, and a floor that made room for them would let them pass.
    """
    scores = tuple(sound(seeds))
    if len(scores) < FEWEST:
        return Proposal(scores, None, None, f"a spread takes {FEWEST} seeds, and {len(scores)} count")
    bound = next_run_bound(scores)
    floor = _down(min(bound - max_drop, *scores))
    majority = max((seed.majority for seed in seeds if seed.majority is not None), default=-math.inf)
    if floor <= majority:
        why = f"the seeds allow {floor:.3f}, and a model that collapsed scores {majority:.4f}"
        return Proposal(scores, bound, None, why)
    return Proposal(scores, bound, floor, "")


def next_run_bound(scores: Sequence[float], confidence: float = CONFIDENCE) -> float:
    """Lower prediction bound of one further score, from at least two that are normal and independent.

    mean - t(n - 1, confidence) * sd * sqrt(1 + 1 / n). Hahn and Meeker, Statistical Intervals, chapter 4. Not the
    lowest of n, which the next run undercuts with probability 1 / (n + 1): one in eleven after ten seeds.
    """
    n = len(scores)
    return mean(scores) - float(t.ppf(confidence, n - 1)) * stdev(scores) * math.sqrt(1 + 1 / n)


def _down(value: float) -> float:
    """The largest step that is not above `value`."""
    nearest = round(value * STEPS)
    return (nearest if nearest / STEPS <= value else nearest - 1) / STEPS
