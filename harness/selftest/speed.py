"""False alarms and power of verdicts on speed, on simulated machines."""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import fmean
from typing import TypeVar

import numpy as np
from scipy.stats import t

from harness.contracts.backend import REFERENCE
from harness.results.schema import Series
from harness.selftest import figures
from harness.selftest.figures import Figure, Workspace, count, part
from harness.selftest.simulation import (
    LOUD,
    TENDED,
    WARMING,
    Outcome,
    Scenario,
    compare,
    run_rounds,
    series_of,
    simulation,
)
from harness.stats.intervals import median_interval
from harness.stats.speedup import LOOKS, confidence_level
from harness.verdicts.speed import TOLERANCE, flatten, own_speedup, pace

T = TypeVar("T")


@part(
    "false-alarms",
    "identical arms are said to differ in at most 4 of 1,000 comparisons, also under load",
)
def false_alarms(workspace: Workspace) -> Iterator[Figure]:
    """Compare identical arms; every comparison has its own machine, reference, control and contender."""
    fair = partial(Scenario, start_sd=figures.ALARM_LAUNCH_SD)
    for profile in (*TENDED, *LOUD):
        yield _alarms(f"{profile.name}: identical arms", _compare(fair(profile=profile), figures.COMPARISONS))
    yield _alarms("warming: identical arms", _compare(fair(profile=WARMING), figures.CONTROL_COMPARISONS))
    unlucky = _compare(fair(profile=TENDED[0], reference=figures.UNLUCKY), figures.CONTROL_COMPARISONS)
    yield _alarms("an unlucky reference, 5 % slower: arms", unlucky)
    differ = (outcome.pace_without_control in ("faster", "slower") for outcome in unlucky)
    yield count("the same, the control ignored", differ, at_least=figures.RETURNING_ALARMS, control=True)
    for label, method, profile in (
        ("warming: rounds not interleaved", one_after_the_other, WARMING),
        ("one launch, a sign test, no tolerance, idle", one_launch, TENDED[0]),
        (f"mean ratio over {figures.NAIVE_GATE:g}, two hogs", mean_gate, TENDED[-1]),
    ):
        alarms = _in_parallel(partial(method, fair(profile=profile)), figures.CONTROL_COMPARISONS)
        yield count(label, alarms, at_least=figures.RETURNING_ALARMS, control=True)


@part(
    "power",
    "5 % more work is missed in at most 1 of 500 comparisons; 2 % more is called slower in at most 1 %",
)
def power(workspace: Workspace) -> Iterator[Figure]:
    """Compare arms with 5 % more work, then with 2 %, which is exactly the tolerance."""
    scenario = partial(Scenario, start_sd=figures.POWER_LAUNCH_SD)
    for profile in (*TENDED, *LOUD):
        outcomes = _compare(scenario(profile=profile, own=figures.MORE_WORK), figures.POWER_COMPARISONS)
        slower, note = [outcome.pace == "slower" for outcome in outcomes], _summary(outcomes)
        if profile in LOUD:
            label = f"{profile.name}: 5 % more work called slower (reached, not promised)"
            yield count(label, slower, at_least=0, note=note)
            continue
        missed = (not called for called in slower)
        yield count(f"{profile.name}: 5 % more work not called slower", missed, at_most=figures.MISSED, note=note)
        if not profile.hogs:
            late = (outcome.rounds > figures.IDLE_ROUNDS or outcome.pace != "slower" for outcome in outcomes)
            yield count(
                f"{profile.name}: not called so within {figures.IDLE_ROUNDS} rounds", late, at_most=figures.MISSED
            )
    for profile in TENDED:
        outcomes = _compare(scenario(profile=profile, own=figures.BOUNDARY_WORK), figures.BOUNDARY_COMPARISONS)
        slower, note = [outcome.pace == "slower" for outcome in outcomes], _summary(outcomes)
        yield count(f"{profile.name}: 2 % more work called slower", slower, at_most=figures.BOUNDARY_SLOWER, note=note)
    idle = scenario(profile=TENDED[0], own=figures.MORE_WORK)
    slower = _in_parallel(partial(spread_of_one_arm, idle), figures.CONTROL_COMPARISONS)
    label = f"idle: 5 % more work, t-interval over {figures.ALONE_LAUNCHES} launches of one arm: slower"
    yield count(label, slower, at_most=figures.ALONE_SLOWER, control=True)


