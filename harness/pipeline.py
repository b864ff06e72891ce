"""The spine: data, train, build, answer, measure, record. The only module that knows the order."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd

from harness import answers, data, measure, record
from harness.answers import Inputs
from harness.backends import PYTORCH
from harness.cache import Store
from harness.environment import describe, load_average
from harness.errors import HarnessError, Unsupported
from harness.progress import Progress
from harness.record import Contender, Findings
from harness.samples import Arm, Load, Samples, Settings
from harness.schema import NO_CONSTRAINTS, Constraints, Failure, Result
from harness.spec import CONTROL, Backend, Case, Gate, Target
from harness.speed import is_decided, speedup
from harness.workshop import Workshop

BATCHES = (1, 16)
"""Workloads: latency, which gates are judged by, and throughput."""
ORDER_SEED = 0

Keep = Callable[[Result, pd.DataFrame | None], None]
"""Told every result, with its answers row by row, as soon as it is known."""


@dataclass(frozen=True)
class Comparison:
    """The selected cases that share task, model and device; the reference and its control come by themselves."""

    cases: tuple[Case, ...]
    folder: Path
    """The suite's: native modules are found from here."""


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


def compare(comparison: Comparison, options: Options, progress: Progress, keep: Keep) -> list[Result]:
    """Build, measure and store every case of the comparison. A case that fails has a result that says why."""
    first = comparison.cases[0]
    findings = Findings(
        measurement_id=uuid4().hex[:12],
        environment=describe(options.machine, options.threads, comparison.folder, options.spinning),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        constraints=options.constraints,
    )

    def say(text: str) -> None:
        findings.notes.append(text)
        progress.say(text)

    shop = Workshop(
        task=first.task,
        model=first.model,
        folder=comparison.folder,
        target=Target(first.device, options.threads, options.spinning),
        store=Store(options.artifacts, say),
        progress=progress,
        timeout_s=options.timeout_s,
        retrain=options.retrain,
    )
    try:
        inputs = _prepare(shop, comparison, findings)
        with _stage("measure"):
            _measure(shop, comparison, options, inputs, findings)
    except _Stopped as stopped:  # without a checkpoint and a reference, no case has anything to say
        for case in comparison.cases:
            findings.failures.setdefault(case.backend.name, stopped.failure)
    return [_record(case, findings, keep) for case in comparison.cases]


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


def _prepare(shop: Workshop, comparison: Comparison, findings: Findings) -> Inputs:
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
    return inputs


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


def _measure(shop: Workshop, comparison: Comparison, options: Options, inputs: Inputs, findings: Findings) -> None:
    """Rounds over the reference, its control, and every selected case that is ready."""
    ready = [
        c.backend for c in comparison.cases if c.backend.name not in findings.failures and c.backend is not PYTORCH
    ]
    made = findings.contenders
    findings.environment = replace(findings.environment, load_before=load_average())
    arms = [Arm(b.name, b, made[b.name].artifact.path) for b in (PYTORCH, *ready)]
    arms.insert(1, Arm(CONTROL, PYTORCH, made[PYTORCH.name].artifact.path))
    scored = {arm.name: made[arm.backend.name].scored for arm in arms}
    found = findings.measurement = measure.measure(
        arms,
        [_load(inputs, batch) for batch in BATCHES],
        Settings(
            shop.target, options.starts, budget_s=options.budget_s, timeout_s=options.timeout_s, tail=options.tail
        ),
        lambda name, rows, outputs: answers.check_timed(name, scored[name], rows, outputs),
        partial(is_settled, {case.backend.name: case.gate for case in comparison.cases}),
        shop.progress,
    )
    findings.notes += found.notes()
    if CONTROL in found.failed:
        findings.notes.append(f"the control failed, so nothing is known of the noise: {found.failed.pop(CONTROL)}")
    for name, error in found.failed.items():
        findings.failures[name] = Failure(stage="measure", message=str(error))


def is_settled(gates: Mapping[str, Gate | None], samples: Samples) -> bool:
    """Whether every backend's speed is decided; a smallest speed-up is asked for at the first workload only."""
    reference, control = samples.ns[PYTORCH.name], samples.ns.get(CONTROL, [])
    whole = list(map(len, control)) == list(map(len, reference))
    contenders = {
        name: ns for name, ns in samples.ns.items() if name in gates and list(map(len, ns)) == list(map(len, reference))
    }
    contenders.pop(PYTORCH.name, None)
    for name, own in contenders.items():
        gate = gates[name] if samples.batch == BATCHES[0] else None
        gain = speedup(reference, own, control if whole else [], len(contenders))
        if not is_decided(gain, gate.min_speedup if gate else None):
            return False
    return True


def _load(inputs: Inputs, batch: int) -> Load:
    order = np.random.default_rng(ORDER_SEED).permutation(len(inputs.encoded)).tolist()

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
