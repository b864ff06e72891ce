"""Figures, and the parts that yield them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from harness.errors import HarnessError
from harness.util.console import Progress


@dataclass(frozen=True, kw_only=True)
class Workspace:
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
    def verdict(self) -> str:
        """`pass` or `FAIL`."""
        return "pass" if self.passed else "FAIL"

    @property
    def limit(self) -> str:
        """The limit in words."""
        return f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}"

    @property
    def interval(self) -> str:
        """Clopper and Pearson's exact 95 % interval of the share."""
        interval = binomtest(self.k, self.n).proportion_ci(0.95, method="exact")
        return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}] %"

    def __str__(self) -> str:
        return f"{self.k} of {self.n} {self.interval} {self.verdict}"


def every(label: str, outcomes: Iterable[bool], *, control: bool = False, note: str = "") -> Figure:
    """Require every outcome to be true."""
    counted = list(outcomes)
    return Figure(label=label, k=sum(counted), n=len(counted), at_least=len(counted), control=control, note=note)


def at_least(limit: int, label: str, outcomes: Iterable[bool], *, control: bool = False, note: str = "") -> Figure:
    """Require `limit` outcomes or more to be true."""
    counted = list(outcomes)
    return Figure(label=label, k=sum(counted), n=len(counted), at_least=limit, control=control, note=note)


def at_most(limit: int, label: str, outcomes: Iterable[bool], *, control: bool = False, note: str = "") -> Figure:
    """Require `limit` outcomes or fewer to be true."""
    counted = list(outcomes)
    return Figure(label=label, k=sum(counted), n=len(counted), at_most=limit, control=control, note=note)


Run = Callable[[Workspace], Iterator[Figure]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One claim of the harness about itself."""

    name: str
    claim: str
    run: Run
    """Yields each figure as soon as it is known, among them at least one positive control."""
    appendix: Callable[[], str] | None = None
    """A Markdown table to print below the figures."""


def part(name: str, claim: str, appendix: Callable[[], str] | None = None) -> Callable[[Run], Part]:
    """Make a part of the function that yields its figures."""
    return lambda run: Part(name=name, claim=claim, run=run, appendix=appendix)
