"""A simulated machine: seeded, with its own clock, cores shared with neighbours, and workers.

The harness's own rounds and rules run on it, thousands of comparisons a minute, and the truth is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from harness.contracts.backend import CONTROL, REFERENCE, Backend, Target
from harness.contracts.kind import Arrays
from harness.measure.client import Answer, Machine
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Measurement, Samples, Settings, WorkloadInputs
from harness.measure.system import Snapshot
from harness.pipeline import record
from harness.results.schema import Series
from harness.selftest import toys
from harness.selftest.figures import SEED
from harness.util.console import Progress
from harness.verdicts.speed import Pace, agreed_pace, is_settled, own_speedup, own_speedups, pace, why_invalid

MS = 1_000_000
CORES = 2
SLICES_NS = (1 * MS, 5 * MS)
"""Shortest and longest turn on a core that a worker and a neighbour share."""
HANDOVER_NS = MS // 2
"""Time between two windows, in which a batch is handed over and an answer sent."""
STARTING_NS = 500 * MS
MOST_JITTER = math.log(10)
"""Bound on jitter: the distribution's tail is so heavy that one call in ten million would never end."""
DRIFT_S = 60.0
"""Time constant of the drift."""
OUTPUTS: Arrays = {"logits": np.zeros((1, 2), dtype=np.float32)}
NO_COUNTERS = Snapshot(load=None, usage=None, own_s=0.0, parent_s=0.0, pressure_us=None, throttled=None, mhz=None)

OWN = "toy"
BACKEND = Backend(name=OWN, load=toys.truthful)
TARGET = Target("cpu", CORES)
LOAD = WorkloadInputs(1, 0, lambda number: [0], lambda rows: {"x": np.zeros((1, 1), dtype=np.float32)})
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The noise of a machine. Spreads are standard deviations of logarithms. The field names are part of the seeds."""

    name: str
    block_ms: float
    """Duration of a call on idle cores; it uses all of them."""
    jitter: float
    """Scale of Student's t with three degrees of freedom, for each call."""
    hogs: int = 0
    """Neighbours, each on a core of its own."""
    busy_ms: float = 400.0
    idle_ms: float = 150.0
    """Mean CPU time of a neighbour's bursts and mean length of its pauses, both exponential."""
    drift: float = 0.05
    """Spread of the machine's pace over minutes; it affects all arms of a round alike."""
    warming: float = 0.0
    """Slowdown per second, for as long as the machine runs."""


SMALL = partial(Profile, block_ms=8.0, jitter=0.0095)
"""Blocks of a small model, at which a round's log-ratio spreads by 1.5 %."""
MINILM = partial(Profile, block_ms=19.0, jitter=0.058)
"""Calls of MiniLM on two threads, whose log-ratio spreads by 10 % on an idle virtual machine."""
TENDED = (
    SMALL(name="idle"),
    SMALL(name="one hog", hogs=1, busy_ms=20.0, idle_ms=80.0),
    SMALL(name="two hogs", hogs=2, busy_ms=20.0, idle_ms=80.0),
)
"""Neighbours take a fifth of a core in short bursts. The default one takes nearly all of a core."""
LOUD = tuple(MINILM(name=f"MiniLM's noise, {TENDED[hogs].name}", hogs=hogs) for hogs in range(3))
WARMING = SMALL(name="warming", warming=0.01)
"""Simulated rounds of one arm take seconds where real ones take minutes, so it slows down faster in proportion."""


