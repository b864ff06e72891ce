"""What a part of the self-test is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a part may use."""

    artifacts: Path
    """Checkpoints and artifacts, shared with `pytest suites`."""
    scratch: Path
    """An empty folder that goes when the part ends."""
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How often something was so, and how often it has to be."""

    label: str
    k: int
    n: int
    at_least: int | None = None
    at_most: int | None = None
    control: bool = False
    """A positive control: the safety was switched off, so the error must have come back for the limit to hold."""
    note: str = ""
    """What else a reader should know: a median, a reason, what was missed."""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise HarnessError(f"figure {self.label!r}: give it at_least or at_most, one of them")
        if not 0 <= self.k <= self.n or self.n < 1:
            raise HarnessError(f"figure {self.label!r}: {self.k} of {self.n} is no count")

    @property
    def passed(self) -> bool:
        """Whether the limit holds."""
        return self.k >= self.at_least if self.at_least is not None else self.k <= (self.at_most or 0)

    @property
    def verdict(self) -> str:
        """In a word."""
        return "pass" if self.passed else "FAIL"

    @property
    def limit(self) -> str:
        """The limit, in words."""
        return f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}"

    @property
    def interval(self) -> str:
        """Clopper and Pearson's exact 95 % interval of the share."""
        from scipy.stats import binomtest

        found = binomtest(self.k, self.n).proportion_ci(0.95, method="exact")
        return f"[{100 * found.low:.1f}, {100 * found.high:.1f}] %"

    def __str__(self) -> str:
        return f"{self.k} of {self.n} {self.interval} {self.verdict}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One claim of the harness about itself."""

    name: str
    claim: str
    """The figure to hold, in a line."""
    run: Callable[[Given], Iterator[Figure]]
    """Module-level; yields each figure as soon as it is known, one positive control among them."""
    appendix: Callable[[], str] | None = None
    """A table of its own in Markdown, printed below the figures."""
