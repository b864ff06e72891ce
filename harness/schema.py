"""What a result contains. Samples and counts are stored; whatever follows from them is derived, elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.disturbance import Disturbance
from harness.environment import Environment
from harness.spec import Device

SCHEMA = 2
"""History: 1, the first; 2, rounds until decided, phases, flips, disturbance."""

PerStart = tuple[tuple[int, ...], ...]
"""One tuple a start, one entry a round."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What was asked of every backend; part of the identity of every timing."""

    batch: int
    threads: int
    order_seed: int
    """Seeds the order in which test rows are drawn."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Samples of one workload: nanoseconds a call, of the same rounds for all three arms."""

    workload: Workload
    loops: int
    """Calls in a block; a sample is the block's time divided by it."""
    own_ns: PerStart
    reference_ns: PerStart
    control_ns: PerStart
    rows: PerStart
    """Index, in the test split, of the first row of each round's batch; the others follow in the drawn order."""
    lengths: PerStart
    """Elements of one row of the batch's first input: padded tokens of a text, values of an image."""
    arms: int
    """Backends held against the reference in these rounds; the error rate is split over them."""
    tail_ns: tuple[int, ...] = ()
    """Single calls timed after the decision, for percentiles; only where they were asked for."""

    def __post_init__(self) -> None:
        """ValueError for samples that no clock gives, or that cannot be paired."""
        for samples in (self.own_ns, self.reference_ns, *([self.control_ns] if self.control_ns else [])):
            if [len(start) for start in samples] != [len(start) for start in self.rows]:
                raise ValueError("samples and rows must be of the same rounds")
            if any(sample <= 0 for start in samples for sample in start):
                raise ValueError("a sample of zero or less nanoseconds")


@dataclass(frozen=True, kw_only=True)
class Process:
    """What the case's workers said of themselves, one entry a start."""

    import_ns: tuple[int, ...]
    """Importing the runtime, in a fresh process."""
    load_ns: tuple[int, ...]
    """Loading the artifact, imports aside."""
    compile_ns: tuple[int, ...]
    """Preparing for a batch's shapes; zero for a backend that does not compile."""
    first_ns: tuple[int, ...]
    """The first answer after that."""
    peak_rss_bytes: tuple[int, ...]
    settings: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """One-sided 95 % bounds of a loss."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A test row that this backend and the reference answer differently."""

    row: int
    label: str
    reference: str
    own: str
    text: str
    """Beginning of the row's texts; empty where its inputs are none."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The case's answers on the test rows, held against the reference and against the artifact it was built from."""

    rows: int
    score: float | None
    """None where the metric is undefined on these rows."""
    reference_score: float | None
    lost: int
    """Rows that the reference has right and this backend wrong."""
    gained: int
    """Rows that this backend has right and the reference wrong."""
    agreement: float
    """Share of rows on which both give the same label."""
    compared_with: str
    """Backend whose artifact this one was built from; the float form that a lossy one is judged against."""
    source_score: float | None
    source_lost: int
    source_gained: int
    source_agreement: float
    largest_difference: float
    """Between outputs, element by element, of this backend and `compared_with`."""
    right: str
    """A character a test row, `1` where the answer is right: what models of one task are paired by."""
    flips: tuple[Flip, ...] = ()
    """The first that there are; all of them are in the parquet beside the result."""
    bounds: Bounds | None = None
    """Of the loss against the reference, by bootstrap; only for a metric that is no mean over rows."""
    source_bounds: Bounds | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """The task's rows."""

    source: str
    source_sha256: str
    kind: str
    metric: str
    labels: tuple[str, ...]
    sizes: dict[str, int]
    sha256: dict[str, str]
    duplicates: int


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
    majority: float
    """Score of always answering the most frequent label of the test rows."""
    frequent: str
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
    seeds: tuple[Seed, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of this run: rounds cut by the budget, a rebuilt artifact, …"""

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.task}/{self.model}.{self.backend}.{self.device}"