class Core:
    """A core with at most one neighbour. Every instant belongs to the worker, to the neighbour or to nobody."""

    def __init__(self, rng: Random, busy_ns: float, idle_ns: float) -> None:
        self.now_ns = 0.0
        self.own_ns = self.hog_ns = 0.0
        """Time of the worker's thread and of the neighbour; the rest belongs to nobody."""
        self._rng, self._busy_ns, self._idle_ns = rng, busy_ns, idle_ns
        self._burst_ns = 0.0
        self._wakes_ns = rng.expovariate(1 / idle_ns) if busy_ns else math.inf

    def wait(self, until_ns: float) -> None:
        """Let time pass without a worker on the core."""
        while self.now_ns < until_ns:
            if self._is_awake():
                self._hog(until_ns - self.now_ns)
            else:
                self.now_ns += min(self._wakes_ns, until_ns) - self.now_ns

    def work(self, work_ns: float) -> None:
        """Run `work_ns` of a worker's thread, in turns with the neighbour."""
        turn = self._rng.random() * self._slice() if self._is_awake() else math.inf
        while work_ns > 0:
            ns = min(work_ns, turn) if self._burst_ns else min(work_ns, max(self._wakes_ns - self.now_ns, 0.0))
            self.own_ns += ns
            self.now_ns += ns
            work_ns -= ns
            if work_ns > 0 and self._is_awake():
                self._hog(self._slice())
                turn = self._slice()

    def _is_awake(self) -> bool:
        if not self._burst_ns and self.now_ns >= self._wakes_ns:
            self._burst_ns = self._rng.expovariate(1 / self._busy_ns)
        return self._burst_ns > 0

    def _slice(self) -> float:
        return self._rng.uniform(*SLICES_NS)

    def _hog(self, most_ns: float) -> None:
        ns = min(self._burst_ns, most_ns)
        self.hog_ns += ns
        self.now_ns += ns
        self._burst_ns -= ns
        if not self._burst_ns:
            self._wakes_ns = self.now_ns + self._rng.expovariate(1 / self._idle_ns)


class Simulation:
    """A machine with a profile and a seed. Pass its `machine` to a measurement."""

    def __init__(self, profile: Profile, start_sd: float, seed: str) -> None:
        self.profile, self.start_sd, self.rng = profile, start_sd, Random(seed)
        self.cores = [
            Core(Random(f"{seed} {core}"), profile.busy_ms * MS * (core < profile.hogs), profile.idle_ms * MS)
            for core in range(CORES)
        ]
        self._drift = self.rng.gauss(0, profile.drift)
        self._drifted_ns = 0.0
        self.machine = Machine(
            start_worker=self.start_worker,
            lock=lambda say, device: nullcontext(),
            read_counters=lambda pids: NO_COUNTERS,
            parallel_starts=1,  # its time and its draws follow the order of the arms
        )

    @property
    def now_ns(self) -> float:
        """The time on its clock."""
        return self.cores[0].now_ns

    def start_worker(self, backend: Backend, artifact: Path, *_: object) -> SimulatedWorker:
        """Start a worker whose work is the profile's block times the artifact's name."""
        self.wait(STARTING_NS)
        luck = math.exp(self.rng.gauss(0, self.start_sd))
        return SimulatedWorker(self, float(artifact.name) * luck * self.profile.block_ms * MS)

    def wait(self, ns: float) -> None:
        """Let time pass."""
        until_ns = self.now_ns + ns
        for core in self.cores:
            core.wait(until_ns)

    def work(self, each_ns: float) -> None:
        """Run a call: the same work on every core, until the last core is done."""
        jitter = min(max(self.profile.jitter * self._student(), -MOST_JITTER), MOST_JITTER)
        each_ns *= math.exp(self._pace() + jitter)
        for core in self.cores:
            core.work(each_ns)
        until_ns = max(core.now_ns for core in self.cores)
        for core in self.cores:
            core.wait(until_ns)

    def _pace(self) -> float:
        """Draw the next value of an Ornstein-Uhlenbeck process."""
        kept = math.exp((self._drifted_ns - self.now_ns) / (DRIFT_S * 1e9))
        self._drifted_ns = self.now_ns
        self._drift = kept * self._drift + self.rng.gauss(0, self.profile.drift * math.sqrt(1 - kept * kept))
        return self._drift + self.profile.warming * self.now_ns / 1e9

    def _student(self) -> float:
        return self.rng.gauss(0, 1) / math.sqrt(self.rng.gammavariate(1.5, 2) / 3)


