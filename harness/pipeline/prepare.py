"""Everything before the rounds: data, checkpoint, artifacts and answers, from the store where it has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from harness.artifacts.build import Builders
from harness.artifacts.cache import Artifacts
from harness.backends import PYTORCH
from harness.contracts.backend import Backend
from harness.data import splits
from harness.evaluation.answers import check_parity, check_shapes, summarize_seed
from harness.measure import gpu
from harness.pipeline.state import Comparison, Options, Prepared, State, Stopped, stage
from harness.results.schema import Seed
from harness.training import fit, train
from harness.util.console import Progress
from harness.util.machine import describe, quota_notes
from harness.util.store import Store


def prepare(comparison: Comparison, options: Options, progress: Progress) -> State:
    """Return the comparison's state with every backend ready to be measured or failed.

    Without a checkpoint or without the reference, every case has failed.
    """
    first = comparison.cases[0]
    environment = describe(options.machine, options.threads, comparison.folder, options.spinning)
    state = State(comparison, options, environment, notes=quota_notes())

    def say(text: str) -> None:
        state.notes.append(text)
        progress.say(text)

    artifacts = Artifacts(
        task=first.task,
        model=first.model,
        folder=comparison.folder,
        target=options.target(first.device),
        store=Store(options.artifacts, say, progress.say, options.remote),
        progress=progress,
        timeout_s=options.timeout_s,
        retrain=options.retrain,
        max_drop=first.gate.max_drop if first.gate else None,
    )
    try:
        with Builders() as builders:
            _prepare(replace(artifacts, builders=builders), state)
    except Stopped as stopped:
        state.fail_all(stopped)
    return state


def _prepare(artifacts: Artifacts, state: State) -> None:
    with stage("device"):
        gpu.check_memory(artifacts.target.device, [0, 0])
    with stage("data"):
        split = state.split = splits.load(artifacts.task, artifacts.folder)
        state.notes += split.notes
    with stage("train"):
        state.checkpoint = artifacts.checkpoint(split)
        state.notes += [*state.checkpoint.info.get("notes", []), *train.processor_notes(state.checkpoint.info)]
        state.notes += fit.check(artifacts.task, artifacts.model, artifacts.folder)
        state.test = artifacts.inputs(split, state.checkpoint)
    reference = _prepare_backend(PYTORCH, artifacts, state)
    if (remark := artifacts.task.kind.remark) and (
        text := remark(state.checkpoint.path, state.test.encoded, reference.scored.single)
    ):
        artifacts.store.say(text)
    for case in state.comparison.cases:
        with suppress(Stopped):  # on record as the case's failure
            _prepare_backend(case.backend, artifacts, state)
    seed = artifacts.model.recipe.seed
    measured = summarize_seed(seed, reference.scored, state.test, state.test.metrics[artifacts.task.metric])
    others = score_seeds(artifacts, split, range(seed + 1, seed + state.options.seeds), artifacts.store.say)
    state.seeds = (measured, *others)


def score_seeds(
    artifacts: Artifacts, split: splits.Split, numbers: Iterable[int], say: Callable[[str], None]
) -> Iterator[Seed]:
    """Fine-tune with each of these seeds and yield the reference's score; `say` receives each failure."""
    for number in numbers:
        if artifacts.model.is_used_as_is and number != artifacts.model.recipe.seed:
            continue  # nothing is drawn, so every seed gives the same model
        recipe = replace(artifacts.model.recipe, seed=number)
        seeded = replace(artifacts, model=replace(artifacts.model, recipe=recipe))
        try:
            with stage("train"):
                checkpoint = seeded.checkpoint(split)
                inputs = seeded.inputs(split, checkpoint)
                scored = seeded.answers(PYTORCH, checkpoint, inputs)
                seed = summarize_seed(number, scored, inputs, inputs.metrics[artifacts.task.metric])
        except Stopped as stopped:
            say(f"seed {number} has no score: {stopped.failure.message}")
        else:
            yield seed


def _prepare_backend(backend: Backend, artifacts: Artifacts, state: State) -> Prepared:
    """Return the backend ready to be measured, or raise Stopped; the outcome of the first call stays."""
    if backend.name in state.failures:
        raise Stopped(state.failures[backend.name], state.traces[backend.name])
    if backend.name not in state.prepared:
        try:
            _build(backend, artifacts, state)
        except Stopped as stopped:
            state.fail(backend.name, stopped)
            raise
    return state.prepared[backend.name]


def _build(backend: Backend, artifacts: Artifacts, state: State) -> None:
    """Build the backend's artifact, score its answers, and check a lossless form against its source."""
    split, checkpoint, inputs = state.split, state.checkpoint, state.test
    assert split is not None
    assert checkpoint is not None
    assert inputs is not None
    origin = backend.source or PYTORCH
    try:
        source = _prepare_backend(origin, artifacts, state) if backend is not PYTORCH else None
    except Stopped as stopped:
        verb = "is" if stopped.failure.status == "unsupported" else "has"
        message = f"its source {origin.name} {verb} {stopped.failure.status}: {stopped.failure.message}"
        raise Stopped(replace(stopped.failure, message=message), stopped.trace) from stopped
    with stage("environment"):
        resolved = artifacts.resolve(backend)
    with stage("build"):
        built_from = source.artifact if source else checkpoint
        artifact = artifacts.artifact(resolved, built_from, lambda: artifacts.calibration(split, checkpoint))
    with stage("answer"):
        scored = artifacts.answers(resolved, artifact, inputs)
        if source:
            check_shapes(scored, source.scored, source.backend.name, inputs.kind.tolerance)
    state.prepared[backend.name] = Prepared(resolved, artifact, scored)
    state.notes += [note for note in scored.unchecked if note not in state.notes]
    with stage("parity"):
        if source and not backend.lossy:
            check_parity(scored, source.scored, source.backend.name, inputs)
