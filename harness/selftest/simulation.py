"""A simulated machine: seeded, with its own clock, cores shared with neighbours, and workers.

The harness's own rounds (`harness.measure.rounds.measure`) and rules run on it, thousands of comparisons a minute,
and the truth is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

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
from harness.verdicts.speed import Pace, agreed, invalid, is_settled, own_speedup, own_speedups, pace

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
UNCOUNTED = Snapshot(load=None, usage=None, own_s=0.0, parent_s=0.0, pressure_us=None, throttled=None, mhz=None)

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
    """Of one call: the scale of Student's t with three degrees of freedom."""
    hogs: int = 0
    """Neighbours, each on a core of its own."""
    busy_ms: float = 400.0
    idle_ms: float = 150.0
    """Mean CPU time of a neighbour's bursts and mean length of its pauses, both exponential."""
    drift: float = 0.05
    """Of the machine's pace, over minutes; it affects all arms of a round alike."""
    warming: float = 0.0
    """Slowdown per second, for as long as the machine runs."""


SMALL_MS, SMALL_JITTER = 8.0, 0.0095
"""A block of a small model: a round's log-ratio spreads by 1.5 %."""
MINILM_MS, MINILM_JITTER = 19.0, 0.058
"""A call of MiniLM on two threads, whose log-ratio spreads by 10 % on an idle virtual machine."""
BUSY_MS, IDLE_MS = 20.0, 80.0
"""A neighbour that takes a fifth of a core in short bursts. The default one takes nearly all of a core."""

TENDED = (
    Profile(name="idle", block_ms=SMALL_MS, jitter=SMALL_JITTER),
    Profile(name="one hog", block_ms=SMALL_MS, jitter=SMALL_JITTER, hogs=1, busy_ms=BUSY_MS, idle_ms=IDLE_MS),
    Profile(name="two hogs", block_ms=SMALL_MS, jitter=SMALL_JITTER, hogs=2, busy_ms=BUSY_MS, idle_ms=IDLE_MS),
)
WARMING = Profile(name="warming", block_ms=SMALL_MS, jitter=SMALL_JITTER, warming=0.01)
"""Simulated rounds of one arm take seconds where real ones take minutes, so it slows down faster in proportion."""
LOUD = (
    Profile(name="MiniLM's noise, idle", block_ms=MINILM_MS, jitter=MINILM_JITTER),
    Profile(name="MiniLM's noise, one hog", block_ms=MINILM_MS, jitter=MINILM_JITTER, hogs=1),
    Profile(name="MiniLM's noise, two hogs", block_ms=MINILM_MS, jitter=MINILM_JITTER, hogs=2),
)


class Core:
    """A core with at most one neighbour. Every instant goes to the worker, to the neighbour or to nobody."""

    def __init__(self, rng: Random, busy_ns: float, idle_ns: float) -> None:
        self.now_ns = 0.0
        self.own_ns = self.hog_ns = self.idle_ns = 0.0
        """Time of the worker's thread, of the neighbour, of nobody."""
        self._rng, self._busy_ns, self._idle_ns = rng, busy_ns, idle_ns
        self._wanted_ns = 0.0
        self._wakes_ns = rng.expovariate(1 / idle_ns) if busy_ns else math.inf

    def wait(self, until_ns: float) -> None:
        """Let time pass without a worker on the core."""
        while self.now_ns < until_ns:
            if self._awake():
                self._hog(until_ns - self.now_ns)
            else:
                pause = min(self._wakes_ns, until_ns) - self.now_ns
                self.idle_ns += pause
                self.now_ns += pause

    def work(self, work_ns: float) -> None:
        """Run `work_ns` of a worker's thread, in turns with the neighbour."""
        turn = self._rng.random() * self._slice() if self._awake() else math.inf
        while work_ns > 0:
            ns = min(work_ns, turn) if self._wanted_ns else min(work_ns, max(self._wakes_ns - self.now_ns, 0.0))
            self.own_ns += ns
            self.now_ns += ns
            work_ns -= ns
            if work_ns > 0 and self._awake():
                self._hog(self._slice())
                turn = self._slice()

    def _awake(self) -> bool:
        if not self._wanted_ns and self.now_ns >= self._wakes_ns:
            self._wanted_ns = self._rng.expovariate(1 / self._busy_ns)
        return self._wanted_ns > 0

    def _slice(self) -> float:
        return self._rng.uniform(*SLICES_NS)

    def _hog(self, most_ns: float) -> None:
        ns = min(self._wanted_ns, most_ns)
        self.hog_ns += ns
        self.now_ns += ns
        self._wanted_ns -= ns
        if not self._wanted_ns:
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
        self.machine = Machine(hire=self.hire, alone=nullcontext, take=_take)

    @property
    def now_ns(self) -> float:
        """The time on its clock."""
        return self.cores[0].now_ns

    def hire(
        self, backend: Backend, artifact: Path, target: Target, timeout_s: float, name: str, front: object, kind: object
    ) -> Simulated:
        """Launch a worker whose work is the profile's block times the artifact's name."""
        self.wait(STARTING_NS)
        own = math.exp(self.rng.gauss(0, self.start_sd))
        return Simulated(self, float(artifact.name) * own * self.profile.block_ms * MS)

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


