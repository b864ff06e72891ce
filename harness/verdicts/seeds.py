"""Fine-tuning with several seeds: which runs collapsed, and the min_score that the others allow a gate to demand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import t

from harness.results.schema import Seed

CONFIDENCE = 0.99
"""Share of further runs, with other seeds, that stay above the bound."""

ENOUGH = 10
"""With fewer seeds a min_score is provisional: nine scores give the standard deviation to within a quarter."""

FEWEST = 3
"""With two, Student's t has one degree of freedom, and the bound lies 39 standard deviations down."""

STEPS = 200
"""Proposals are multiples of 1 / STEPS: more digits would pretend a precision that is not there."""


@dataclass(frozen=True)
class Proposal:
    """The min_score that some seeds allow."""

    scores: tuple[float, ...]
    """Those of the seeds that count: trained, scored, not collapsed."""
    bound: float | None
    """The next run scores above it with `CONFIDENCE`; None with too few seeds."""
    min_score: float | None
    why: str
    """The reason why no min_score is proposed; else empty."""

    @property
    def provisional(self) -> bool:
        """Return whether it comes from too few seeds to rely on."""
        return len(self.scores) < ENOUGH


def is_collapsed(seed: Seed) -> bool:
    """Return whether the model always gives one label, or scores no more than the most frequent label would."""
    if seed.only_label is not None:
        return True
    return seed.majority_score is not None and seed.score is not None and seed.score <= seed.majority_score


def collapse_sentence(seed: Seed) -> str:
    """Say how a collapsed seed collapsed."""
    score = "its score is undefined" if seed.score is None else f"score {seed.score:.4f}"
    if seed.only_label is not None:
        return f"seed {seed.seed} collapsed: {score}, and every answer is {seed.only_label!r}"
    return (
        f"seed {seed.seed} collapsed: {score} is no more than the {seed.majority_score:.4f} of always answering "
        f"{seed.majority_label!r}"
    )


def sound_scores(seeds: Iterable[Seed]) -> list[float]:
    """Return the defined scores of the seeds that did not collapse."""
    return [seed.score for seed in seeds if seed.score is not None and not is_collapsed(seed)]


def propose(seeds: Sequence[Seed], max_drop: float) -> Proposal:
    """Propose a min_score: a lower bound of the next run's score less `max_drop`, since it binds every backend.

    Rounded down, and never above the lowest score seen. Collapsed runs are left out: they say nothing about the spread
    of sound ones, and a min_score that made room for them would let them pass. If one could still pass, none is
    proposed.
    """
    scores = tuple(sound_scores(seeds))
    if len(scores) < FEWEST:
        return Proposal(scores, None, None, f"a spread takes {FEWEST} seeds, and {len(scores)} count")
    bound = next_run_bound(scores)
    min_score = _round_down(min(bound - max_drop, *scores))
    majority = max((seed.majority_score for seed in seeds if seed.majority_score is not None), default=-math.inf)
    if min_score <= majority:
        why = f"the seeds allow {min_score:.3f}, and a collapsed model scores {majority:.4f}"
        return Proposal(scores, bound, None, why)
    return Proposal(scores, bound, min_score, "")


def next_run_bound(scores: Sequence[float], confidence: float = CONFIDENCE) -> float:
    """Return the lower prediction bound of one further score, from at least two normal, independent ones.

    mean - t(n - 1, confidence) * sd * sqrt(1 + 1 / n). Hahn and Meeker, Statistical Intervals, chapter 4. Not the
    lowest of n, which the next run undercuts with probability 1 / (n + 1): one in eleven after ten seeds.
    """
    n = len(scores)
    return mean(scores) - float(t.ppf(confidence, n - 1)) * stdev(scores) * math.sqrt(1 + 1 / n)


def _round_down(value: float) -> float:
    nearest = round(value * STEPS)
    return (nearest if nearest / STEPS <= value else nearest - 1) / STEPS
