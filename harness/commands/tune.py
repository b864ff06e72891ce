"""`tune`: the threads and spinning that suit one case's backend best, measured on its validation rows."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.backends import variants
from harness.backends.variants import variant
from harness.commands.collection import collect
from harness.contracts.backend import CONTROL, Backend, Options, options_text
from harness.errors import HarnessError
from harness.measure.rounds import ORDER_SEED, batch_rows, measure, row_order
from harness.measure.samples import Arm, Measurement, Settings, WorkloadInputs
from harness.measure.worker_pool import Check
from harness.pipeline.plan import Comparison
from harness.pipeline.plan import Options as Given
from harness.pipeline.record import series_of
from harness.pytest_plugin.options import LOCAL, MOST_THREADS
from harness.report.cells import first_line
from harness.results.schema import Series
from harness.spec import Case
from harness.stats.intervals import times
from harness.util.console import Progress
from harness.util.machine import no_cuda, usable_cores
from harness.verdicts.speed import agreed, invalid, is_settled, noise_floor, own_speedup, own_speedups

REFUTED = "no setting is proven faster than the default"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A backend that is ready to be measured with other settings on validation rows."""

    default: Arm
    load: WorkloadInputs
    settings: Settings
    check: Check
    """Called with every timed answer; raises WorkerError unless it is the default's."""
    accept: Callable[[Backend], None]
    """Raises HarnessError for a variant that answers any row otherwise than the default does."""
    progress: Progress

    def measure(self, tried: Mapping[str, Options], settings: Settings) -> tuple[dict[str, Series], Measurement]:
        """Measure the default, its control and the variants; return the series of each variant that did not fail."""
        first, wanted = self.default, dict.fromkeys(tried)
        arms = [first, replace(first, name=CONTROL)]
        arms += [replace(first, name=name, backend=variant(first.backend, tried[name])) for name in tried]
        made = measure(
            arms, [self.load], settings, self.check, lambda part: is_settled(part, first.name, wanted), self.progress
        )
        threads, left = settings.target.threads, [name for name in tried if name not in made.failed]
        return {name: series_of(name, made.samples[0], made, threads, first.name) for name in left}, made


def tune(suite: str, expression: str | None, budget_s: float, artifacts: Path | None, threads: int | None) -> str:
    """Measure the selected case's backend with other threads and spinning; return the table and the verdict.

    Rounds take at most `budget_s`: half of it to choose a setting, half to prove it.
    """
    cores = usable_cores()
    if not 0 < budget_s < math.inf:
        raise HarnessError(f"--budget {budget_s:g}: must be positive, in seconds")
    if threads is not None and not 1 <= threads <= cores:
        raise HarnessError(f"--ship-threads {threads}: this process may use {cores} cores")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before anything loads OpenMP; see ShipSession.begin
    collected = collect(suite, expression)
    case, folder = _only(suite, collected.cases)
    given = Given(
        artifacts=artifacts or collected.artifacts,
        machine=LOCAL,
        threads=threads or min(cores, MOST_THREADS),
        spinning=False,
        launches=4,
        budget_s=budget_s / 2,
        timeout_s=300.0,
        retrain=False,
    )
    progress = Progress(sys.stderr if sys.stderr.isatty() else None, log=sys.stderr)
    subject, rows = _subject(case, folder, given, progress)
    default = case.backend.aimed(given.target(case.device))
    counts = variants.thread_counts(cores)
    tried = variants.variants(default, variants.spread(counts))
    if variants.spread(counts) != counts:
        fewer = ", ".join(map(str, variants.spread(counts)))
        progress.say(f"{cores} cores: only {fewer} threads are tried; tuned(…, threads=N) takes any number")
    own = options_text({"threads": default.threads, "spinning": default.spinning})
    head = f"{case}: {len(tried)} settings against the default ({own}), batch 1, {rows} validation rows"
    return "\n".join([head, *search(subject, tried)])


