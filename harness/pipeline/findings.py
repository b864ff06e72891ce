"""What is known of a comparison by now."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.contracts.backend import Backend
from harness.data.inputs import Inputs
from harness.data.splits import Split
from harness.evaluation.predictions import Scored
from harness.measure.samples import Measurement
from harness.results.schema import NO_CONSTRAINTS, Constraints, Failure, Seed
from harness.util.machine import Environment
from harness.util.store import Entry


@dataclass(frozen=True)
class Contender:
    """A backend that is ready to be measured."""

    backend: Backend
    """At home: with an interpreter for every environment that it names."""
    artifact: Entry
    scored: Scored


@dataclass
class Findings:
    """What is known so far; whatever a failure leaves here goes into the results."""

    measurement_id: str
    environment: Environment
    created: str
    folder: Path
    """The suite's."""
    split: Split | None = None
    test: Inputs | None = None
    """The test rows, encoded."""
    checkpoint: Entry | None = None
    contenders: dict[str, Contender] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)
    """Backend that failed → the whole story."""
    measurement: Measurement | None = None
    notes: list[str] = field(default_factory=list)
    constraints: Constraints = NO_CONSTRAINTS
    seeds: tuple[Seed, ...] = ()
    inputs: str = ""

    def fail(self, name: str, why: Failure, trace: str) -> None:
        """Note why a backend has nothing to say; what was noted first stays."""
        if name not in self.failures:
            self.failures[name], self.traces[name] = why, trace
