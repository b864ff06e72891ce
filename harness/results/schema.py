"""The contents of a result: samples and counts. Everything that follows from them is derived, in `verdicts`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.contracts.backend import Device
from harness.measure.gpu import GpuReading
from harness.measure.system import Disturbance, Window
from harness.spec import Gate
from harness.util.machine import Environment

SCHEMA = 3
"""1: the first. 2: rounds until decided, phases, flips, disturbance. 3: the words gate, drop and launch."""
PerLaunch = tuple[tuple[int, ...], ...]
"""One tuple per launch, one entry per round."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The task given to every arm in a series; part of the identity of every timing."""

    batch: int
    threads: int
    order_seed: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """Samples of one workload, in nanoseconds per call, from the same rounds for all three arms."""

    workload: Workload
    loops: int
    """Calls in a block; a sample is the block's time divided by it."""
    own_ns: PerLaunch
    reference_ns: PerLaunch
    control_ns: PerLaunch
    """Empty if the control failed."""
    rows: PerLaunch
    """Index, in the test split, of the first row of each round's batch; the others follow in the drawn order."""
    lengths: PerLaunch
    """Elements of one row of the batch's first input: padded tokens of a text, values of an image."""
    arms: int
    """Backends compared with the reference in these rounds; the error rate is split over them."""
    first_token_ns: PerLaunch = ()
    """Time until the first token of one call a round; empty unless text is written step by step."""
    tail_ns: tuple[int, ...] = ()
    """Single calls timed after the decision, for percentiles; only with `--ship-tail`."""

    def __post_init__(self) -> None:
        """Raise ValueError for samples that no clock gives, or that cannot be paired."""
        rounds = list(map(len, self.rows))
        for samples in (self.own_ns, self.reference_ns, *([self.control_ns] if self.control_ns else [])):
            if list(map(len, samples)) != rounds:
                raise ValueError("samples and rows must be of the same rounds")
            if any(min(launch, default=1) <= 0 for launch in samples):
                raise ValueError("a sample of zero or less nanoseconds")


@dataclass(frozen=True, kw_only=True)
class Process:
    """Figures that an arm's workers report, one entry per launch."""

    import_ns: tuple[int, ...]
    load_ns: tuple[int, ...]
    """Loading the artifact, without imports."""
    compile_ns: tuple[int, ...]
    """Preparing for a batch's shapes; zero for a backend that does not compile."""
    first_ns: tuple[int, ...]
    peak_rss_bytes: tuple[int, ...]
    settings: dict[str, str]
    peak_vram_bytes: tuple[int, ...] = ()
    """GPU memory as the driver reports it; empty on the CPU and without such a driver."""


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
    """Beginning of the row's texts; empty for other inputs, and where results may not quote the rows."""


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """The test rows that have one label, and how they are answered.

    Where each word has a label, a row counts by the share of the label's words in it: 2 of 4 words lost are half a row.
    """

    label: str
    rows: int
    """Zero for a label that is only answered."""
    correct: float
    """Rows that the reference answers correctly."""
    lost: float
    gained: float
    answered: int
    """Answers of this backend, right or wrong; `reference_answered` are the reference's."""
    reference_answered: int


Constant = Literal["", "output", "answer"]
"""The part of the output that is the same for every test row although the correct answers differ: all numbers, or
    just the answer."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The case's answers on the test rows, compared with the reference and with the artifact it was built from."""

    rows: int
    score: float | None
    """None where the metric is undefined on these rows."""
    reference_score: float | None
    lost: int
    """Rows that only the reference answers correctly; `gained` are those that only this backend does."""
    gained: int
    agreement: float
    """Share of rows that both answer alike, as far as the metric looks."""
    compared_with: str
    """Backend whose artifact this one was built from: the float form that a lossy one is judged against."""
    source_score: float | None
    source_lost: int
    source_gained: int
    source_agreement: float
    largest_difference: float
    """Between outputs of this backend and `compared_with`, as their kind measures it: numbers element by element,
    embeddings as one minus the cosine, generated text as the tokens that differ in a row."""
    correct: str
    """One character per test row, `1` where the answer is correct: models of one task are paired by it."""
    flips: tuple[Flip, ...] = ()
    """The first; the parquet beside the result has all of them."""
    drop_bounds: Bounds | None = None
    """One-sided 95 % bounds of the drop against the reference, by bootstrap; only for a metric that counts no rows."""
    source_drop_bounds: Bounds | None = None
    score_bounds: Bounds | None = None
    """Two-sided 95 % interval of the score, by bootstrap; only for such a metric, and absent from older results."""
    other_scores: dict[str, float] = field(default_factory=dict)
    """Metric → score, for the task's further metrics."""
    tokens: tuple[int, ...] = ()
    """Tokens generated for each test row; empty where nothing is generated."""
    parted: tuple[int, ...] | None = None
    """Place of the first token, from 1 on, that is not the reference's; one entry a test row that has such. None where
    no text is generated, and in older results."""
    labels: tuple[LabelRows, ...] = ()
    """One entry a label that some test row has or some answer gives; empty for kinds without labels, and in older
    results."""
    constant: Constant = ""
    reference_constant: Constant = ""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The task's rows."""

    source: str
    source_sha256: str
    """Digest of its files; for a repository, the commit."""
    kind: str
    metric: str
    labels: tuple[str, ...]
    sizes: dict[str, int]
    sha256: dict[str, str]
    duplicates: int
    inputs: tuple[str, ...] = ()
    """Columns that the model reads; empty in older results."""
    readings: dict[str, str] = field(default_factory=dict)
    """Metric → what it assumed of the rows, in words: the label, the order, the scheme or the tokenizer."""

    @property
    def read_metric(self) -> str:
        """The metric with what it assumed of the rows: "f1 of 'fault'"."""
        return f"{self.metric} {self.readings.get(self.metric, '')}".strip()


