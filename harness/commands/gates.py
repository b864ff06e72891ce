"""Floors for a suite's gates: every model fine-tuned with several seeds, and what their scores allow to be promised."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

import pandas as pd

from harness.commands.collection import collect
from harness.contracts.backend import Target
from harness.errors import HarnessError
from harness.pytest_plugin.options import MOST_THREADS
from harness.report import cells
from harness.results.schema import Seed
from harness.spec import Case
from harness.util import text
from harness.util.console import Progress
from harness.util.machine import usable_cores
from harness.verdicts.seeds import CONFIDENCE, ENOUGH, Proposal, collapse, is_collapsed, propose, sound

TIMEOUT_S = 300.0

AS_IT_IS = "used as it is, so that nothing is drawn: it scores this every time"


@dataclass(frozen=True)
class Line:
    """What is known of one task/model pair."""

    case: Case
    """One of the pair's cases; its gate is the present one."""
    seeds: tuple[Seed, ...]
    failed: tuple[str, ...]
    """What became of the seeds that have no score, in words."""

    @property
    def proposal(self) -> Proposal:
        """The floor that the seeds allow."""
        if self.case.model.is_as_it_is:
            return Proposal(tuple(sound(self.seeds)), None, None, AS_IT_IS)
        return propose(self.seeds, self.case.gate.max_drop if self.case.gate else 0.0)


def floors(
    suite: str, seeds: int, expression: str | None = None, artifacts: Path | None = None, threads: int | None = None
) -> list[Line]:
    """Fine-tune every task/model pair of the suite with `seeds` seeds, the recipe's own first; kept ones are reused.

    HarnessError for what can be known to be wrong before training.
    """
    if seeds < 1:
        raise HarnessError(f"--seeds {seeds}: must be positive")
    if threads is not None and not 1 <= threads <= usable_cores():
        raise HarnessError(f"--ship-threads {threads}: this process may use {usable_cores()} cores")
    found = collect(suite, expression)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before anything loads OpenMP; see ShipSession.begin
    from harness.pytest_plugin.preflight import check_cases

    check_cases(found.cases)
    pairs = {(case.task, case.model): (case, folder) for case, folder in reversed(found.cases)}
    return [
        _line(case, folder, seeds, artifacts or found.artifacts, threads or min(usable_cores(), MOST_THREADS))
        for case, folder in reversed(pairs.values())
    ]


def _line(case: Case, folder: Path, seeds: int, artifacts: Path, threads: int) -> Line:
    from harness.artifacts.cache import Artifacts
    from harness.data import splits
    from harness.pipeline.prepare import fine_tunings
    from harness.util.store import Store

    progress = Progress(sys.stderr if sys.stderr.isatty() else None, log=sys.stderr)
    failed: list[str] = []
    shop = Artifacts(
        task=case.task,
        model=case.model,
        folder=folder,
        target=Target("cpu", threads),
        store=Store(artifacts, progress.say),
        progress=progress,
        timeout_s=TIMEOUT_S,
        retrain=False,
    )
    first = case.model.recipe.seed
    made = []
    draws = range(first, first + (1 if case.model.is_as_it_is else seeds))
    for seed in fine_tunings(shop, splits.load(case.task, folder), draws, failed.append):
        made.append(seed)
        progress.say(f"{case.task.name}/{case.model.name}: seed {seed.seed} scores {seed.score}")
    return Line(case, tuple(made), tuple(failed))


def proposals(lines: Sequence[Line]) -> str:
    """The table of floors, and below it what it does not hold."""
    view = pd.DataFrame([_row(line) for line in lines])
    aligned = ["left", "left", *["right"] * (len(view.columns) - 3), "left"]
    told = [_rule()]
    for line in lines:
        said = [collapse(seed) + "; it is left out of the proposal" for seed in line.seeds if is_collapsed(seed)]
        why = [f"no floor: {line.proposal.why}"] if line.proposal.why else []
        told += [f"{_pair(line)}: {text.one_line(sentence)}" for sentence in (*said, *line.failed, *why)]
    table = view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=aligned)
    return "\n".join([table, "", *told])


def _pair(line: Line) -> str:
    return f"{line.case.task.name}/{line.case.model.name}"


def _row(line: Line) -> dict[str, str]:
    found, gate = line.proposal, line.case.gate
    scores = found.scores
    return {
        "task": line.case.task.name,
        "model": line.case.model.name,
        "seeds": str(len(scores)),
        "lowest": cells.number(min(scores, default=None), decimals=4),
        "median": cells.number(median(scores) if scores else None, decimals=4),
        "highest": cells.number(max(scores, default=None), decimals=4),
        "sd": cells.number(stdev(scores) if len(scores) > 1 else None, decimals=4),
        f"{100 * CONFIDENCE:.0f} % bound": cells.number(found.bound, decimals=4),
        "allowed drop": cells.number(gate.max_drop if gate else None, decimals=3),
        "proposed floor": cells.number(found.min_score, decimals=3),
        "present floor": cells.number(gate.min_score if gate else None, decimals=3),
        "": _caveat(line),
    }


def _caveat(line: Line) -> str:
    if line.case.model.is_as_it_is:
        return "as it is: nothing is drawn"
    return f"provisional: under {ENOUGH} seeds" if line.proposal.provisional else ""


def _rule() -> str:
    return (
        f"A floor lies under the next run with {100 * CONFIDENCE:.0f} % confidence (mean - t * sd * sqrt(1 + 1/n), "
        "n - 1 degrees of freedom), less the drop that every backend is allowed, rounded down to 0.005."
    )
