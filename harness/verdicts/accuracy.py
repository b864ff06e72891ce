"""The accuracy rule: the drop on the same test rows, collapsed fine-tunings, and the min_score that seeds allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from scipy.stats import t

from harness.contracts.backend import REFERENCE
from harness.metrics import METRICS, in_points, less_is_better
from harness.results.schema import Answers, Result, Seed
from harness.stats.intervals import (
    Interval,
    drop_interval,
    format_bounds,
    format_points,
    rare_event_bound,
    smallest_margin,
)

CONFIDENCE = 0.99  # share of further runs, with other seeds, that stay above `next_run_bound`
ENOUGH = 10  # seeds; from fewer a min_score is provisional: nine give the standard deviation to within a quarter
FEWEST = 3  # with two, Student's t has one degree of freedom, and the bound lies 39 standard deviations down
STEPS = 200  # proposals are multiples of 1 / STEPS: more digits would pretend a precision that is not there


def judge_accuracy(result: Result) -> Literal["not worse", "worse", "undecided"]:
    """Return whether every drop is proven to lie within the gate's max_drop, or one is proven to exceed it."""
    if result.gate is None:
        return "undecided"
    drops = [drop for _, drop in score_drops(result)]
    if any(drop.low > result.gate.max_drop for drop in drops):
        return "worse"
    return "not worse" if drops and all(drop.high < result.gate.max_drop for drop in drops) else "undecided"


def score_drop(result: Result) -> Interval | None:
    """Return the drop against the reference, positive if worse; each end is a one-sided 95 % bound.

    None without predictions, or where the metric is undefined on these rows.
    """
    return next((drop for name, drop in score_drops(result) if name == REFERENCE), None)


def score_drops(result: Result) -> Iterator[tuple[str, Interval]]:
    """Yield the drops against the reference and against the artifact this one was built from, each with its name."""
    answers = result.answers
    if answers is None or result.data is None or answers.score is None or answers.reference_score is None:
        return
    arms = [(REFERENCE, answers.reference_score, answers.lost, answers.gained, answers.drop_bounds)]
    if answers.compared_with != REFERENCE and answers.source_score is not None:
        source = (answers.source_score, answers.source_lost, answers.source_gained, answers.source_drop_bounds)
        arms.append((answers.compared_with, *source))
    for name, score, lost, gained, bounds in arms:
        if counts_rows(result.data.metric):
            yield name, drop_interval(lost, gained, answers.rows)
        else:
            low, high = (bounds.low, bounds.high) if bounds else (-math.inf, math.inf)
            yield name, Interval(lost_score(result.data.metric, answers.score, score), low, high)


def lost_score(metric: str, own: float, other: float) -> float:
    """Return how much worse one score is than another."""
    return own - other if less_is_better(metric) else other - own


def format_drop(drop: Interval, metric: str = "") -> str:
    """Write a drop for a sentence whose subject is the score: "drops 0.20 points […]" or "gains 0.12 points […]".

    In a metric's own unit: "drops 0.0012 pearson […]", and where less is better "is worse by 0.12 mae […]".
    """
    words = ("is worse by", "is better by") if less_is_better(metric) else ("drops", "gains")
    return f"{words[drop.estimate < 0]} {format_change(magnitude(drop), metric)}"


def format_change(change: Interval, metric: str) -> str:
    """Write a change of the score in points, or in the metric's unit: "0.12 points […]", "0.0123 mae […]"."""
    if in_points(metric):
        return format_points(change)
    decimals = own_decimals(change)
    return f"{change.estimate:.{decimals}f} {metric} {format_bounds(change.low, change.high, decimals)}"


def own_decimals(*changes: Interval | float) -> int:
    """Return the decimals that give the largest of these numbers three digits."""
    numbers = [n for one in changes for n in ((one,) if isinstance(one, float) else vars(one).values())]
    largest = max((abs(n) for n in numbers if math.isfinite(n)), default=0.0)
    return max(0, 2 - math.floor(math.log10(largest))) if largest else 2


def format_allowed(max_drop: float, metric: str) -> str:
    """Write a gate's max_drop in the unit in which drops are given."""
    return f"{100 * max_drop:g}" if in_points(metric) else f"{max_drop:g}"


def unit(metric: str) -> str:
    """Name the unit in which drops are given: points, or that of the metric."""
    return "points" if in_points(metric) else metric


def magnitude(drop: Interval) -> Interval:
    """Return the drop, or the gain if the score improved, as an interval around a positive estimate."""
    return drop if drop.estimate >= 0 else Interval(-drop.estimate, 0.0 - drop.high, 0.0 - drop.low)


def provable_drop(answers: Answers) -> float:
    """Return the smallest drop that these rows can exclude with as many flips."""
    return smallest_margin(answers.lost + answers.gained, answers.rows)


