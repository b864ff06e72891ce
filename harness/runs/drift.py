"""Whether a speed-up has changed between stored runs and today's: pure functions of the runs' intervals.

A run's speed-up differs from the next run's by more than its own rounds can know: other processes, other pages of
memory, another day. So both sides' intervals are widened by the spread between runs before it is asked whether they
part. With a stored and b of today's runs, whose log speed-ups have the standard deviation s, the difference of the two
means lies within t(a + b - 2) · s · √(1/a + 1/b) if nothing changed. With one run today that is the prediction interval
of a new observation, with a - 1 degrees of freedom (Hahn and Meeker, Statistical Intervals, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Literal

from scipy.stats import t

from harness.statistics.stats import Interval
from harness.verdicts.speed import TOLERANCE

ENOUGH = 5
"""Stored runs below which the spread between runs is not known well enough to say anything."""
CONFIDENCE = 0.98
"""Of the widening, one per cent to either side. With the runs' own widths and the tolerance on top, 160,000 simulated
comparisons of unchanged cases in eights, 5 to 15 stored runs, gave one false regression in 10,000 where spreads lie
between 0.2 and 2.8 %, and five where they lie between 0.5 and 5 %. At a spread of 2 %, times 15 % longer were found by
5 stored runs in 78 of 100 cases, by 8 in 95, by 10 in 98."""
WITHIN = 1.15
"""`unchanged` says that a change by more than this factor is excluded, for fewer than dozens of runs exclude less."""
Word = Literal["regressed", "improved", "unchanged", "undecided"]


@dataclass(frozen=True)
class Change:
    """What happened to a speed-up, as a ratio: below 1 is slower than stored."""

    stored: Interval
    today: Interval
    """Both are speed-ups, widened by their share of the spread between runs."""
    ratio: Interval
    """Today's over the stored one, with the widths of both."""
    word: Word
    why: str


def spread(runs: Sequence[Interval]) -> float:
    """Standard deviation (n - 1) between log speed-ups of runs; 0 where there is but one."""
    return stdev(math.log(run.estimate) for run in runs) if len(runs) > 1 else 0.0


def change(stored: Sequence[Interval], today: Sequence[Interval], typical: float = 0.0) -> Change:
    """Hold today's speed-ups against stored ones; neither may be empty.

    `typical` is the spread that other cases of the same environment have (a standard deviation of logs). The largest of
    the three counts: five runs that happen to lie close together are believed no more than their neighbours are.
    """
    old, new = _mean(stored), _mean(today)
    widening = _widening(stored, today, typical)
    share = len(today) / (len(stored) + len(today))  # of the variance of the difference, that of the stored mean
    old = _wider(old, widening * share)
    new = _wider(new, widening * (1 - share))
    ratio = Interval(new.estimate - old.estimate, new.low - old.high, new.high - old.low)
    word = _word(ratio, len(stored))
    return Change(_factor(old), _factor(new), _factor(ratio), word, _why(word, _factor(ratio), len(stored)))


def _widening(stored: Sequence[Interval], today: Sequence[Interval], typical: float) -> float:
    """Half-width, in logs, of what the spread between runs alone may make of the difference of the two means."""
    freedom = len(stored) + len(today) - 2
    if freedom < 1:
        return math.inf
    largest = max(spread(stored), spread(today), typical)
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * largest * math.sqrt(1 / len(stored) + 1 / len(today))


def _mean(runs: Sequence[Interval]) -> Interval:
    """Mean of log speed-ups; the runs' own widths, independent of each other, add as root of squares."""
    n = len(runs)
    centre = sum(math.log(run.estimate) for run in runs) / n
    down = math.hypot(*(math.log(run.estimate) - _log(run.low) for run in runs)) / n
    up = math.hypot(*(_log(run.high) - math.log(run.estimate) for run in runs)) / n
    return Interval(centre, centre - down, centre + up)


def _word(ratio: Interval, runs: int) -> Word:
    """Of a ratio in logs."""
    if runs < ENOUGH:
        return "undecided"
    if ratio.high < -math.log(TOLERANCE):
        return "regressed"
    if ratio.low > math.log(TOLERANCE):
        return "improved"
    within = math.log(WITHIN)
    return "unchanged" if -within <= ratio.low and ratio.high <= within else "undecided"


def _why(word: Word, ratio: Interval, runs: int) -> str:
    if runs < ENOUGH:
        return f"{runs} stored run{'s' if runs > 1 else ''}, it takes {ENOUGH}"
    if not math.isfinite(ratio.low) or not math.isfinite(ratio.high):
        return "a run has too few starts or rounds for an interval"
    if word == "undecided":
        return (
            f"neither is a change beyond {TOLERANCE - 1:.0%} proven nor one beyond {WITHIN - 1:.0%} excluded; more "
            "stored runs, or longer ones, tell more"
        )
    if word == "unchanged":
        return f"a change beyond {WITHIN - 1:.0%} is excluded"
    return f"the intervals part by more than {TOLERANCE - 1:.0%}"


def _wider(found: Interval, by: float) -> Interval:
    return Interval(found.estimate, found.low - by, found.high + by)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _factor(logs: Interval) -> Interval:
    return Interval(*(math.exp(end) if end < 700 else math.inf for end in (logs.estimate, logs.low, logs.high)))
