"""What a result contains. Samples and counts are stored; whatever follows from them is derived, elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.contracts import Device
from harness.environment import Environment
from harness.records.evidence import Answers, Process, Series
from harness.rounds.disturbance import Disturbance
from harness.rounds.gpu import Look

SCHEMA = 2
"""History: 1, the first; 2, rounds until decided, phases, flips, disturbance."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The task's rows."""

    source: str
    source_sha256: str
    """Of its files; of a repository the commit."""
    kind: str
    metric: str
    labels: tuple[str, ...]
    sizes: dict[str, int]
    sha256: dict[str, str]
    duplicates: int
    inputs: tuple[str, ...] = ()
    """Columns that the model is given; empty in results of before they were recorded."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A checkpoint or an artifact: its fingerprint, its size, and what its builder recorded."""

    key: str
    size_bytes: int
    seconds: float
    """Wall time it took, here or in an earlier session."""
    info: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Where a case ended, and why."""

    stage: str
    message: str
    status: Literal["failed", "unsupported"] = "failed"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The gate the suite held the case to."""

    floor: float
    max_loss: float
    min_speedup: float | None = None


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What a backend must keep to be recommended; of the run, not of a suite."""

    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None


NO_CONSTRAINTS = Constraints()


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The reference's score after fine-tuning with one seed; the first of a result is the one that was measured."""

    seed: int
    score: float | None
    majority: float | None = None
    """Score of always answering the most frequent label of the test rows; None where rows have no labels."""
    frequent: str | None = None
    """That label."""
    only: str | None = None
    """The label of every answer, where all answers are one label."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case, one run. `status` says how far it came; what a failed case did find out stays."""

    schema: int = SCHEMA
    task: str
    model: str
    backend: str
    device: Device
    status: Literal["ok", "failed", "unsupported"]
    error: Failure | None = None
    measurement: str
    """Identifies the rounds; samples of different measurements are never paired."""
    inputs: str = ""
    """Fingerprint of the code, declarations and options that the comparison was made of."""
    created: str
    """UTC, ISO 8601."""
    environment: Environment
    recipe: dict[str, Any]
    data: Data | None = None
    checkpoint: Built | None = None
    artifact: Built | None = None
    answers: Answers | None = None
    process: Process | None = None
    reference_process: Process | None = None
    """The reference's workers in the same starts."""
    series: tuple[Series, ...] = ()
    promise: Promise | None = None
    constraints: Constraints = NO_CONSTRAINTS
    disturbance: Disturbance | None = None
    gpu: tuple[Look, ...] = ()
    """Before and after the rounds of every start and workload; empty on the CPU, and where no driver tells."""
    seeds: tuple[Seed, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of this run: rounds cut by the budget, a rebuilt artifact, …"""

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.task}/{self.model}.{self.backend}.{self.device}"
