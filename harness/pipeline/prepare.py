"""Everything that is not timed: data, checkpoint, artifacts and answers, from the store where they lie there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from harness.artifacts.build import HeldOutRows
from harness.artifacts.cache import Artifacts
from harness.backends import PYTORCH
from harness.contracts.backend import Backend
from harness.data import splits
from harness.data.inputs import Inputs
from harness.evaluation import parity
from harness.evaluation.predictions import Scored
from harness.measure import gpu
from harness.pipeline.findings import Contender, Findings
from harness.pipeline.plan import Comparison, Options
from harness.pipeline.stages import Stopped, stage
from harness.results.schema import Seed
from harness.training.train import seed_of
from harness.util.console import Progress
from harness.util.machine import describe
from harness.util.store import Store


def prepare(comparison: Comparison, options: Options, progress: Progress) -> tuple[Findings, Inputs | None]:
    """Everything that is not timed: checkpoint, artifacts and answers, from the store where they lie there.

    Without a checkpoint and a reference no case has anything to say: then there are no inputs, and every case failed.
    """
    first = comparison.cases[0]
    findings = Findings(
        measurement_id=uuid4().hex[:12],
        environment=describe(options.machine, options.threads, comparison.folder, options.spinning),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=comparison.folder,
        constraints=options.constraints,
        inputs=comparison.inputs,
    )

    def say(text: str) -> None:
        findings.notes.append(text)
        progress.say(text)

    shop = Artifacts(
        task=first.task,
        model=first.model,
        folder=comparison.folder,
        target=options.target(first.device),
        store=Store(options.artifacts, say),
        progress=progress,
        timeout_s=options.timeout_s,
        retrain=options.retrain,
        max_drop=first.gate.max_drop if first.gate else None,
    )
    try:
        return findings, _prepare(shop, comparison, findings, options.seeds)
    except Stopped as stopped:
        fail_all(comparison, findings, stopped)
        return findings, None


def fail_all(comparison: Comparison, findings: Findings, why: Stopped) -> None:
    """No case of the comparison has anything to say, for one reason."""
    for case in comparison.cases:
        findings.fail(case.backend.name, why.failure, why.trace)


def _prepare(shop: Artifacts, comparison: Comparison, findings: Findings, seeds: int) -> Inputs:
    """Everything that is not timed: a checkpoint, and for each backend an artifact whose answers are known."""
    with stage("device"):
        gpu.check_room(shop.target.device, [0, 0])
    with stage("data"):
        split = findings.split = splits.load(shop.task, shop.folder)
    with stage("train"):
        findings.checkpoint = shop.checkpoint(split)
        if findings.checkpoint.info.get("pickled"):
            findings.notes.append("its weights come as pickles alone; they were read as tensors, with weights_only")
        inputs = findings.test = shop.inputs(split, findings.checkpoint)
    _contend(PYTORCH, shop, inputs, findings)
    for case in comparison.cases:
        with suppress(Stopped):  # on record as the case's failure
            _contend(case.backend, shop, inputs, findings)
    first = shop.model.recipe.seed
    own = _seed(shop, inputs, first, findings.contenders[PYTORCH.name].scored)
    findings.seeds = (own, *fine_tunings(shop, split, range(first + 1, first + seeds), shop.store.say))
    return inputs


def fine_tunings(
    shop: Artifacts, split: splits.Split, numbers: Iterable[int], say: Callable[[str], None]
) -> Iterator[Seed]:
    """The reference's score after fine-tuning with each of these seeds; of one that failed, only `say` is told."""
    for number in numbers:
        if shop.model.is_as_it_is and number != shop.model.recipe.seed:
            continue  # nothing is drawn, so another seed is no other model
        model = replace(shop.model, recipe=replace(shop.model.recipe, seed=number))
        other = replace(shop, model=model)
        try:
            with stage("train"):
                made = other.checkpoint(split)
                inputs = other.inputs(split, made)
                found = _seed(shop, inputs, number, other.answers(PYTORCH, made, inputs))
        except Stopped as stopped:
            say(f"seed {number} has no score: {stopped.failure.message}")
        else:
            yield found


def _seed(shop: Artifacts, inputs: Inputs, number: int, scored: Scored) -> Seed:
    return seed_of(number, scored.predictions, scored.score, inputs, shop.task.metric)


def _contend(backend: Backend, shop: Artifacts, inputs: Inputs, findings: Findings) -> Contender:
    """The backend ready to be measured, or Stopped; whichever it was the first time, it stays."""
    if backend.name in findings.failures:
        raise Stopped(findings.failures[backend.name], findings.traces[backend.name])
    if backend.name not in findings.contenders:
        try:
            _make(backend, shop, inputs, findings)
        except Stopped as stopped:
            findings.fail(backend.name, stopped.failure, stopped.trace)
            raise
    return findings.contenders[backend.name]


def _aside(shop: Artifacts, findings: Findings) -> HeldOutRows:
    assert findings.split is not None
    assert findings.checkpoint is not None
    return shop.aside(findings.split, findings.checkpoint)


def _make(backend: Backend, shop: Artifacts, inputs: Inputs, findings: Findings) -> None:
    """Build the backend's artifact, and what that is built from; know its answers; hold a float form to its source."""
    assert findings.checkpoint is not None
    origin = backend.source or PYTORCH
    try:
        source = None if backend is PYTORCH else _contend(origin, shop, inputs, findings)
    except Stopped as stopped:
        message = f"{origin.name}, which it is built from, {stopped.failure.status}: {stopped.failure.message}"
        raise Stopped(replace(stopped.failure, message=message), stopped.trace) from stopped
    with stage("environment"):
        home = shop.at_home(backend)
    with stage("build"):
        artifact = shop.artifact(
            home, source.artifact if source else findings.checkpoint, partial(_aside, shop, findings)
        )
    with stage("answer"):
        scored = shop.answers(home, artifact, inputs)
        if source:
            parity.check_forms(scored, source.scored, origin.name, inputs.kind.likeness)
    findings.contenders[backend.name] = Contender(home, artifact, scored)
    with stage("parity"):
        if source and not backend.lossy:
            parity.check_parity(scored, source.scored, origin.name, inputs)
