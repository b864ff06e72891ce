"""What is measured, how, and what it gives: the values that pass through `measure`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.contracts.backend import CONTROL, Backend, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import WorkerError
from harness.measure.adapters import Preprocessing
from harness.measure.client import THIS_MACHINE, Machine
from harness.measure.gpu import GpuReading
from harness.measure.system import Disturbance
from harness.stats.speedup import LOOKS

BATCHES = (1, 16)
"""Workloads: latency, which gates are judged by, and throughput."""


@dataclass(frozen=True)
class Arm:
    """One contender."""

    name: str
    backend: Backend
    artifact: Path
    front: Preprocessing | None = None
    """What makes arrays of raw rows inside the window; None where rows come as arrays."""
    kind: Kind | None = None
    """Says what is kept of the outputs; None keeps them all."""


@dataclass(frozen=True)
class WorkloadInputs:
    """One workload to run."""

    batch: int
    order_seed: int
    rows: Callable[[int], list[int]]
    """Number of a round → the test rows of its batch."""
    arrays: Callable[[list[int]], Arrays]


@dataclass(frozen=True)
class Settings:
    """How a measurement is made."""

    target: Target
    launches: int = 4
    """Generations of fresh workers before the first look; later looks have more."""
    looks: tuple[int, ...] = LOOKS
    budget_s: float = 60.0
    """Wall time from first to last round, summed over launches, shared evenly between workloads."""
    timeout_s: float = 300.0
    seed: int = 0
    tail: int = 0
    """Single calls of every arm after the decision, for percentiles."""
    machine: Machine = THIS_MACHINE
    probes: bool = True
    """Whether arms are asked first if they remember answers, and if they leak memory."""


@dataclass
class Samples:
    """What one workload gave, by launch."""

    batch: int
    order_seed: int
    loops: int = 0
    rows: list[list[int]] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    ns: dict[str, list[list[int]]] = field(default_factory=dict)
    """Arm → launch → round → nanoseconds a call."""
    tail_ns: dict[str, list[int]] = field(default_factory=dict)
    spent_ns: int = 0
    last_ns: int = 0
    """From first to last round of the latest launch."""
    timed_ns: dict[str, int] = field(default_factory=dict)
    """Arm → time inside its windows."""
    settled: bool = False
    """Whether every arm was decided at the last look."""
    cut: bool = False
    """Whether the budget ended the rounds before that."""

    @property
    def rounds(self) -> int:
        """Over all launches."""
        return sum(map(len, self.rows))

    def has(self, name: str) -> bool:
        """Whether the arm answered in every round."""
        return bool(self.rows) and list(map(len, self.ns.get(name, ()))) == list(map(len, self.rows))


@dataclass(frozen=True)
class MemoryLimit:
    """Why an arm has no figures of a workload, nor of larger ones."""

    batch: int
    why: str


@dataclass
class WorkerFigures:
    """What an arm's workers said of themselves, one entry a launch."""

    import_ns: list[int] = field(default_factory=list)
    load_ns: list[int] = field(default_factory=list)
    compile_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)
    peak_rss_bytes: list[int] = field(default_factory=list)
    peak_vram_bytes: list[int] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Measurement:
    """Everything the rounds of one comparison gave. Ignore what is kept of an arm that is in `failed`."""

    samples: list[Samples]
    lives: dict[str, WorkerFigures]
    failed: dict[str, WorkerError] = field(default_factory=dict)
    disturbance: Disturbance | None = None
    unprobed: list[str] = field(default_factory=list)
    """What could not be checked for remembered answers or for leaks, and why."""
    full: dict[str, MemoryLimit] = field(default_factory=dict)
    """Arms that have no memory for a batch, which is not the gate's."""
    gpu: list[GpuReading] = field(default_factory=list)
    """Before and after the rounds of every launch and workload."""
    unsteady: list[str] = field(default_factory=list)
    """Workloads whose rounds began at a clock rate that still changed."""

    def fits(self, name: str, batch: int) -> bool:
        """Whether the arm has memory for a batch of that size, as far as is known."""
        return name not in self.full or batch < self.full[name].batch

    def notes(self) -> list[str]:
        """What a reader should know of how the rounds went."""
        ending = {True: "every arm decided", False: "not every arm decided"}
        started_ns = sum(sum(ns) for lives in self.lives.values() for ns in (lives.import_ns, lives.load_ns))
        return [
            f"batch {part.batch}: {part.rounds} rounds in {part.spent_ns / 1e9:.1f} s, "
            f"{sum(part.timed_ns.values()) / part.spent_ns:.0%} of it timed calls, "
            f"{part.timed_ns.get(CONTROL, 0) / part.spent_ns:.0%} the control's; {ending[part.settled]}"
            + (", cut short by the budget" if part.cut else "")
            for part in self.samples
            if part.spent_ns
        ] + [f"starting workers took {started_ns / 1e9:.1f} s", *self.unprobed, *self._out_of_memory(), *self.unsteady]

    def _out_of_memory(self) -> list[str]:
        told = []
        for name, full in self.full.items():
            first, *_ = full.why.splitlines()
            whose = f"nothing of {name}" if any(part.batch >= full.batch for part in self.samples) else "left out"
            told.append(f"batch {full.batch} and beyond: {whose}, for want of memory beside the other workers: {first}")
        return told
