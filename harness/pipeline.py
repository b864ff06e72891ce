"""The spine: data, train, build, answer, measure, record. The only module that knows the order."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd

from harness import answers, data, measure, record
from harness.answers import Inputs, Scored
from harness.backends import PYTORCH
from harness.cache import Store
from harness.environment import describe, load_average
from harness.errors import HarnessError, Unsupported
from harness.progress import Progress
from harness.record import ORDER_SEED, Contender, Findings
from harness.samples import Arm, Load, Settings
from harness.schema import NO_CONSTRAINTS, Constraints, Failure, Result, Seed
from harness.seeds import seed_of
from harness.spec import CONTROL, Backend, Case, Device, Target
from harness.speed import is_settled
from harness.workshop import Workshop

BATCHES = (1, 16)
"""Workloads: latency, which gates are judged by, and throughput."""

Keep = Callable[[Result, pd.DataFrame | None], None]
"""Told every result, with its answers row by row, as soon as it is known."""


@dataclass(frozen=True)
class Comparison:
    """The selected cases that share task, model and device; the reference and its control come by themselves."""

    cases: tuple[Case, ...]
    folder: Path
    """The suite's: native modules are found from here."""
    inputs: str = ""
    """Fingerprint of what it is made of, for a session that would resume this one."""


@dataclass(frozen=True)
class Options:
    """What the command line decides for a whole session."""

    artifacts: Path
    machine: str
    threads: int
    spinning: bool
    starts: int
    budget_s: float
    timeout_s: float
    retrain: bool
    tail: int = 0
    constraints: Constraints = NO_CONSTRAINTS
    seeds: int = 1
    """Each model is fine-tuned with so many, the recipe's own first; that one is measured."""

    def target(self, device: Device) -> Target:
        """Where and how workers run."""
        return Target(device, self.threads, self.spinning)

    def settings(self, device: Device) -> Settings:
        """How rounds are measured."""
        return Settings(
            self.target(device), self.starts, budget_s=self.budget_s, timeout_s=self.timeout_s, tail=self.tail
        )


def compare(comparison: Comparison, options: Options, progress: Progress, keep: Keep) -> list[Result]:
    """Build, measure and store every case of the comparison. A case that fails has a result that says why."""
    findings, inputs = prepare(comparison, options, progress)
    if inputs is not None:
        try:
            with _stage("measure"):
                _measure(comparison, options, inputs, findings, progress)
        except _Stopped as stopped:
            _fail_all(comparison, findings, stopped.failure)
    return [_record(case, findings, keep) for case in comparison.cases]


def prepare(comparison: Comparison, options: Options, progress: Progress) -> tuple[Findings, Inputs | None]:
    """Everything that is not timed: checkpoint, artifacts and answers, from the store where they lie there.

    Without a checkpoint and a reference no case has anything to say: then there are no inputs, and every case failed.
    """
    first = comparison.cases[0]
    findings = Findings(
        measurement_id=uuid4().hex[:12],
        environment=describe(options.machine, options.threads, comparison.folder, options.spinning),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        constraints=options.constraints,
        inputs=comparison.inputs,
    )

    def say(text: str) -> None:
        findings.notes.append(text)
        progress.say(text)

    shop = Workshop(
        task=first.task,
        model=first.model,
        folder=comparison.folder,
        target=options.target(first.device),
        store=Store(options.artifacts, say),
        progress=progress,
        timeout_s=options.timeout_s,
        retrain=options.retrain,
    )
    try:
        return findings, _prepare(shop, comparison, findings, options.seeds)
    except _Stopped as stopped:
        _fail_all(comparison, findings, stopped.failure)
        return findings, None


def _fail_all(comparison: Comparison, findings: Findings, why: Failure) -> None:
    for case in comparison.cases:
        findings.failures.setdefault(case.backend.name, why)


def _record(case: Case, findings: Findings, keep: Keep) -> Result:
    """Keep the case's result; one that cannot be kept whole becomes a failure, and its neighbours go on."""
    try:
        with _stage("record"):
            result = record.result(case, findings)
            keep(result, record.table(case, findings))
    except _Stopped as stopped:
        result = record.failure(case, findings, stopped.failure)
        keep(result, None)
    return result


def _prepare(shop: Workshop, comparison: Comparison, findings: Findings, seeds: int) -> Inputs:
    """Everything that is not timed: a checkpoint, and for each backend an artifact whose answers are known."""
    with _stage("data"):
        split = findings.split = data.load(shop.task)
    with _stage("train"):
        findings.checkpoint = shop.checkpoint(split)
        inputs = shop.inputs(split, findings.checkpoint)
    _contend(PYTORCH, shop, inputs, findings)
    for case in comparison.cases:
        with suppress(_Stopped):  # on record as the case's failure
            _contend(case.backend, shop, inputs, findings)
    first = shop.model.recipe.seed
    own = _seed(shop, split, first, findings.contenders[PYTORCH.name].scored)
    findings.seeds = (own, *fine_tunings(shop, split, range(first + 1, first + seeds), shop.store.say))
    return inputs