class Simulated(AbstractContextManager["Simulated"]):
    """A worker on a simulated machine."""

    compile_ns = 0
    pid = 0

    def __init__(self, simulation: Simulation, work_ns: float) -> None:
        self.loaded: dict[str, Any] = {"import_ns": STARTING_NS, "load_ns": 0, "device": "cpu", "settings": {}}
        self._simulation, self._work_ns = simulation, work_ns

    def put(self, batch: Arrays) -> None:
        """Take no time."""

    def run(self, loops: int = 1) -> Answer:
        """Work, and return the window."""
        simulation = self._simulation
        simulation.wait(HANDOVER_NS)
        began_ns = simulation.now_ns
        for _ in range(loops):
            simulation.work(self._work_ns)
        return Answer(round(began_ns), round(simulation.now_ns), 0, 0, 0, OUTPUTS)

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Hold no memory."""
        return [0] * (parts + 1)

    def close(self) -> None:
        """Hold nothing."""

    def __exit__(self, *error: object) -> None:
        self.close()


def _take(pids: Iterable[int]) -> Snapshot:
    return UNCOUNTED


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
class Compared:
    """The harness's verdict on one comparison."""

    pace: Pace
    alone: Pace
    """The pace if the control were ignored."""
    invalid: bool
    rounds: int
    noise: float
    """Spread of the control's log-ratios within a launch: the SD of a normal distribution with their MAD."""

    @property
    def word(self) -> str:
        """The verdict's word for speed."""
        return "invalid" if self.invalid else self.pace

    @property
    def differs(self) -> bool:
        """True if the arms are said to differ."""
        return self.word in ("faster", "slower")


def compared(scenario: Scenario, number: int) -> Compared:
    """Compare a reference, its control and a contender as a session does."""
    measurement = measured(simulation(scenario, number), scenario.works)
    series = series_of(measurement)
    ratios = [
        np.log(np.array(one) / np.array(other))
        for one, other in zip(series.reference_ns, series.control_ns, strict=True)
    ]
    return Compared(
        pace=agreed(own_speedups(series)),
        alone=pace(own_speedup(series)),
        invalid=invalid(series) is not None,
        rounds=measurement.samples[0].rounds,
        noise=spread(ratios),
    )


def simulation(scenario: Scenario, number: int) -> Simulation:
    """Return the machine of comparison `number`."""
    return Simulation(scenario.profile, scenario.start_sd, f"{SEED} {scenario} {number}")


def measured(where: Simulation, works: dict[str, float], settings: Settings | None = None) -> Measurement:
    """Run the harness's rounds over arms of so much work each, to the end that a session would choose."""
    settings = settings or Settings(TARGET, machine=where.machine)
    arms = [Arm(name, BACKEND, Path(str(work))) for name, work in works.items()]
    return measure(arms, [LOAD], settings, _accept, _is_settled, Progress())


def series_of(measurement: Measurement) -> Series:
    """Return the contender's series, as its result would hold it."""
    return record.series_of(OWN, measurement.samples[0], measurement, CORES)


def spread(log_ratios: Iterable[Any]) -> float:
    """Return the spread of log-ratios around the median of their launch, as a standard deviation."""
    within = np.concatenate([launch - np.median(launch) for launch in log_ratios])
    return MAD * float(np.median(np.abs(within)))


def _is_settled(samples: Samples) -> bool:
    return is_settled(samples, REFERENCE, {OWN: None})


def _accept(name: str, rows: list[int], outputs: object) -> None:
    """Check nothing: simulated answers are empty."""
