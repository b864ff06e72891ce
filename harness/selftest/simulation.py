"""A machine that exists in numbers only: seeded, with its own clock, cores that neighbours share, and workers.

Real measurements run on it (`harness.rounds.measure.measure`), thousands in a minute, and the truth is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import numpy as np

from harness.contracts import Arrays, Backend, Target
from harness.rounds.counters import Snapshot
from harness.rounds.machine import Machine
from harness.workers.process import Answer

MS = 1_000_000
CORES = 2
SLICES_NS = (1 * MS, 5 * MS)
"""A core goes to and fro between those who want it, for so long at a time."""
HANDOVER_NS = MS // 2
"""Between two windows, while a batch is handed over and an answer sent."""
STARTING_NS = 500 * MS
MOST_JITTER = math.log(10)
"""The distribution's tail has no end: once in some ten million calls one would take longer than the world is old."""
DRIFT_S = 60.0
"""Time in which the machine's pace forgets what it was."""
OUTPUTS: Arrays = {"logits": np.zeros((1, 2), dtype=np.float32)}
UNCOUNTED = Snapshot(load=None, usage=None, own_s=0.0, parent_s=0.0, pressure_us=None, throttled=None, mhz=None)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How loud a machine is. Spreads are standard deviations of logarithms."""

    name: str
    block_ms: float
    """What a call takes on an idle core; each core has a thread that must be ready."""
    jitter: float
    """Of one call, heavy-tailed: the scale of Student's t with three degrees of freedom."""
    hogs: int = 0
    """Neighbours, each on a core of its own."""
    busy_ms: float = 400.0
    idle_ms: float = 150.0
    """Mean lengths of a neighbour's bursts, in its own CPU time, and of its pauses, exponential."""
    drift: float = 0.05
    """Of the pace of the whole machine, over minutes; all arms of a round suffer it alike."""
    warming: float = 0.0
    """What a second makes everything slower, for as long as it is looked at."""


class Core:
    """One core with at most one neighbour. Time is given in slices; none is lost and none given twice."""

    def __init__(self, dice: Random, busy_ns: float, idle_ns: float) -> None:
        self.now_ns = 0.0
        self.own_ns = self.hog_ns = self.idle_ns = 0.0
        """Time given to the worker's thread, to the neighbour, to nobody."""
        self._dice, self._busy_ns, self._idle_ns = dice, busy_ns, idle_ns
        self._wanted_ns = 0.0
        self._wakes_ns = dice.expovariate(1 / idle_ns) if busy_ns else math.inf

    def wait(self, until_ns: float) -> None:
        """Let time pass in which no worker wants the core."""
        while self.now_ns < until_ns:
            if self._awake():
                self._hog(until_ns - self.now_ns)
            else:
                pause = min(self._wakes_ns, until_ns) - self.now_ns
                self.idle_ns += pause
                self.now_ns += pause

    def work(self, work_ns: float) -> None:
        """Run a thread of the worker until `work_ns` of it are done, in turns with the neighbour."""
        turn = self._dice.random() * self._slice() if self._awake() else math.inf
        while work_ns > 0:
            given = min(work_ns, turn) if self._wanted_ns else min(work_ns, max(self._wakes_ns - self.now_ns, 0.0))
            self.own_ns += given
            self.now_ns += given
            work_ns -= given
            if work_ns > 0 and self._awake():
                self._hog(self._slice())
                turn = self._slice()

    def _awake(self) -> bool:
        if not self._wanted_ns and self.now_ns >= self._wakes_ns:
            self._wanted_ns = self._dice.expovariate(1 / self._busy_ns)
        return self._wanted_ns > 0

    def _slice(self) -> float:
        return self._dice.uniform(*SLICES_NS)

    def _hog(self, most_ns: float) -> None:
        given = min(self._wanted_ns, most_ns)
        self.hog_ns += given
        self.now_ns += given
        self._wanted_ns -= given
        if not self._wanted_ns:
            self._wakes_ns = self.now_ns + self._dice.expovariate(1 / self._idle_ns)


class Simulation:
    """A machine of this profile, the same for the same seed; `machine` is what a measurement is told."""

    def __init__(self, profile: Profile, start_sd: float, seed: str) -> None:
        self.profile, self.start_sd, self.dice = profile, start_sd, Random(seed)
        self.cores = [
            Core(Random(f"{seed} {core}"), profile.busy_ms * MS * (core < profile.hogs), profile.idle_ms * MS)
            for core in range(CORES)
        ]
        self._drift = self.dice.gauss(0, profile.drift)
        self._drifted_ns = 0.0
        self.machine = Machine(hire=self.hire, alone=nullcontext, take=_take)

    @property
    def now_ns(self) -> float:
        """What its clock shows."""
        return self.cores[0].now_ns

    def hire(
        self, backend: Backend, artifact: Path, target: Target, timeout_s: float, name: str, front: object, kind: object
    ) -> Simulated:
        """A fresh worker, whose work is that of the profile's block times the artifact's name."""
        self.wait(STARTING_NS)
        own = math.exp(self.dice.gauss(0, self.start_sd))
        return Simulated(self, float(artifact.name) * own * self.profile.block_ms * MS)

    def wait(self, ns: float) -> None:
        """Let time pass."""
        until_ns = self.now_ns + ns
        for core in self.cores:
            core.wait(until_ns)

    def work(self, each_ns: float) -> None:
        """Let a call run: so much work on every core, until the last of them is done."""
        jitter = min(max(self.profile.jitter * self._student(), -MOST_JITTER), MOST_JITTER)
        each_ns *= math.exp(self._pace() + jitter)
        for core in self.cores:
            core.work(each_ns)
        until_ns = max(core.now_ns for core in self.cores)
        for core in self.cores:
            core.wait(until_ns)

    def _pace(self) -> float:
        """An Ornstein-Uhlenbeck process, drawn when it is asked for."""
        kept = math.exp((self._drifted_ns - self.now_ns) / (DRIFT_S * 1e9))
        self._drifted_ns = self.now_ns
        self._drift = kept * self._drift + self.dice.gauss(0, self.profile.drift * math.sqrt(1 - kept * kept))
        return self._drift + self.profile.warming * self.now_ns / 1e9

    def _student(self) -> float:
        return self.dice.gauss(0, 1) / math.sqrt(self.dice.gammavariate(1.5, 2) / 3)


class Simulated:
    """One of its workers."""

    compile_ns = 0
    pid = 0

    def __init__(self, simulation: Simulation, work_ns: float) -> None:
        self.loaded: dict[str, Any] = {"import_ns": STARTING_NS, "load_ns": 0, "device": "cpu", "settings": {}}
        self._simulation, self._work_ns = simulation, work_ns

    def put(self, batch: Arrays) -> None:
        """Takes no time yet."""

    def run(self, loops: int = 1) -> Answer:
        """Work, and say when."""
        simulation = self._simulation
        simulation.wait(HANDOVER_NS)
        began_ns = simulation.now_ns
        for _ in range(loops):
            simulation.work(self._work_ns)
        return Answer(round(began_ns), round(simulation.now_ns), 0, 0, 0, OUTPUTS)

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Holds no memory, and takes no time to say so."""
        return [0] * (parts + 1)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _take(pids: Iterable[int]) -> Snapshot:
    return UNCOUNTED
