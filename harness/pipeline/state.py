"""The values that pass through the pipeline: the comparison, its options, the state so far, and a failed stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from harness.contracts.backend import Backend, Device, Target
from harness.data.inputs import Inputs
from harness.data.splits import Split
from harness.errors import HarnessError, Unsupported
from harness.evaluation.predictions import Evaluation
from harness.measure.samples import Measurement, Settings
from harness.results.schema import NO_CONSTRAINTS, Constraints, Failure, Seed
from harness.spec import Case
from harness.util.machine import Environment
from harness.util.remote import Remote
from harness.util.store import Entry
from harness.util.text import error_text, error_trace

Stage = Literal[
    "device", "data", "train", "environment", "build", "answer", "parity", "measure", "record", "finals"
]  # fmt: skip
"""The stages in their order, as a failure on record names them. Backends build, answer and pass parity one by one."""


@dataclass(frozen=True)
class Comparison:
    """The selected cases that share task, model and device; the pipeline adds the reference and its control."""

    cases: tuple[Case, ...]
    folder: Path
    """The suite's folder: native modules are looked up from here."""
    fingerprint: str = ""
    """Fingerprint of everything the comparison consists of, for a later session that resumes this one."""


@dataclass(frozen=True)
class Options:
    """The command line's decisions for a whole session."""

    artifacts: Path
    machine: str
    threads: int
    spinning: bool
    launches: int
    budget_s: float
    timeout_s: float
    retrain: bool
    tail: int = 0
    batches: tuple[int, ...] = ()
    """Batch sizes in the place of those that tasks declare; empty for those."""
    constraints: Constraints = NO_CONSTRAINTS
    seeds: int = 1
    """Number of fine-tunings of each model, the recipe's own seed first; only that one is measured."""
    remote: Remote | None = None
    """Place outside this machine that has checkpoints, too."""

    def target(self, device: Device) -> Target:
        """Return where and how workers run."""
        return Target(device, self.threads, self.spinning)

    def settings(self, device: Device) -> Settings:
        """Return the settings of the rounds."""
        return Settings(
            self.target(device), self.launches, budget_s=self.budget_s, timeout_s=self.timeout_s, tail=self.tail
        )


@dataclass(frozen=True)
class Prepared:
    """A backend that is ready to be measured."""

    backend: Backend
    """With an interpreter for every environment that it names."""
    artifact: Entry
    scored: Evaluation


@dataclass
class State:
    """Everything a comparison has produced so far. After a failure, the part that exists goes into the results."""

    comparison: Comparison
    options: Options
    environment: Environment
    measurement_id: str = field(default_factory=lambda: uuid4().hex[:12])
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    split: Split | None = None
    test: Inputs | None = None
    """The test rows, encoded."""
    checkpoint: Entry | None = None
    prepared: dict[str, Prepared] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)
    """Failed backend → traceback and worker output."""
    measurement: Measurement | None = None
    notes: list[str] = field(default_factory=list)
    seeds: tuple[Seed, ...] = ()

    def fail(self, name: str, stopped: Stopped) -> None:
        """Note a backend's failure; the first one stays."""
        if name not in self.failures:
            self.failures[name], self.traces[name] = stopped.failure, stopped.trace

    def fail_all(self, stopped: Stopped) -> None:
        """Note one failure for every case of the comparison that has none."""
        for case in self.comparison.cases:
            self.fail(case.backend.name, stopped)


class Stopped(HarnessError):
    """A stage ended without the result that the next one needs."""

    def __init__(self, failure: Failure, trace: str = "") -> None:
        super().__init__(failure.message)
        self.failure, self.trace = failure, trace


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Turn every exception of a stage, a library's included, into a failure that goes on record."""
    try:
        yield
    except Stopped:
        raise
    except (Exception, SystemExit) as error:  # some libraries are commands, and exit
        status: Literal["failed", "unsupported"] = "unsupported" if isinstance(error, Unsupported) else "failed"
        raise Stopped(Failure(stage=name, message=error_text(error), status=status), error_trace(error)) from error