def score_interval(result: Result) -> Interval | None:
    """Return the score with a two-sided 95 % interval, by `interval_method`; None if it was not recorded."""
    answers = result.answers
    if answers is None or answers.score is None or result.data is None:
        return None
    if not counts_rows(result.data.metric):
        bounds = answers.score_bounds
        return Interval(answers.score, bounds.low, bounds.high) if bounds else None
    correct = answers.correct.count("1")
    low = 1 - rare_event_bound(answers.rows - correct, answers.rows, 0.975)
    return Interval(answers.score, low, rare_event_bound(correct, answers.rows, 0.975))


def interval_method(metric: str) -> str:
    """Name the method of `score_interval` for a metric."""
    if counts_rows(metric):
        return "exact for a share of rows (Clopper and Pearson)"
    return "percentile bootstrap over rows, 2,000 resamples of a fixed seed"


def counts_rows(metric: str) -> bool:
    """Return whether a metric is the share of rows answered correctly."""
    return metric in METRICS and METRICS[metric].counts_rows


def is_collapsed(seed: Seed) -> bool:
    """Return whether the model always gives one label, or scores no more than the most frequent label would.

    A score that low does not count where the answers beat chance: with rare labels or few rows, a sound model has it.
    """
    if seed.only_label is not None or seed.beats_chance:
        return seed.only_label is not None
    return seed.majority_score is not None and seed.score is not None and seed.score <= seed.majority_score


def collapse_sentence(seed: Seed, is_trained: bool = True) -> str:
    """Say how a collapsed seed collapsed; of a model that is used as it is, say it of the reference."""
    if not is_trained and seed.only_label is not None:
        rest = ", the only label of the test rows" if seed.majority_score == 1 else ""
        return f"the reference answers only {seed.only_label!r}{rest}"
    score = "its score is undefined" if seed.score is None else f"score {seed.score:.4f}"
    how = f", and every answer is {seed.only_label!r}"
    if seed.only_label is None:
        how = f" is no more than the {seed.majority_score:.4f} of always answering {seed.majority_label!r}"
    return f"seed {seed.seed} collapsed: {score}{how}" if is_trained else f"the reference's {score}{how}"


def sound_scores(seeds: Iterable[Seed]) -> list[float]:
    """Return the defined scores of the seeds that did not collapse."""
    return [seed.score for seed in seeds if seed.score is not None and not is_collapsed(seed)]


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


def propose(seeds: Sequence[Seed], max_drop: float, metric: str = "") -> Proposal:
    """Propose a min_score: a lower bound of the next run's score less `max_drop`, since it binds every backend.

    Where less is better, it is a max_score: an upper bound of it and `max_drop` more. It is rounded towards the worse,
    and never stricter than the worst score seen. Collapsed runs are left out: they say nothing about the spread of
    sound ones, and a min_score that made room for them would let them pass. If one could still pass, none is proposed.
    """
    scores = tuple(sound_scores(seeds))
    if len(scores) < FEWEST:
        return Proposal(scores, None, None, f"a spread takes {FEWEST} seeds, and {len(scores)} count")
    sign = -1 if less_is_better(metric) else 1
    better = [sign * score for score in scores]
    bound = next_run_bound(better)
    lowest = min(bound - max_drop, *better)
    if not in_points(metric):
        limit = sign * _round_down(lowest, 10 ** own_decimals(lowest))
        why = f"the seeds allow {limit:g}, and a gate's limit is at least 0" if limit < 0 else ""
        return Proposal(scores, sign * bound, None if why else limit, why)
    min_score = _round_down(lowest)
    majority = max((seed.majority_score for seed in seeds if seed.majority_score is not None), default=-math.inf)
    if min_score <= majority:
        why = f"the seeds allow {min_score:.3f}, and a collapsed model scores {majority:.4f}"
        return Proposal(scores, bound, None, why)
    return Proposal(scores, bound, min_score, "")


def next_run_bound(scores: Sequence[float]) -> float:
    """Return the lower prediction bound of one further score, from at least two normal, independent ones.

    mean - t(n - 1, CONFIDENCE) * sd * sqrt(1 + 1 / n). Hahn and Meeker, Statistical Intervals, chapter 4. Not the
    lowest of n, which the next run undercuts with probability 1 / (n + 1): one in eleven after ten seeds.
    """
    n = len(scores)
    return mean(scores) - float(t.ppf(CONFIDENCE, n - 1)) * stdev(scores) * math.sqrt(1 + 1 / n)


def _round_down(value: float, steps: int = STEPS) -> float:
    nearest = round(value * steps)
    return (nearest if nearest / steps <= value else nearest - 1) / steps
