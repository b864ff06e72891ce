"""What the pipeline is asked for: a comparison, and the options it is measured with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.contracts.backend import Device, Target
from harness.measure.samples import BATCHES, Settings
from harness.results.schema import NO_CONSTRAINTS, Constraints
from harness.spec import Case


@dataclass(frozen=True)
class Comparison:
    """The selected cases that share task, model and device; the reference and its control come by themselves."""

    cases: tuple[Case, ...]
    folder: Path
    """The suite's: native modules are found from here."""
    inputs: str = ""
    """Fingerprint of what it is made of, for a session that would resume this one."""


@dataclass(frozen=True)
class Options:
    """What the command line decides for a whole session."""

    artifacts: Path
    machine: str
    threads: int
    spinning: bool
    launches: int
    budget_s: float
    timeout_s: float
    retrain: bool
    tail: int = 0
    batches: tuple[int, ...] = BATCHES
    """Workloads by size; the first is the gate's."""
    constraints: Constraints = NO_CONSTRAINTS
    seeds: int = 1
    """Each model is fine-tuned with so many, the recipe's own first; that one is measured."""

    def target(self, device: Device) -> Target:
        """Where and how workers run."""
        return Target(device, self.threads, self.spinning)

    def settings(self, device: Device) -> Settings:
        """How rounds are measured."""
        return Settings(
            self.target(device), self.launches, budget_s=self.budget_s, timeout_s=self.timeout_s, tail=self.tail
        )
