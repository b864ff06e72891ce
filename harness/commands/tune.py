"""`tune`: the threads, spinning and further options of its backend that suit a case best, by validation rows."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness.case import Case
from harness.commands.collection import collect
from harness.contracts import Backend
from harness.environment import no_cuda, usable_cores
from harness.errors import HarnessError
from harness.options import LOCAL, MOST_THREADS
from harness.progress import Progress
from harness.rounds.order import SEED, batch_of, order_of
from harness.tuning.tuned import alternatives, lacking

if TYPE_CHECKING:
    from harness.artifacts.workshop import Workshop
    from harness.plan import Options as Given
    from harness.tuning.search import Found
    from harness.tuning.trials import Field

TIMEOUT_S = 300.0

SHOWN = 10
"""Names of cases in an error."""


@dataclass(frozen=True)
class Tuning:
    """What tuning a case found."""

    case: Case
    rows: int
    """Validation rows that were asked for."""
    threads: int
    """Of the default."""
    choices: int
    """Settings that there are, beside the default."""
    found: Found
    called: str
    """What the backend's value is called in Python."""


def tune(
    suite: str,
    expression: str | None = None,
    budget_s: float = 300.0,
    artifacts: Path | None = None,
    threads: int | None = None,
) -> Tuning:
    """Search the options of one case's backend for at most `budget_s` of workers' time, once everything is built.

    HarnessError for what can be known to be wrong before that, a budget too small for one rung included.
    """
    if not 0 < budget_s < math.inf:
        raise HarnessError(f"--budget {budget_s:g}: must be positive, in seconds")
    if threads is not None and not 1 <= threads <= usable_cores():
        raise HarnessError(f"--ship-threads {threads}: this process may use {usable_cores()} cores")
    collected = collect(suite, expression)
    case, folder = _only(suite, collected.cases)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before anything loads OpenMP; see ShipSession.begin
    from harness.plan import Options as Given
    from harness.sessions.preflight import check_cases
    from harness.tuning.costs import fitting
    from harness.tuning.search import search
    from harness.tuning.trials import pilot

    check_cases([(case, folder)])
    given = Given(
        artifacts=artifacts or collected.artifacts,
        machine=LOCAL,
        threads=threads or min(usable_cores(), MOST_THREADS),
        spinning=False,
        starts=4,
        budget_s=budget_s,
        timeout_s=TIMEOUT_S,
        retrain=False,
    )
    progress = Progress(sys.stderr if sys.stderr.isatty() else None, log=sys.stderr)
    field, rows = _field(case, folder, given, progress)
    cost = pilot(field)
    there_are = list(alternatives(case.backend, case.backend.aimed(given.target(case.device)), usable_cores()))
    candidates = there_are[: fitting(budget_s, cost, given.starts)]
    progress.say(f"{case}: {len(candidates)} of {len(there_are)} settings, beside the default")
    found = search(field, candidates, budget_s, cost, progress)
    return Tuning(case, rows, given.threads, len(there_are), found, _called(case.backend))


def _only(suite: str, cases: list[tuple[Case, Path]]) -> tuple[Case, Path]:
    if len(cases) > 1:
        names = [str(case) for case, _ in cases]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise HarnessError(
            f"{suite}: tunes one case at a time, and {len(names)} are selected: {', '.join(names[:SHOWN])}{more}; "
            "select one with -k"
        )
    case, folder = cases[0]
    reason = no_cuda() if case.device == "cuda" else None
    reason = reason or lacking(case.backend, case.device)
    if reason is not None:
        raise HarnessError(f"{case} cannot run here: {reason}")
    return case, folder


def _field(case: Case, folder: Path, given: Given, progress: Progress) -> tuple[Field, int]:
    """The case's backend as a session makes it ready, to be asked for validation rows; and how many there are."""
    from harness.accuracy import parity
    from harness.plan import Comparison
    from harness.ready import prepare
    from harness.rounds.samples import Load
    from harness.stage import Stopped, stage
    from harness.tuning.trials import Field

    findings, _ = prepare(Comparison((case,), folder), given, progress)
    name = case.backend.name
    if name in findings.failures:
        raise HarnessError(f"{case} is not ready to be tuned: {findings.failures[name].message}")
    split, checkpoint, made = findings.split, findings.checkpoint, findings.contenders[name]
    assert split is not None
    assert checkpoint is not None
    shop = _shop(case, folder, given, progress)
    inputs = shop.inputs(split, checkpoint, "validation")
    try:
        with stage("answer"):
            scored = shop.answers(made.backend, made.artifact, inputs, "validation")
    except Stopped as stopped:
        raise HarnessError(f"{case} is not ready to be tuned: {stopped.failure.message}") from stopped

    def accept(variant: Backend) -> None:
        parity.check_parity(shop.answers(variant, made.artifact, inputs, "validation"), scored, name, inputs)

    order = order_of(len(inputs))
    return Field(
        backend=made.backend,
        artifact=made.artifact.path,
        load=Load(1, SEED, lambda number: batch_of(order, number, 1), inputs.batch),
        settings=given.settings(case.device),
        check=lambda arm, rows, outputs: parity.check_timed(arm, scored, rows, outputs, "validation"),
        accept=accept,
        kind=case.task.kind,
    ), len(inputs)


def _shop(case: Case, folder: Path, given: Given, progress: Progress) -> Workshop:
    from harness.artifacts.workshop import Workshop
    from harness.cache import Store

    return Workshop(
        task=case.task,
        model=case.model,
        folder=folder,
        target=given.target(case.device),
        store=Store(given.artifacts, progress.say),
        progress=progress,
        timeout_s=given.timeout_s,
        retrain=False,
    )


def _called(backend: Backend) -> str:
    """What a suite calls the backend; a guess where no module that is loaded has a name for it."""
    for module in (harness, *list(sys.modules.values())):
        for name, value in list(vars(module).items()):
            if value is backend and name.isidentifier():
                return name
    return backend.name.upper().replace("-", "_")
