"""False alarms and power of verdicts on speed, on simulated machines."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import fmean
from typing import TypeVar

import numpy as np
from scipy.stats import t

from harness.contracts.backend import REFERENCE
from harness.measure.samples import Settings
from harness.results.schema import Series
from harness.selftest import figures
from harness.selftest.figures import CONTROL_COMPARISONS, NAIVE_GATE, NAIVE_ROUNDS, RETURNING_ALARMS
from harness.selftest.part import Figure, Workspace, at_least, at_most, part
from harness.selftest.simulation import (
    LOUD,
    TARGET,
    TENDED,
    WARMING,
    Compared,
    Profile,
    Scenario,
    compared,
    measured,
    series_of,
    simulation,
)
from harness.stats.intervals import median_interval
from harness.stats.speedup import LOOKS, confidence
from harness.verdicts.speed import TOLERANCE, flat, own_speedup, pace

T = TypeVar("T")
WORDS = ("faster", "same", "slower", "undecided", "invalid")


@part(
    "false-alarms",
    f"identical arms are said to differ in at most {figures.FALSE_ALARMS} of {figures.COMPARISONS} comparisons, "
    "also under load",
)
def false_alarms(workspace: Workspace) -> Iterator[Figure]:
    """Compare identical arms; every comparison has its own machine, reference, control and contender."""
    fair = partial(Scenario, start_sd=figures.ALARM_LAUNCH_SD)
    for profile in (*TENDED, *LOUD):
        yield _alarms(f"{profile.name}: identical arms", _compare(fair(profile=profile), figures.COMPARISONS))
    yield _alarms("warming: identical arms", _compare(fair(profile=WARMING), CONTROL_COMPARISONS))
    unlucky = _compare(fair(profile=TENDED[0], reference=figures.UNLUCKY), CONTROL_COMPARISONS)
    yield _alarms("an unlucky reference, 5 % slower: arms", unlucky)
    alone = (one.alone in ("faster", "slower") for one in unlucky)
    yield at_least(RETURNING_ALARMS, "the same, the control ignored", alone, control=True)
    for label, method, profile in (
        ("warming: rounds not interleaved", one_after_the_other, WARMING),
        ("one launch, a sign test, no tolerance, idle", one_launch, TENDED[0]),
        (f"mean ratio over {NAIVE_GATE:g}, two hogs", mean_gate, TENDED[-1]),
    ):
        outcomes = _in_parallel(partial(method, fair(profile=profile)), CONTROL_COMPARISONS)
        yield at_least(RETURNING_ALARMS, label, outcomes, control=True)


@part(
    "power",
    f"5 % more work is missed in at most {figures.MISSED} of {figures.POWER_COMPARISONS} comparisons; "
    "2 % more is called slower in at most 1 %",
)
def power(workspace: Workspace) -> Iterator[Figure]:
    """Compare arms with 5 % more work, then with 2 %, which is exactly the tolerance."""
    scenario = partial(Scenario, start_sd=figures.POWER_LAUNCH_SD)
    for profile in TENDED:
        yield from _missed(
            profile, _compare(scenario(profile=profile, own=figures.MORE_WORK), figures.POWER_COMPARISONS)
        )
    for profile in LOUD:
        results = _compare(scenario(profile=profile, own=figures.MORE_WORK), figures.POWER_COMPARISONS)
        label = f"{profile.name}: 5 % more work called slower (reached, not promised)"
        yield at_least(0, label, (one.word == "slower" for one in results), note=_summary(results))
    for profile in TENDED:
        results = _compare(scenario(profile=profile, own=figures.BOUNDARY_WORK), figures.BOUNDARY_COMPARISONS)
        label = f"{profile.name}: 2 % more work called slower"
        yield at_most(figures.BOUNDARY_SLOWER, label, (one.word == "slower" for one in results), note=_summary(results))
    method = partial(spread_of_one_arm, scenario(profile=TENDED[0], own=figures.MORE_WORK))
    label = f"{TENDED[0].name}: 5 % more work, t-interval over {figures.ALONE_LAUNCHES} launches of one arm"
    outcomes = _in_parallel(method, CONTROL_COMPARISONS)
    yield at_most(figures.ALONE_SLOWER, f"{label}: slower", outcomes, control=True)


def _alarms(label: str, results: Sequence[Compared]) -> Figure:
    outcomes = (one.differs for one in results)
    return at_most(figures.FALSE_ALARMS, f"{label} said to differ", outcomes, note=_summary(results))


def _missed(profile: Profile, results: Sequence[Compared]) -> Iterator[Figure]:
    missed = [one.word != "slower" for one in results]
    yield at_most(figures.MISSED, f"{profile.name}: 5 % more work not called slower", missed, note=_summary(results))
    if not profile.hogs:
        late = (one.rounds > figures.IDLE_ROUNDS or one.word != "slower" for one in results)
        yield at_most(figures.MISSED, f"{profile.name}: not called so within {figures.IDLE_ROUNDS} rounds", late)


def _compare(scenario: Scenario, n: int) -> list[Compared]:
    return _in_parallel(partial(compared, scenario), n)


def _in_parallel(compare: Callable[[int], T], n: int) -> list[T]:
    """Map `compare` over the numbers below `n` on all cores. Seeds depend on the number alone."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(compare, range(n), chunksize=max(1, n // 64)))


