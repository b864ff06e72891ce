"""Find the threads and spinning that suit one case's backend best, measured on its validation rows."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.backends import tuned, variants
from harness.commands import collection
from harness.contracts.backend import CONTROL, Backend, format_options
from harness.contracts.backend import Options as BackendOptions
from harness.errors import HarnessError
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Measurement, Settings, WorkloadInputs
from harness.measure.worker_pool import Check
from harness.pipeline.record import series_of
from harness.pipeline.state import Comparison, Options
from harness.report.rendering import first_line
from harness.results.schema import Series
from harness.spec import Case
from harness.stats.intervals import format_ratio
from harness.util.console import Progress
from harness.util.machine import usable_cores
from harness.verdicts.speed import agreed_pace, is_settled, noise_floor, own_speedup, own_speedups, why_invalid

REFUTED = "no setting is proven faster than the default"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A backend that is ready to be measured with other settings on validation rows."""

    default: Arm
    workload: WorkloadInputs
    settings: Settings
    check: Check
    """Called with every timed answer; raises WorkerError unless it is the default's."""
    accept: Callable[[Backend], None]
    """Raises HarnessError for a variant whose answer to any row differs from the default's."""
    progress: Progress

    def measure(
        self, choices: Mapping[str, BackendOptions], settings: Settings
    ) -> tuple[dict[str, Series], Measurement]:
        """Measure the default, its control and the variants; return the series of the variants that did not fail."""
        first, wanted = self.default, dict.fromkeys(choices)
        arms = [first, replace(first, name=CONTROL)]
        backends = {name: tuned(first.backend, **options) for name, options in choices.items()}  # type: ignore[arg-type]
        arms += [replace(first, name=name, backend=backend) for name, backend in backends.items()]
        settled = partial(is_settled, reference=first.name, min_speedups=wanted)
        measured = measure(arms, [self.workload], settings, self.check, settled, self.progress)
        threads, names = settings.target.threads, [name for name in choices if name not in measured.failed]
        return {name: series_of(name, measured.samples[0], measured, threads, first.name) for name in names}, measured


def declare_tune(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench tune`."""
    collection.declare_suite(parser)
    budget = "measure for at most SECONDS: half to find the winner, half to prove it (default: 300)"
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help=budget)


def run_tune(options: Namespace) -> int:
    """Measure the selected case's backend with other threads and spinning; print the table and the verdict."""
    if not 0 < options.budget < math.inf:
        raise HarnessError(f"--budget {options.budget:g}: must be positive, in seconds")
    cases, settings = collection.select(options, options.budget / 2)
    case, folder = collection.single_case("tune", options.suite, cases)
    progress = collection.stderr_progress()
    subject, rows = _prepare(case, folder, settings, progress)
    default = case.backend.worker_target(settings.target(case.device))
    all_counts = variants.thread_counts(usable_cores())
    counts = variants.spread(all_counts)
    if counts != all_counts:
        progress.say(f"only {', '.join(map(str, counts))} threads are tried; tuned(…, threads=N) takes any number")
    choices = variants.variants(default, counts)
    own = format_options({"threads": default.threads, "spinning": default.spinning})
    head = f"{case}: {len(choices)} settings against the default ({own}), "
    head += f"batch {subject.workload.batch}, {rows} validation rows"
    print("\n".join([head, *search(subject, choices)]))
    return 0


def _prepare(case: Case, folder: Path, options: Options, progress: Progress) -> tuple[Subject, int]:
    """Build the artifacts of the case; return its backend ready to be measured, and the number of validation rows."""
    from harness.artifacts.cache import Artifacts
    from harness.evaluation.answers import check_parity, check_timed
    from harness.pipeline.measurement import workload
    from harness.pipeline.prepare import prepare
    from harness.util.store import Store

    name, target, store = case.backend.name, options.target(case.device), Store(options.artifacts, progress.say)
    state = prepare(Comparison((case,), folder), options, progress)
    if name in state.failures:
        raise HarnessError(f"{case} cannot be tuned; run its test first: {state.failures[name].message}")
    prepared = state.prepared[name]
    assert state.split is not None
    assert state.checkpoint is not None
    artifacts = Artifacts(case.task, case.model, folder, target, store, progress, options.timeout_s, retrain=False)
    inputs = artifacts.inputs(state.split, state.checkpoint, "validation")
    answers = partial(artifacts.answers, artifact=prepared.artifact, inputs=inputs, part="validation")
    scored = answers(prepared.backend)
    return Subject(
        default=Arm(name, prepared.backend, prepared.artifact.path, kind=case.task.kind),
        workload=workload(case.batches(options.batches)[0], len(inputs), inputs.batch),
        settings=options.settings(case.device),
        check=lambda arm, rows, outputs: check_timed(arm, scored, rows, outputs, "validation"),
        accept=lambda backend: check_parity(answers(backend), scored, name, inputs),
        progress=progress,
    ), len(inputs)


def search(subject: Subject, choices: Mapping[str, BackendOptions]) -> Iterator[str]:
    """Measure the settings together and the fastest once more; yield a line for each, then the verdict."""
    series, measured = subject.measure(choices, subject.settings)
    failed = {name: str(error) for name, error in measured.failed.items()}
    faster = [name for name in series if agreed_pace(own_speedups(series[name])) == "faster"]
    winner = None
    for name in sorted(faster, key=lambda name: -own_speedup(series[name]).estimate):
        try:
            subject.accept(tuned(subject.default.backend, **choices[name]))  # type: ignore[arg-type]
            winner = name
            break
        except HarnessError as error:
            failed[name] = str(error)
    for name in choices:
        cell = f"failed: {first_line(failed[name])}" if name in failed else format_ratio(own_speedup(series[name]))
        yield f"  {name:24}  {cell}"
    yield from _prove(subject, winner, choices[winner]) if winner else [f"{REFUTED} in these rounds"]


def _prove(subject: Subject, winner: str, options: BackendOptions) -> Iterator[str]:
    """Measure the winner in fresh rounds: the fastest of many looks faster than it is in the rounds that chose it."""
    fresh, measured = subject.measure({winner: options}, replace(subject.settings, seed=-1))
    if winner not in fresh:
        yield f"{REFUTED}: {winner} failed in the fresh rounds: {first_line(str(measured.failed[winner]))}"
        return
    series, name = fresh[winner], subject.default.backend.name
    if measured.disturbance:
        yield from (f"disturbed: {sentence}" for sentence in measured.disturbance.sentences())
    yield f"The default against itself in the same rounds: {format_ratio(noise_floor(series))}."
    rounds, reason = sum(map(len, series.own_ns)), why_invalid(series)
    ratio = format_ratio(own_speedup(series))
    proof = f"{ratio} the default, from {rounds} fresh rounds in {len(series.rows)} launches"
    if reason or agreed_pace(own_speedups(series)) != "faster":
        yield f"{REFUTED}: {f'{reason}; ' if reason else ''}with {winner} {name} is {proof}"
        return
    yield f"{name} with {winner}: {proof}"
    yield f"In the suite: cases(…, backends=[…, {variants.tuned_code(name.upper().replace('-', '_'), options)}])"
