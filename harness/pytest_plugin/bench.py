"""The `bench` fixture's value, the outcome it returns, and the replay of its samples through pytest-benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.spec import Case

if TYPE_CHECKING:
    from harness.results.schema import Result

SHOWN = 5
"""Flipped rows in a failure's message; the result holds more."""
JUDGED = (
    "verdict", "reasons", "recommended", "pareto", "min_score", "max_drop", "min_speedup", "gate_batch", "broken_gate",
)  # fmt: skip
"""Columns that a single case does not decide, or that its test judges by itself."""


@dataclass(frozen=True)
class Outcome:
    """A measured case, already on disk."""

    result: Result
    again: str
    """The command that runs this case alone with the same options."""
    regressions: tuple[str, ...] = ()
    """Proven regressions against the stored runs, one sentence each."""
    log: Path | None = None
    """File with the traceback and the worker's output, if the case failed."""

    def meets(self, *gates: object) -> None:
        """Raise HarnessError: suites of 0.1 called it to judge the outcome."""
        raise HarnessError("bench(case) judges by the case's own gate: delete .meets(…) and declare the gate in MODELS")

    def judge(self) -> None:
        """Pass, skip (the combination does not exist), or fail with every shortfall and the command to reproduce it.

        Insufficient evidence fails nothing: the summary warns, and `--ship-require decided` ends with status 7 or 8.
        """
        import pytest

        from harness.util.text import terminal_safe
        from harness.verdicts.accuracy import collapse_sentence, is_collapsed
        from harness.verdicts.verdict import shortfalls

        __tracebackhide__ = True
        result = self.result
        if result.status == "unsupported" and result.error is not None:
            pytest.skip(terminal_safe(result.error.message))
        problems = [*shortfalls(result), *self.regressions]
        if problems:
            is_trained = result.recipe.get("epochs") != 0
            problems += [collapse_sentence(seed, is_trained) for seed in result.seeds[:1] if is_collapsed(seed)]
            log = [f"full log: {self.log}"] if self.log else []
            lines = [*problems, *_flips(result), *log, f"run it again: {self.again}"]
            pytest.fail("\n".join([result.name, *(f"  {terminal_safe(line)}" for line in lines)]), pytrace=False)


def _flips(result: Result) -> Iterator[str]:
    for flip in result.answers.flips[:SHOWN] if result.answers else ():
        sentence = f"row {flip.row} is answered differently"
        if flip.label:
            sentence = f"row {flip.row} is {flip.label}: the reference says {flip.reference}, this backend {flip.own}"
        yield f"{sentence}  {flip.text}".rstrip()


@dataclass(frozen=True)
class Bench:
    """The `bench` fixture: call it with a case to measure and judge it."""

    run: Callable[[Case], Outcome]

    def __call__(self, case: Case) -> Outcome:
        """Measure `case`, unless its comparison already ran in this session, and judge it by its gate."""
        __tracebackhide__ = True
        outcome = self.run(case)
        outcome.judge()
        return outcome


class ReplayTimer:
    """pytest-benchmark's `timer`: returns recorded samples, so that its tools see them as if it had measured."""

    def __init__(self) -> None:
        self.samples_s: list[float] = []
        self._calls = 0

    def __call__(self) -> float:
        """Return zero at the start of a round, and the round's sample at its end."""
        self._calls += 1
        return 0.0 if self._calls % 2 else self.samples_s[self._calls // 2 - 1]


def replay(benchmark: Any, timer: ReplayTimer, result: Result) -> None:
    """Hand the gate's workload to pytest-benchmark sample by sample, and the table's columns as `extra_info`."""
    if not result.series:
        return
    from harness.verdicts.table import tidy

    timer.samples_s = [sample / 1e9 for launch in result.series[0].own_ns for sample in launch]
    table = tidy([result]).drop(columns=list(JUDGED)).replace([math.inf, -math.inf], math.nan)  # JSON has no infinity
    rows = [{k: v for k, v in row.items() if v is not None and v == v} for row in table.to_dict("records")]
    benchmark.extra_info |= {"shipbench": rows}
    benchmark.pedantic(lambda: None, rounds=len(timer.samples_s), iterations=1)
