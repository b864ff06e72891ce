"""Floors for a suite's gates: every model fine-tuned with several seeds, and what their scores allow to be promised."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.case import Case
from harness.commands.collection import collect
from harness.contracts import Target
from harness.environment import usable_cores
from harness.errors import HarnessError
from harness.options import MOST_THREADS
from harness.progress import Progress
from harness.records.schema import Seed
from harness.training.proposal import Proposal, propose
from harness.training.seeds import sound

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
        return propose(self.seeds, self.case.gate.max_loss if self.case.gate else 0.0)


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
    from harness.sessions.preflight import check_cases

    check_cases(found.cases)
    pairs = {(case.task, case.model): (case, folder) for case, folder in reversed(found.cases)}
    return [
        _line(case, folder, seeds, artifacts or found.artifacts, threads or min(usable_cores(), MOST_THREADS))
        for case, folder in reversed(pairs.values())
    ]


def _line(case: Case, folder: Path, seeds: int, artifacts: Path, threads: int) -> Line:
    from harness.artifacts.workshop import Workshop
    from harness.cache import Store
    from harness.dataset import data
    from harness.ready import fine_tunings

    progress = Progress(sys.stderr if sys.stderr.isatty() else None, log=sys.stderr)
    failed: list[str] = []
    shop = Workshop(
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
    for seed in fine_tunings(shop, data.load(case.task, folder), draws, failed.append):
        made.append(seed)
        progress.say(f"{case.task.name}/{case.model.name}: seed {seed.seed} scores {seed.score}")
    return Line(case, tuple(made), tuple(failed))
