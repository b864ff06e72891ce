"""Figures, and the parts that yield them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError
from harness.stats.intervals import rare_event_bound
from harness.util.console import Progress

SEED = 20_240
"""Seed of every random generator, together with the name of its use."""
WORKER_TIMEOUT_S = 60.0


class Workspace(NamedTuple):
    """Folders and progress display of one part."""

    artifacts: Path
    """Checkpoints and artifacts, shared with `pytest suites`."""
    scratch: Path
    """An empty folder, removed when the part ends."""
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A count of outcomes and the limit that it must keep."""

    label: str
    k: int
    n: int
    at_least: int | None = None
    at_most: int | None = None
    control: bool = False
    """A positive control: the safety is switched off, and the limit holds only if the error returns."""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise HarnessError(f"figure {self.label!r}: give either at_least or at_most")
        if not 0 <= self.k <= self.n or self.n < 1:
            raise HarnessError(f"figure {self.label!r}: {self.k} of {self.n} is not a valid count")

    @property
    def passed(self) -> bool:
        """True if the limit holds."""
        return self.k >= self.at_least if self.at_least is not None else self.k <= (self.at_most or 0)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table. The interval of the share is Clopper and Pearson's, exact."""
        low, high = 1 - rare_event_bound(self.n - self.k, self.n, 0.975), rare_event_bound(self.k, self.n, 0.975)
        return (
            self.label,
            "control" if self.control else "figure",
            f"{self.k} of {self.n}",
            f"[{100 * low:.1f}, {100 * high:.1f}] %",
            f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}",
            "pass" if self.passed else "**FAIL**",
            self.note.replace("\n", " ").replace("|", "\\|"),
        )


def count(
    label: str,
    outcomes: Iterable[bool],
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    control: bool = False,
    note: str = "",
) -> Figure:
    """Count the true outcomes. Without a limit, all of them have to be true."""
    counted = list(outcomes)
    if at_most is None and at_least is None:
        at_least = len(counted)
    k, n = sum(counted), len(counted)
    return Figure(label=label, k=k, n=n, at_least=at_least, at_most=at_most, control=control, note=note)


Run = Callable[[Workspace], Iterator[Figure]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One claim of the harness about itself."""

    name: str
    claim: str
    run: Run
    """Yields each figure as soon as it is measured, among them at least one positive control."""


def part(name: str, claim: str) -> Callable[[Run], Part]:
    """Make a part of the function that yields its figures."""
    return lambda run: Part(name=name, claim=claim, run=run)
