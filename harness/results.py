"""What one run of one case found out, and the file it lies in. Samples are stored; summaries are derived."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from harness.environment import Environment
from harness.errors import HarnessError
from harness.spec import Device

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""History: 1, the first."""

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


@dataclass(frozen=True, kw_only=True)
class Process:
    """What the case's workers said of themselves, one entry a start."""

    load_ns: tuple[int, ...]
    """Importing the runtime and loading the artifact, in a fresh process."""
    first_ns: tuple[int, ...]
    """The first call."""
    peak_rss_bytes: tuple[int, ...]
    settings: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The case's answers on the test rows, held against the reference and against the artifact it was built from."""

    rows: int
    score: float
    reference_score: float
    lost: int
    """Rows that the reference has right and this backend wrong."""
    gained: int
    """Rows that this backend has right and the reference wrong."""
    agreement: float
    """Share of rows on which both give the same label."""
    compared_with: str
    """Backend whose artifact this one was built from; the float form that a lossy one is judged against."""
    source_lost: int
    source_gained: int
    source_agreement: float
    largest_difference: float
    """Between outputs, element by element, of this backend and `compared_with`."""


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
    created: str
    """UTC, ISO 8601."""
    environment: Environment
    recipe: dict[str, Any]
    data: Data | None = None
    checkpoint: Built | None = None
    artifact: Built | None = None
    answers: Answers | None = None
    process: Process | None = None
    series: tuple[Series, ...] = ()
    promise: Promise | None = None
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of this run: rounds cut by the budget, a rebuilt artifact, …"""

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.task}/{self.model}.{self.backend}.{self.device}"


def path_of(folder: Path, result: Result) -> Path:
    """Where the result lies under a results folder."""
    return folder / result.environment.machine / f"{result.name}.json"


def save(folder: Path, result: Result) -> Path:
    """Write the result whole or not at all; HarnessError if it could not be read again."""
    path = path_of(folder, result)
    content = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    try:
        msgspec.json.decode(content, type=Result)  # JSON has no NaN: it would come back as null
    except msgspec.ValidationError as error:
        raise HarnessError(f"{result.name}: cannot be stored: {error}") from error
    write_whole(path, content)
    return path


def save_answers(path: Path, answers: pd.DataFrame | None) -> None:
    """Write the answers row by row, as parquet, beside the result at `path`; None removes those of an earlier run."""
    beside = path.with_suffix(".parquet")
    if answers is None:
        beside.unlink(missing_ok=True)
        return
    buffer = io.BytesIO()
    answers.to_parquet(buffer, index=False)
    write_whole(beside, buffer.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def load(path: Path) -> Result:
    """Read a result; HarnessError if it is unreadable or of another schema."""
    try:
        raw = path.read_bytes()
        found = msgspec.json.decode(raw)
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema != SCHEMA:
            raise HarnessError(
                f"{path}: schema {schema}, this version reads {SCHEMA}; run the case again or delete the file"
            )
        return msgspec.json.decode(raw, type=Result)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HarnessError(f"{path}: not a result: {error}; run the case again or delete the file") from error


def load_all(folder: Path) -> Iterator[Result]:
    """Every result under a folder, in the order of their names."""
    for path in sorted(folder.rglob("*.json")):
        yield load(path)
