"""The fixture's value: what a suite's test function holds in its hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.spec import Case, Gate

if TYPE_CHECKING:
    from harness.results import Result


@dataclass(frozen=True)
class Outcome:
    """A measured case. Its result is on disk already; what is left is to judge it."""

    result: Result
    keep: Callable[[Result], None]
    """Stores the result again, with the gate it was held to."""

    def meets(self, gate: Gate) -> None:
        """Pass, skip (the combination does not exist), or fail with what fell short and how to reproduce it."""
        import pytest

        from harness.judge import shortfalls, with_promise

        __tracebackhide__ = True
        result = with_promise(self.result, gate)
        self.keep(result)
        if result.status == "unsupported" and result.error is not None:
            pytest.skip(result.error.message)
        problems = shortfalls(result)
        if problems:
            again = f"pytest -k {result.name}"
            pytest.fail(
                "\n".join([str(result.name), *(f"  {line}" for line in problems), f"  again: {again}"]), pytrace=False
            )


@dataclass(frozen=True)
class Bench:
    """Call it with a case: the comparison that the case belongs to is built and measured, once a session."""

    run: Callable[[Case], Outcome]

    def __call__(self, case: Case) -> Outcome:
        """Measure `case`, or return what its comparison found earlier in this session."""
        return self.run(case)