@dataclass(frozen=True, kw_only=True)
class Built:
    """A checkpoint or an artifact: its fingerprint, its size, and its builder's record."""

    key: str
    size_bytes: int
    seconds: float
    """Wall time of the build, in this or an earlier session."""
    info: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The stage at which a case ended, and why."""

    stage: str
    message: str
    status: Literal["failed", "unsupported"] = "failed"


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Limits that a recommended backend must keep; set per run, not by a suite."""

    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None


NO_CONSTRAINTS = Constraints()


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The reference's score after fine-tuning with one seed; the first of a result is the measured one."""

    seed: int
    score: float | None
    majority_score: float | None = None
    """Score of always answering the most frequent label of the test rows; None where rows have no labels."""
    majority_label: str | None = None
    only_label: str | None = None
    """The label of every answer, if all answers are the same."""
    beats_chance: bool | None = None
    """True if the answers agree with the correct ones more often than shuffled ones would; None in older results."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One case, one run. A failed case keeps everything that came before its failure."""

    schema: int = SCHEMA
    task: str
    model: str
    backend: str
    device: Device
    status: Literal["ok", "failed", "unsupported"]
    error: Failure | None = None
    measurement: str
    """Identifies the rounds; samples of different measurements are never paired."""
    fingerprint: str = ""
    """Fingerprint of the code, declarations and options behind the comparison; `--ship-resume` compares it."""
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
    windows: tuple[Window, ...] = ()
    """When each launch measured, and on which host; empty in older results."""
    disturbance: Disturbance | None = None
    gpu: tuple[GpuReading, ...] = ()
    """Before and after the rounds of every launch and workload; empty on the CPU and without such a driver."""
    seeds: tuple[Seed, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks for the reader: rounds cut by the budget, a rebuilt artifact, …"""
    shards: tuple[tuple[str, ...], ...] = ()
    """Tasks of every shard of its run, if that was split into several; `shipbench merge` misses the absent ones."""

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.task}/{self.model}.{self.backend}.{self.device}"

    @property
    def stored_name(self) -> str:
        """Machine and case: where its file lies in a folder of results, but for the ending."""
        return f"{self.environment.machine}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A model on the backend that its comparison recommends."""

    model: str
    backend: str
    score: float | None
    correct: str
    size_bytes: int
    process: Process | None
    series: tuple[Series, ...]
    """From raw rows to answers, against the first entry's backend in the same rounds."""
    error: str | None = None
    drop_bounds: Bounds | None = None
    """Against the first entry; only for a metric that counts no rows."""


@dataclass(frozen=True, kw_only=True)
class Finals:
    """One measurement of a task's models. The first entry is the reference of the others."""

    schema: int = SCHEMA
    task: str
    device: Device
    measurement: str
    fingerprint: str = ""
    """Fingerprint of the comparisons behind these finals."""
    created: str
    environment: Environment
    metric: str
    test_sha256: str
    max_drop: float | None
    """The first model's gate: another model may not drop more."""
    entries: tuple[Finalist, ...]
    absent: dict[str, str]
    """Model → why it has no entry."""
    windows: tuple[Window, ...] = ()
    disturbance: Disturbance | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for answers to different rows."""
        if len({len(entry.correct) for entry in self.entries}) > 1:
            raise ValueError("models must have answered the same test rows")