def _alarms(label: str, outcomes: Sequence[Outcome]) -> Figure:
    differ = (outcome.differs for outcome in outcomes)
    return count(f"{label} said to differ", differ, at_most=figures.FALSE_ALARMS, note=_summary(outcomes))


def _compare(scenario: Scenario, n: int) -> list[Outcome]:
    return _in_parallel(partial(compare, scenario), n)


def _in_parallel(compare_one: Callable[[int], T], n: int) -> list[T]:
    """Map over the numbers below `n` on all cores. Seeds depend on the number alone."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(compare_one, range(n), chunksize=max(1, n // 64)))


def _summary(outcomes: Sequence[Outcome]) -> str:
    rounds = np.quantile([outcome.rounds for outcome in outcomes], [0.5, 0.99, 1.0], method="higher")
    noise = 100 * np.median([outcome.noise for outcome in outcomes])
    paces = ", ".join(f"{n} {pace}" for pace, n in Counter(outcome.pace for outcome in outcomes).most_common())
    return (
        f"noise within a launch {noise:.1f} %; rounds: median {rounds[0]}, 99 % {rounds[1]}, most {rounds[2]}; {paces}"
    )


def one_after_the_other(scenario: Scenario, number: int) -> bool:
    """Run all rounds of one arm, then all of the next; return True if the usual rules say that they differ."""
    return pace(own_speedup(_in_turn(scenario, number, LOOKS[-1]))) in ("faster", "slower")


def mean_gate(scenario: Scenario, number: int) -> bool:
    """Return True if the mean of one arm is slower than NAIVE_GATE times the mean of one measured before it."""
    series = _in_turn(scenario, number, LOOKS[0])
    return fmean(flatten(series.own_ns)) / fmean(flatten(series.reference_ns)) > figures.NAIVE_GATE


def one_launch(scenario: Scenario, number: int) -> bool:
    """Return True if a sign test over the rounds of one launch, without a tolerance, detects a difference."""
    interval = median_interval(_log_ratios(scenario, number, 1)[0])
    return interval.low > 0 or interval.high < 0


def spread_of_one_arm(scenario: Scenario, number: int) -> bool:
    """Return True if a t-interval over the launches' medians of one arm alone calls it slower."""
    medians = [float(np.median(launch)) for launch in _log_ratios(scenario, number, figures.ALONE_LAUNCHES)]
    half = t.ppf((1 + confidence_level(1)) / 2, len(medians) - 1) * np.std(medians, ddof=1) / math.sqrt(len(medians))
    return bool(fmean(medians) + half < -math.log(TOLERANCE))


def _in_turn(scenario: Scenario, number: int, rounds: int) -> Series:
    machine = simulation(scenario, number)
    alone = {name: run_rounds(machine, {REFERENCE: work}, looks=(rounds,)) for name, work in scenario.works.items()}
    whole = alone[REFERENCE]
    whole.samples[0].ns = {name: measurement.samples[0].ns[REFERENCE] for name, measurement in alone.items()}
    return series_of(whole)


def _log_ratios(scenario: Scenario, number: int, launches: int) -> list[list[float]]:
    machine = simulation(scenario, number)
    series = series_of(run_rounds(machine, scenario.works, launches=launches, looks=(figures.NAIVE_ROUNDS,)))
    return [
        [math.log(reference / own) for reference, own in zip(*launch, strict=True)]
        for launch in zip(series.reference_ns, series.own_ns, strict=True)
    ]
