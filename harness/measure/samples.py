"""The values that pass through a measurement: arms, workloads and settings in; samples and worker figures out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.contracts.backend import CONTROL, Backend, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import WorkerError
from harness.measure.adapters import Preprocessing
from harness.measure.client import THIS_MACHINE, Machine
from harness.measure.gpu import GpuReading
from harness.measure.system import Disturbance, Window
from harness.stats.speedup import LOOKS


@dataclass(frozen=True)
class Arm:
    """One contender: a backend with its artifact."""

    name: str
    backend: Backend
    artifact: Path
    preprocessing: Preprocessing | None = None
    """Turns raw rows into arrays inside the window; None if workloads supply arrays."""
    kind: Kind | None = None
    """Reduces outputs before they are sent; None sends them whole."""


@dataclass(frozen=True)
class WorkloadInputs:
    """The batches of one workload, each of `batch` test rows."""

    batch: int
    order_seed: int
    rows: Callable[[int], list[int]]
    """Number of a round → the test rows of its batch."""
    arrays: Callable[[list[int]], Arrays]

    def round(self, number: int) -> tuple[list[int], Arrays]:
        """Return the rows and arrays of a round's batch."""
        return (rows := self.rows(number)), self.arrays(rows)


@dataclass(frozen=True)
class Settings:
    """Settings of one measurement."""

    target: Target
    launches: int = 4
    """Launches before the first look; later looks have more."""
    looks: tuple[int, ...] = LOOKS
    budget_s: float = 60.0
    """Time from first to last round, over all launches; the workloads share it evenly."""
    timeout_s: float = 300.0
    """A worker that gives no answer for so long has failed."""
    seed: int = 0
    tail: int = 0
    """Single calls of every arm after the decision, for percentiles."""
    machine: Machine = THIS_MACHINE


@dataclass
class Samples:
    """Times of one workload. Nested lists have one entry per launch, holding one per round; dicts have one per arm."""

    batch: int
    order_seed: int
    loops: int = 0
    """Calls in a block; a sample is the mean of one block."""
    rows: list[list[int]] = field(default_factory=list)
    """First test row of the batch."""
    lengths: list[list[int]] = field(default_factory=list)
    """Elements of that row."""
    ns: dict[str, list[list[int]]] = field(default_factory=dict)
    first_token_ns: dict[str, list[list[int]]] = field(default_factory=dict)
    """Time of the last call of a block until the first token; 0 where no text is written step by step."""
    tail_ns: dict[str, list[int]] = field(default_factory=dict)
    """Single calls."""
    spent_ns: int = 0
    """From first to last round, summed over launches."""
    last_ns: int = 0
    """From first to last round of the latest launch."""
    timed_ns: dict[str, int] = field(default_factory=dict)
    """Inside windows."""
    decided: bool = False
    """Every arm was decided at the last look. Workloads other than the gate's have one look."""
    cut_short: bool = False
    """The budget ended the rounds before that."""

    @property
    def rounds(self) -> int:
        """Rounds of all launches."""
        return sum(map(len, self.rows))

    def has(self, name: str) -> bool:
        """Return True if the arm answered in every round."""
        return bool(self.rows) and list(map(len, self.ns.get(name, ()))) == list(map(len, self.rows))

    def note(self) -> str:
        """Describe how the rounds went."""
        return (
            f"batch {self.batch}: {self.rounds} rounds in {self.spent_ns / 1e9:.1f} s, "
            f"{sum(self.timed_ns.values()) / self.spent_ns:.0%} of it timed calls, "
            f"{self.timed_ns.get(CONTROL, 0) / self.spent_ns:.0%} the control's; "
            f"{'' if self.decided else 'not '}every arm decided{', cut short by the budget' if self.cut_short else ''}"
        )


class MemoryLimit(NamedTuple):
    """The batch size at which an arm ran out of memory, and the error."""

    batch: int
    error: str


@dataclass
class WorkerFigures:
    """Figures that an arm's workers reported: one entry per launch, and the settings of the latest.

    Phases of starting up come from launches in which workers start one after another.
    """

    import_ns: list[int] = field(default_factory=list)
    load_ns: list[int] = field(default_factory=list)
    compile_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)
    peak_rss_bytes: list[int] = field(default_factory=list)
    peak_vram_bytes: list[int] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Measurement:
    """The results of one comparison's rounds. Ignore samples and figures of arms in `failed`."""

    samples: list[Samples]
    workers: dict[str, WorkerFigures]
    starting_ns: int = 0
    """Time in which workers started, over all launches."""
    failed: dict[str, WorkerError] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    disturbance: Disturbance | None = None
    memory_limits: dict[str, MemoryLimit] = field(default_factory=dict)
    """Arms that ran out of memory at a batch size beyond the gate's."""
    gpu: list[GpuReading] = field(default_factory=list)
    """Before and after the rounds of every launch and workload."""
    unsteady: list[str] = field(default_factory=list)
    """Workloads whose rounds began while the GPU's clock rate still changed."""

    def fits(self, name: str, batch: int) -> bool:
        """Return False if the arm has run out of memory at that batch size or a smaller one."""
        return name not in self.memory_limits or batch < self.memory_limits[name].batch

    def notes(self) -> list[str]:
        """Describe how the rounds went, for the reader of a result."""
        return [
            *(samples.note() for samples in self.samples if samples.spent_ns),
            f"starting workers took {self.starting_ns / 1e9:.1f} s",
            *(self._memory_note(name, *limit) for name, limit in self.memory_limits.items()),
            *self.unsteady,
        ]

    def _memory_note(self, name: str, batch: int, error: str) -> str:
        measured = any(samples.batch >= batch for samples in self.samples)
        outcome = f"no results for {name}" if measured else "not measured"
        reason = f"out of memory beside the other workers: {error.splitlines()[0]}"
        return f"batch {batch} and larger: {outcome}, {reason}"