class SimulatedWorker(AbstractContextManager["SimulatedWorker"]):
    """A worker on a simulated machine. Handing over a batch takes no time, and it holds no memory."""

    compile_ns = 0
    pid = 0

    def __init__(self, simulation: Simulation, work_ns: float) -> None:
        self.loaded: dict[str, Any] = {"import_ns": STARTING_NS, "load_ns": 0, "device": "cpu", "settings": {}}
        self._simulation, self._work_ns = simulation, work_ns

    def put(self, batch: Arrays) -> None:
        """Do nothing."""

    def run(self, loops: int = 1) -> Answer:
        """Work, and return the window."""
        simulation = self._simulation
        simulation.wait(HANDOVER_NS)
        began_ns = simulation.now_ns
        for _ in range(loops):
            simulation.work(self._work_ns)
        return Answer(round(began_ns), round(simulation.now_ns), 0, 0, 0, OUTPUTS)

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Return an unchanging memory use."""
        return [0] * (parts + 1)

    def close(self, *error: object) -> None:
        """Do nothing."""

    __exit__ = close


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A comparison and its machine. The field names are part of the seeds."""

    profile: Profile
    start_sd: float
    own: float = 1.0
    """Work of the contender; the control's is 1."""
    reference: float = 1.0

    @property
    def works(self) -> dict[str, float]:
        """Work of each arm."""
        return {REFERENCE: self.reference, CONTROL: 1.0, OWN: self.own}


@dataclass(frozen=True)
class Outcome:
    """The harness's verdict on one comparison."""

    pace: Pace | Literal["invalid"]
    pace_without_control: Pace
    rounds: int
    noise: float
    """Spread of the control's log-ratios within a launch: the SD of a normal distribution with their MAD."""

    @property
    def differs(self) -> bool:
        """True if the arms are said to differ."""
        return self.pace in ("faster", "slower")


def compare(scenario: Scenario, number: int) -> Outcome:
    """Compare a reference, its control and a contender as a session does."""
    measurement = run_rounds(simulation(scenario, number), scenario.works)
    series = series_of(measurement)
    ratios = [
        np.log(np.array(reference) / np.array(control))
        for reference, control in zip(series.reference_ns, series.control_ns, strict=True)
    ]
    return Outcome(
        pace="invalid" if why_invalid(series) else agreed_pace(own_speedups(series)),
        pace_without_control=pace(own_speedup(series)),
        rounds=measurement.samples[0].rounds,
        noise=spread(ratios),
    )


def simulation(scenario: Scenario, number: int) -> Simulation:
    """Return the machine of comparison `number`."""
    return Simulation(scenario.profile, scenario.start_sd, f"{SEED} {scenario} {number}")


def run_rounds(machine: Simulation, works: dict[str, float], **options: Any) -> Measurement:
    """Run the harness's rounds over arms of so much work each, to the end that a session would choose."""
    settings = Settings(TARGET, machine=machine.machine, **options)
    arms = [Arm(name, BACKEND, Path(str(work))) for name, work in works.items()]

    def settled(samples: Samples) -> bool:
        return is_settled(samples, REFERENCE, {OWN: None})

    return measure(arms, [LOAD], settings, lambda name, rows, outputs: None, settled, Progress())


def series_of(measurement: Measurement) -> Series:
    """Return the contender's series, as its result would hold it."""
    return record.series_of(OWN, measurement.samples[0], measurement, CORES)


def spread(log_ratios: Iterable[Any]) -> float:
    """Return the spread of log-ratios around the median of their launch, as a standard deviation."""
    within = np.concatenate([launch - np.median(launch) for launch in log_ratios])
    return MAD * float(np.median(np.abs(within)))