def _summary(results: Sequence[Compared]) -> str:
    rounds = np.quantile([one.rounds for one in results], [0.5, 0.99, 1.0], method="higher")
    counts = {word: sum(one.word == word for one in results) for word in WORDS}
    return (
        f"noise within a launch {100 * np.median([one.noise for one in results]):.1f} %; rounds: median {rounds[0]}, "
        f"99 % {rounds[1]}, most {rounds[2]}; " + ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    )


def one_after_the_other(scenario: Scenario, number: int) -> bool:
    """Run all rounds of one arm, then all of the next; return True if the usual rules say that they differ."""
    return pace(own_speedup(_in_turn(scenario, number, LOOKS[-1]))) in ("faster", "slower")


def mean_gate(scenario: Scenario, number: int) -> bool:
    """Return True if the mean of one arm is slower than NAIVE_GATE times the mean of one measured before it."""
    series = _in_turn(scenario, number, LOOKS[0])
    return fmean(flat(series.own_ns)) / fmean(flat(series.reference_ns)) > NAIVE_GATE


def one_launch(scenario: Scenario, number: int) -> bool:
    """Return True if a sign test over the rounds of one launch, without a tolerance, detects a difference."""
    interval = median_interval(_log_ratios(scenario, number, 1)[0])
    return interval.low > 0 or interval.high < 0


def spread_of_one_arm(scenario: Scenario, number: int) -> bool:
    """Return True if a t-interval over the launches' medians of one arm alone calls it slower."""
    medians = [float(np.median(launch)) for launch in _log_ratios(scenario, number, figures.ALONE_LAUNCHES)]
    half = t.ppf((1 + confidence(1)) / 2, len(medians) - 1) * np.std(medians, ddof=1) / math.sqrt(len(medians))
    return bool(fmean(medians) + half < -math.log(TOLERANCE))


def _in_turn(scenario: Scenario, number: int, rounds: int) -> Series:
    where = simulation(scenario, number)
    settings = Settings(TARGET, looks=(rounds,), machine=where.machine)
    alone = {name: measured(where, {REFERENCE: work}, settings) for name, work in scenario.works.items()}
    whole = alone[REFERENCE]
    whole.samples[0].ns = {name: measurement.samples[0].ns[REFERENCE] for name, measurement in alone.items()}
    return series_of(whole)


def _log_ratios(scenario: Scenario, number: int, launches: int) -> list[list[float]]:
    where = simulation(scenario, number)
    settings = Settings(TARGET, launches=launches, looks=(NAIVE_ROUNDS,), machine=where.machine)
    series = series_of(measured(where, scenario.works, settings))
    return [
        [math.log(one / other) for one, other in zip(*launch, strict=True)]
        for launch in zip(series.reference_ns, series.own_ns, strict=True)
    ]
