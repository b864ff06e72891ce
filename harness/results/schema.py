"""What was timed and what was answered: all that verdicts are derived from.

ALSO: What a result contains. Samples and counts are stored; whatever follows from them is derived, elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.contracts.backend import Device
from harness.measure.gpu import GpuReading
from harness.measure.system import Disturbance
from harness.spec import Gate
from harness.util.machine import Environment

PerLaunch = tuple[tuple[int, ...], ...]
"""One tuple a launch, one entry a round."""


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
    own_ns: PerLaunch
    reference_ns: PerLaunch
    control_ns: PerLaunch
    rows: PerLaunch
    """Index, in the test split, of the first row of each round's batch; the others follow in the drawn order."""
    lengths: PerLaunch
    """Elements of one row of the batch's first input: padded tokens of a text, values of an image."""
    arms: int
    """Backends held against the reference in these rounds; the error rate is split over them."""
    tail_ns: tuple[int, ...] = ()
    """Single calls timed after the decision, for percentiles; only where they were asked for."""

    def __post_init__(self) -> None:
        """ValueError for samples that no clock gives, or that cannot be paired."""
        rounds = list(map(len, self.rows))
        for samples in (self.own_ns, self.reference_ns, *([self.control_ns] if self.control_ns else [])):
            if list(map(len, samples)) != rounds:
                raise ValueError("samples and rows must be of the same rounds")
            if any(min(launch, default=1) <= 0 for launch in samples):
                raise ValueError("a sample of zero or less nanoseconds")


@dataclass(frozen=True, kw_only=True)
class Process:
    """What the case's workers said of themselves, one entry a launch."""

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
    peak_vram_bytes: tuple[int, ...] = ()
    """Of the GPU's memory, as its driver tells; empty where it does not, and on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The ends of an interval."""

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
    """Beginning of the row's texts; empty where its inputs are none, and where the rows are the user's own."""


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
    """Share of rows that both answer the same, as far as the metric looks."""
    compared_with: str
    """Backend whose artifact this one was built from; the float form that a lossy one is judged against."""
    source_score: float | None
    source_lost: int
    source_gained: int
    source_agreement: float
    largest_difference: float
    """Between outputs of this backend and `compared_with`, as their kind measures it: of numbers element by element, of
    embeddings one less the cosine, of generated text the tokens that differ in a row."""
    right: str
    """A character a test row, `1` where the answer is right: what models of one task are paired by."""
    flips: tuple[Flip, ...] = ()
    """The first that there are; all of them are in the parquet beside the result."""
    bounds: Bounds | None = None
    """One-sided 95 % bounds of the drop against the reference, by bootstrap; only for a metric that is no share of rows
    right."""
    source_bounds: Bounds | None = None
    score_bounds: Bounds | None = None
    """Two-sided 95 % interval of the score, by bootstrap; only for such a metric, and not in results of before it was
    recorded."""
    others: dict[str, float] = field(default_factory=dict)
    """Score of this backend by the metrics that the task tells beside its own."""
    tokens: tuple[int, ...] = ()
    """Generated for each test row; empty where nothing is generated."""


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
    """The reference's workers in the same launches."""
    series: tuple[Series, ...] = ()
    gate: Gate | None = None
    constraints: Constraints = NO_CONSTRAINTS
    disturbance: Disturbance | None = None
    gpu: tuple[GpuReading, ...] = ()
    """Before and after the rounds of every launch and workload; empty on the CPU, and where no driver tells."""
    seeds: tuple[Seed, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of this run: rounds cut by the budget, a rebuilt artifact, …"""

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.task}/{self.model}.{self.backend}.{self.device}"


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A model on the backend that its comparison recommends."""

    model: str
    backend: str
    score: float | None
    right: str
    """A character a test row, `1` where the answer is right."""
    size_bytes: int
    process: Process | None
    series: tuple[Series, ...]
    """From raw rows to answers, against the first entry's backend in the same rounds."""
    error: str | None = None
    bounds: Bounds | None = None
    """Of the score lost against the first entry; only where that is not counted row by row."""


@dataclass(frozen=True, kw_only=True)
class Finals:
    """One measurement of a task's models. The first entry is the one that others are held against."""

    schema: int = SCHEMA
    task: str
    device: Device
    measurement: str
    inputs: str = ""
    """Fingerprint of the comparisons that these follow from."""
    created: str
    environment: Environment
    metric: str
    test_sha256: str
    max_drop: float | None
    """What the first model's gate lets a backend lose, and so another model."""
    entries: tuple[Finalist, ...]
    absent: dict[str, str]
    """Model → why it has no entry."""
    disturbance: Disturbance | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for answers to other rows than the first model's."""
        if len({len(entry.right) for entry in self.entries}) > 1:
            raise ValueError("models must have answered the same test rows")
