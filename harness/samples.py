"""What is measured, how, and what it gives: the values that pass through `measure`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import WorkerError
from harness.spec import Arrays, Backend, Target


@dataclass(frozen=True)
class Arm:
    """One contender."""

    name: str
    backend: Backend
    artifact: Path


@dataclass(frozen=True)
class Load:
    """One workload to run."""

    batch: int
    rounds: int
    """In each start."""
    order_seed: int
    rows: Callable[[int], list[int]]
    """Number of a round → the test rows of its batch."""
    arrays: Callable[[list[int]], Arrays]


@dataclass(frozen=True)
class Settings:
    """How a measurement is made."""

    target: Target
    starts: int = 4
    budget_s: float = 60.0
    """Wall time from first to last round, summed over starts, shared evenly between workloads."""
    timeout_s: float = 300.0
    seed: int = 0


@dataclass
class Samples:
    """What one workload gave, by start."""

    batch: int
    order_seed: int
    loops: int = 0
    rows: list[list[int]] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    ns: dict[str, list[list[int]]] = field(default_factory=dict)
    """Arm → start → round → nanoseconds a call."""
    spent_ns: int = 0
    timed_ns: int = 0
    cut: bool = False
    """Whether the budget ended the rounds early."""


@dataclass
class Lives:
    """What an arm's workers said of themselves, one entry a start."""

    load_ns: list[int] = field(default_factory=list)
    first_ns: list[int] = field(default_factory=list)
    peak_rss_bytes: list[int] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Measurement:
    """Everything the rounds of one comparison gave. Ignore what is kept of an arm that is in `failed`."""

    samples: list[Samples]
    lives: dict[str, Lives]
    failed: dict[str, WorkerError] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """What a reader should know of how the rounds went."""
        return [
            f"batch {part.batch}: {sum(map(len, part.rows))} rounds in {part.spent_ns / 1e9:.1f} s, "
            f"{part.timed_ns / part.spent_ns:.0%} of it timed calls" + (", cut short by the budget" if part.cut else "")
            for part in self.samples
        ] + [f"starting workers took {sum(sum(lives.load_ns) for lives in self.lives.values()) / 1e9:.1f} s"]
