"""Comparisons by the harness's own rounds and rules, on a simulated machine: many, each with a seed of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from harness.contracts import CONTROL, REFERENCE, Target
from harness.progress import Progress
from harness.records import timings
from harness.records.evidence import Series
from harness.rounds.measure import measure
from harness.rounds.samples import Arm, Load, Measurement, Samples, Settings
from harness.selftest import toys
from harness.selftest.figures import SEED
from harness.selftest.simulation import CORES, Profile, Simulation
from harness.verdicts.speed import Pace, agreed, invalid, is_settled, own_speedup, own_speedups, pace

OWN = "toy"
BACKEND = toys.toy(OWN, toys.truthful)
TARGET = Target("cpu", CORES)
LOAD = Load(1, 0, lambda number: [0], lambda rows: {"x": np.zeros((1, 1), dtype=np.float32)})
MAD = 1.4826
"""Of a normal distribution, SD over median absolute deviation."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is compared, and where."""

    profile: Profile
    start_sd: float
    own: float = 1.0
    """Work of the contender; the control's is 1."""
    reference: float = 1.0


@dataclass(frozen=True)
class Compared:
    """What the harness found in one comparison."""

    pace: Pace
    alone: Pace
    """What the reference alone would have it say, its control unasked."""
    invalid: bool
    settled: bool
    rounds: int
    noise: float
    """Spread of the control's log-ratios within a start, as the SD of a normal distribution with their MAD."""

    @property
    def said(self) -> str:
        """The part of the verdict that speaks of speed."""
        return "invalid" if self.invalid else self.pace


def compared(scenario: Scenario, number: int) -> Compared:
    """One comparison of a reference, its control and a contender, as a session makes and judges it."""
    works = {REFERENCE: scenario.reference, CONTROL: 1.0, OWN: scenario.own}
    found = measured(simulation(scenario, number), works)
    series = series_of(found)
    ratios = [
        np.log(np.array(one) / np.array(other))
        for one, other in zip(series.reference_ns, series.control_ns, strict=True)
    ]
    within = np.concatenate([start - np.median(start) for start in ratios])
    return Compared(
        pace=agreed(own_speedups(series)),
        alone=pace(own_speedup(series)),
        invalid=invalid(series) is not None,
        settled=found.samples[0].settled,
        rounds=found.samples[0].rounds,
        noise=MAD * float(np.median(np.abs(within))),
    )


def simulation(scenario: Scenario, number: int) -> Simulation:
    """The machine of one comparison."""
    return Simulation(scenario.profile, scenario.start_sd, f"{SEED} {scenario} {number}")


def measured(where: Simulation, works: dict[str, float], settings: Settings | None = None) -> Measurement:
    """The harness's rounds over arms of so much work each; they end as a session's do."""
    settings = settings or Settings(TARGET, machine=where.machine)
    arms = [Arm(name, BACKEND, Path(str(work))) for name, work in works.items()]
    return measure(arms, [LOAD], settings, _accept, _is_settled, Progress())


def series_of(found: Measurement) -> Series:
    """As the contender's result would hold it."""
    return timings.series_of(OWN, found.samples[0], found, CORES)


def _is_settled(samples: Samples) -> bool:
    return is_settled(samples, REFERENCE, {OWN: None})


def in_parallel(compare: Callable[[int], T], n: int) -> list[T]:
    """`compare` of the numbers up to `n`, in order, on all cores; seeds go with the numbers, not with the cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(compare, range(n), chunksize=max(1, n // 64)))


def told(found: Sequence[Compared]) -> str:
    """What else a reader should know: the noise, and how many rounds it took."""
    rounds = np.quantile([one.rounds for one in found], [0.5, 0.99, 1.0], method="higher")
    words = {
        word: sum(one.said == word for one in found) for word in ("faster", "same", "slower", "undecided", "invalid")
    }
    return (
        f"noise within a start {100 * np.median([one.noise for one in found]):.1f} %; rounds: median {rounds[0]}, "
        f"99 % {rounds[1]}, most {rounds[2]}; " + ", ".join(f"{n} {word}" for word, n in words.items() if n)
    )


def _accept(name: str, rows: list[int], outputs: object) -> None:
    """Simulated answers hold nothing to be checked."""