def _only(suite: str, cases: list[tuple[Case, Path]]) -> tuple[Case, Path]:
    """Return the one selected case and its folder; HarnessError if there are more, or it cannot run here."""
    from harness.pytest_plugin.preflight import check_cases

    if len(cases) > 1:
        names = ", ".join(str(case) for case, _ in cases[:10]) + (", …" if len(cases) > 10 else "")
        raise HarnessError(f"{suite}: tune takes one case, and {len(cases)} are selected: {names}; select one with -k")
    case, folder = cases[0]
    reason = (no_cuda() if case.device == "cuda" else None) or variants.lacking(case.backend, case.device)
    if reason is not None:
        raise HarnessError(f"{case} cannot run here: {reason}")
    check_cases(cases)
    return case, folder


def _subject(case: Case, folder: Path, given: Given, progress: Progress) -> tuple[Subject, int]:
    """Build what the case needs; return its backend ready to be measured, and the number of validation rows."""
    from harness.artifacts.cache import Artifacts
    from harness.evaluation import parity
    from harness.pipeline.prepare import prepare
    from harness.util.store import Store

    findings, _ = prepare(Comparison((case,), folder), given, progress)
    name, target, store = case.backend.name, given.target(case.device), Store(given.artifacts, progress.say)
    if name in findings.failures:
        raise HarnessError(f"{case} is not ready to be tuned: {findings.failures[name].message}")
    split, checkpoint, made = findings.split, findings.checkpoint, findings.contenders[name]
    assert split is not None
    assert checkpoint is not None
    shop = Artifacts(case.task, case.model, folder, target, store, progress, given.timeout_s, retrain=False)
    inputs = shop.inputs(split, checkpoint, "validation")
    scored = shop.answers(made.backend, made.artifact, inputs, "validation")

    def accept(backend: Backend) -> None:
        parity.check_parity(shop.answers(backend, made.artifact, inputs, "validation"), scored, name, inputs)

    order = row_order(len(inputs))
    return Subject(
        default=Arm(name, made.backend, made.artifact.path, kind=case.task.kind),
        load=WorkloadInputs(1, ORDER_SEED, lambda number: batch_rows(order, number, 1), inputs.batch),
        settings=given.settings(case.device),
        check=lambda arm, rows, outputs: parity.check_timed(arm, scored, rows, outputs, "validation"),
        accept=accept,
        progress=progress,
    ), len(inputs)


def search(subject: Subject, tried: Mapping[str, Options]) -> Iterator[str]:
    """Measure the settings together and the fastest once more; yield a line for each, then the verdict."""
    series, made = subject.measure(tried, replace(subject.settings, probes=False))
    failed = {name: str(error) for name, error in made.failed.items()}
    faster = [name for name in series if agreed(own_speedups(series[name])) == "faster"]
    winner = None
    for name in sorted(faster, key=lambda name: -own_speedup(series[name]).estimate):
        try:
            subject.accept(variant(subject.default.backend, tried[name]))
            winner = name
            break
        except HarnessError as error:
            failed[name] = str(error)
    for name in tried:
        cell = f"failed: {first_line(failed[name])}" if name in failed else times(own_speedup(series[name]))
        yield f"  {name:24}  {cell}"
    yield from _proven(subject, winner, tried[winner]) if winner else [f"{REFUTED} in these rounds"]


def _proven(subject: Subject, winner: str, options: Options) -> Iterator[str]:
    """Measure the winner in fresh rounds: the fastest of many looks faster than it is where it was chosen."""
    series, made = subject.measure({winner: options}, replace(subject.settings, seed=-1))
    if winner not in series:
        yield f"{REFUTED}: {winner} failed in the fresh rounds: {first_line(str(made.failed[winner]))}"
        return
    proof, backend = series[winner], subject.default.backend
    yield from (f"disturbed: {sentence}" for sentence in (made.disturbance.sentences() if made.disturbance else ()))
    yield f"The default against itself in the same rounds: {times(noise_floor(proof))}."
    rounds, reason = sum(map(len, proof.own_ns)), invalid(proof)
    worth = f"{times(own_speedup(proof))} the default, from {rounds} fresh rounds in {len(proof.rows)} launches"
    if reason or agreed(own_speedups(proof)) != "faster":
        yield f"{REFUTED}: {f'{reason}; ' if reason else ''}with {winner} {backend.name} is {worth}"
        return
    yield f"{backend.name} with {winner}: {worth}"
    yield f"In the suite: cases(…, backends=[…, {variants.python(backend.name.upper().replace('-', '_'), options)}])"
