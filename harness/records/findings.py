"""What is known of a comparison by now."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.accuracy.answers import Scored
from harness.cache import Entry
from harness.contracts import Backend
from harness.dataset.data import Split
from harness.dataset.inputs import Inputs
from harness.environment import Environment
from harness.records.schema import NO_CONSTRAINTS, Constraints, Failure, Seed
from harness.rounds.samples import Measurement


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
