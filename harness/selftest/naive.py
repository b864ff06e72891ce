"""How speed is told elsewhere: each safety of the harness left out in turn, on the same simulated machines."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
from scipy.stats import t

from harness.contracts import CONTROL, REFERENCE
from harness.records.evidence import Series
from harness.rounds.samples import LOOKS, Settings
from harness.selftest.comparisons import OWN, TARGET, Scenario, measured, series_of, simulation
from harness.selftest.figures import ALONE_STARTS, NAIVE_GATE, NAIVE_ROUNDS
from harness.statistics.paired import confidence
from harness.statistics.stats import median_interval
from harness.verdicts.speed import TOLERANCE, flat, own_speedup, pace


def one_after_the_other(scenario: Scenario, number: int) -> bool:
    """Rounds not interleaved: all of one arm, then all of the next; judged as ever. Whether they are said to differ."""
    return pace(own_speedup(_in_turn(scenario, number, LOOKS[-1]))) in ("faster", "slower")


def mean_gate(scenario: Scenario, number: int) -> bool:
    """Whether the mean of one arm is that much slower than the mean of another, measured before it."""
    series = _in_turn(scenario, number, LOOKS[0])
    return fmean(flat(series.own_ns)) / fmean(flat(series.reference_ns)) > NAIVE_GATE


def one_start(scenario: Scenario, number: int) -> bool:
    """Whether a sign test over the rounds of one start finds a difference, where none is tolerated."""
    found = median_interval(_log_ratios(_series(scenario, number, 1))[0])
    return found.low > 0 or found.high < 0


def spread_of_one_arm(scenario: Scenario, number: int) -> bool:
    """Whether a t-interval over the starts' medians of one arm alone calls it slower."""
    medians = [float(np.median(start)) for start in _log_ratios(_series(scenario, number, ALONE_STARTS))]
    half = t.ppf((1 + confidence(1)) / 2, len(medians) - 1) * np.std(medians, ddof=1) / math.sqrt(len(medians))
    return bool(fmean(medians) + half < -math.log(TOLERANCE))


def _in_turn(scenario: Scenario, number: int, rounds: int) -> Series:
    where = simulation(scenario, number)
    settings = Settings(TARGET, looks=(rounds,), machine=where.machine)
    works = {REFERENCE: scenario.reference, CONTROL: 1.0, OWN: scenario.own}
    alone = {name: measured(where, {REFERENCE: work}, settings) for name, work in works.items()}
    whole = alone[REFERENCE]
    whole.samples[0].ns = {name: found.samples[0].ns[REFERENCE] for name, found in alone.items()}
    return series_of(whole)


def _series(scenario: Scenario, number: int, starts: int) -> Series:
    where = simulation(scenario, number)
    settings = Settings(TARGET, starts=starts, looks=(NAIVE_ROUNDS,), machine=where.machine)
    return series_of(measured(where, {REFERENCE: scenario.reference, CONTROL: 1.0, OWN: scenario.own}, settings))


def _log_ratios(series: Series) -> list[list[float]]:
    return [
        [math.log(one / other) for one, other in zip(*start, strict=True)]
        for start in zip(series.reference_ns, series.own_ns, strict=True)
    ]