def fine_tunings(
    shop: Workshop, split: data.Split, numbers: Iterable[int], say: Callable[[str], None]
) -> Iterator[Seed]:
    """The reference's score after fine-tuning with each of these seeds; of one that failed, only `say` is told."""
    for number in numbers:
        model = replace(shop.model, recipe=replace(shop.model.recipe, seed=number))
        other = replace(shop, model=model)
        try:
            with _stage("train"):
                made = other.checkpoint(split)
                scored = other.answers(PYTORCH, made, other.inputs(split, made), split.test["label"])
                found = _seed(shop, split, number, scored)
        except _Stopped as stopped:
            say(f"seed {number} has no score: {stopped.failure.message}")
        else:
            yield found


def _seed(shop: Workshop, split: data.Split, number: int, scored: Scored) -> Seed:
    return seed_of(number, scored.predictions, scored.score, split.test["label"], split.labels, shop.task.metric)


def _contend(backend: Backend, shop: Workshop, inputs: Inputs, findings: Findings) -> Contender:
    """The backend ready to be measured, or _Stopped; whichever it was the first time, it stays."""
    if backend.name in findings.failures:
        raise _Stopped(findings.failures[backend.name])
    if backend.name not in findings.contenders:
        try:
            _make(backend, shop, inputs, findings)
        except _Stopped as stopped:
            findings.failures[backend.name] = stopped.failure
            raise
    return findings.contenders[backend.name]


def _make(backend: Backend, shop: Workshop, inputs: Inputs, findings: Findings) -> None:
    """Build the backend's artifact, and what that is built from; know its answers; hold a float form to its source."""
    assert findings.checkpoint is not None
    assert findings.split is not None
    origin = backend.source or PYTORCH
    try:
        source = None if backend is PYTORCH else _contend(origin, shop, inputs, findings)
    except _Stopped as stopped:
        message = f"{origin.name}, which it is built from, {stopped.failure.status}: {stopped.failure.message}"
        raise _Stopped(replace(stopped.failure, message=message)) from stopped
    with _stage("build"):
        artifact = shop.artifact(backend, source.artifact if source else findings.checkpoint)
    with _stage("answer"):
        scored = shop.answers(backend, artifact, inputs, findings.split.test["label"])
        if source:
            answers.check_forms(scored, source.scored, origin.name)
    findings.contenders[backend.name] = Contender(artifact, scored)
    with _stage("parity"):
        if source and not backend.lossy:
            answers.check_parity(scored, source.scored, origin.name)


def _measure(comparison: Comparison, options: Options, inputs: Inputs, findings: Findings, progress: Progress) -> None:
    """Rounds over the reference, its control, and every selected case that is ready."""
    ready = [
        c.backend for c in comparison.cases if c.backend.name not in findings.failures and c.backend is not PYTORCH
    ]
    made = findings.contenders
    findings.environment = replace(findings.environment, load_before=load_average())
    arms = [Arm(b.name, b, made[b.name].artifact.path) for b in (PYTORCH, *ready)]
    arms.insert(1, Arm(CONTROL, PYTORCH, made[PYTORCH.name].artifact.path))
    wanted = {b.name: _smallest_speedup(comparison, b) for b in ready}
    nothing = dict.fromkeys(wanted)  # a gate asks for speed at the first workload only
    scored = {arm.name: made[arm.backend.name].scored for arm in arms}
    found = findings.measurement = measure.measure(
        arms,
        [_load(inputs, batch) for batch in BATCHES],
        options.settings(comparison.cases[0].device),
        lambda name, rows, outputs: answers.check_timed(name, scored[name], rows, outputs),
        lambda samples: is_settled(samples, PYTORCH.name, wanted if samples.batch == BATCHES[0] else nothing),
        progress,
    )
    findings.notes += found.notes()
    if CONTROL in found.failed:
        findings.notes.append(f"the control failed, so nothing is known of the noise: {found.failed.pop(CONTROL)}")
    for name, error in found.failed.items():
        findings.failures[name] = Failure(stage="measure", message=str(error))


def _smallest_speedup(comparison: Comparison, backend: Backend) -> float | None:
    gates = [case.gate for case in comparison.cases if case.backend is backend]
    return gates[0].min_speedup if gates and gates[0] else None


def order_of(rows: int) -> list[int]:
    """The order in which test rows are asked for."""
    return [int(row) for row in np.random.default_rng(ORDER_SEED).permutation(rows)]


def _load(inputs: Inputs, batch: int) -> Load:
    order = order_of(len(inputs.encoded))

    def rows(number: int) -> list[int]:
        return [order[(number * batch + at) % len(order)] for at in range(batch)]

    return Load(batch, ORDER_SEED, rows, inputs.batch)


class _Stopped(Exception):
    """A stage ended without what the next one needs."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Turns whatever a stage raises, its own or a library's, into a failure that goes on record."""
    try:
        yield
    except _Stopped:
        raise
    except Exception as error:
        message = str(error) if isinstance(error, HarnessError) else _told(error)
        status = "unsupported" if isinstance(error, Unsupported) else "failed"
        raise _Stopped(Failure(stage=name, message=message, status=status)) from error  # type: ignore[arg-type]


def _told(error: Exception) -> str:
    """An unexpected error with the place it came from, so that its author finds the line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}\n  raised at {Path(last.filename).name}:{last.lineno} in {last.name}"
