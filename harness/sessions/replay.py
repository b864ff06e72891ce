"""Recorded samples, played back through pytest-benchmark."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.records.schema import Result


class Replay:
    """pytest-benchmark's `timer`: gives recorded samples back, so that its tools see them as if it had measured."""

    def __init__(self) -> None:
        self.samples_s: list[float] = []
        self._calls = 0

    def __call__(self) -> float:
        """Zero at the start of a round, the round's sample at its end."""
        self._calls += 1
        return 0.0 if self._calls % 2 else self.samples_s[self._calls // 2 - 1]


def replay(benchmark: Any, timer: Replay, result: Result) -> None:
    """Hand the gate's workload to pytest-benchmark sample by sample, and what else is known as `extra_info`."""
    if not result.series:
        return
    from harness.records.tidy import tidy

    timer.samples_s = [sample / 1e9 for start in result.series[0].own_ns for sample in start]
    # What is judged later, or among others, is not known yet; and JSON has no infinity.
    known = tidy([result]).drop(
        columns=["verdict", "reasons", "chosen", "undominated", "floor", "max_loss", "min_speedup", "broken_gate"]
    )
    rows = known.replace([math.inf, -math.inf], math.nan).to_dict("records")
    benchmark.extra_info |= {"shipbench": [{k: v for k, v in row.items() if v is not None and v == v} for row in rows]}
    benchmark.pedantic(_nothing, rounds=len(timer.samples_s), iterations=1)


def _nothing() -> None:
    """What pytest-benchmark calls between two readings of the replayed clock."""
