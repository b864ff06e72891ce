"""The fixture's value: what a suite's test function holds in its hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.case import Case
from harness.spec import Gate

if TYPE_CHECKING:
    from harness.records.schema import Result

SHOWN = 5
"""Flipped rows in a failure's message; the result holds more."""


@dataclass(frozen=True)
class Outcome:
    """A measured case. Its result is on disk already; what is left is to judge it."""

    result: Result
    keep: Callable[[Result], None]
    """Stores the result again, with the gate it was held to."""
    again: str
    """Command that runs this case alone, as it was run."""
    regressions: Callable[[Result], list[str]] = lambda result: []
    """How it fell short of stored runs, proven, in words, where some were named."""
    log: Path | None = None
    """Where the whole story of a failure lies."""

    def meets(self, gate: Gate) -> None:
        """Pass, skip (the combination does not exist), or fail with what fell short and how to reproduce it.

        Evidence that does not suffice fails nothing: the summary warns, and `--ship-require decided` ends with 7.
        """
        import pytest

        from harness.report.cells import harmless
        from harness.verdicts.judge import shortfalls, with_promise

        __tracebackhide__ = True
        result = with_promise(self.result, gate)
        self.keep(result)
        if result.status == "unsupported" and result.error is not None:
            pytest.skip(harmless(result.error.message))
        problems = shortfalls(result) + self.regressions(result)
        if problems:
            log = [f"all of it: {self.log}"] if self.log else []
            told = [*problems, *_collapse(result), *_flips(result), *log, f"again: {self.again}"]
            pytest.fail("\n".join([result.name, *(f"  {harmless(line)}" for line in told)]), pytrace=False)


def _collapse(result: Result) -> Iterator[str]:
    """That the fine-tuning which was measured had led nowhere, if so."""
    from harness.training.seeds import collapse, is_collapsed

    yield from (collapse(seed) for seed in result.seeds[:1] if is_collapsed(seed))


def _flips(result: Result) -> Iterator[str]:
    for flip in result.answers.flips[:SHOWN] if result.answers else ():
        told = f"row {flip.row} is answered differently"
        if flip.label:
            told = f"row {flip.row} is {flip.label}: the reference says {flip.reference}, this {flip.own}"
        yield f"{told}  {flip.text}".rstrip()


@dataclass(frozen=True)
class Bench:
    """Call it with a case: the comparison that the case belongs to is built and measured, once a session."""

    run: Callable[[Case], Outcome]

    def __call__(self, case: Case) -> Outcome:
        """Measure `case`, or return what its comparison found earlier in this session."""
        return self.run(case)
