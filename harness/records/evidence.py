"""What was timed and what was answered: all that verdicts are derived from."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        rounds = list(map(len, self.rows))
        for samples in (self.own_ns, self.reference_ns, *([self.control_ns] if self.control_ns else [])):
            if list(map(len, samples)) != rounds:
                raise ValueError("samples and rows must be of the same rounds")
            if any(min(start, default=1) <= 0 for start in samples):
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
    """One-sided 95 % bounds of the loss against the reference, by bootstrap; only for a metric that is no share of rows
    right."""
    source_bounds: Bounds | None = None
    score_bounds: Bounds | None = None
    """Two-sided 95 % interval of the score, by bootstrap; only for such a metric, and not in results of before it was
    recorded."""
    others: dict[str, float] = field(default_factory=dict)
    """Score of this backend by the metrics that the task tells beside its own."""
    tokens: tuple[int, ...] = ()
    """Generated for each test row; empty where nothing is generated."""
