"""The finals: the recommended backend of each of a task's models, on the same raw rows in the same rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.contracts.backend import Device
from harness.contracts.kind import Arrays
from harness.errors import HarnessError
from harness.evaluation.answers import correctness, drop_bounds
from harness.measure import adapters
from harness.measure.samples import Arm, Measurement
from harness.pipeline import measurement, record
from harness.pipeline.measurement import Contender, workload
from harness.pipeline.prepare import prepare
from harness.pipeline.state import Comparison, Options, State, stage
from harness.results.schema import Finalist, Finals, Result
from harness.spec import Case
from harness.util.console import Progress
from harness.util.machine import load_average
from harness.util.store import size_bytes
from harness.util.text import error_text
from harness.verdicts.comparability import comparisons, judged_batch
from harness.verdicts.recommendation import recommend

OVERALL = "Drops between models are judged over all labels together, not label by label."


@dataclass(frozen=True)
class Lineup:
    """The models of one task that meet on one device, in the suite's order."""

    task: str
    device: Device
    entrants: tuple[tuple[Case, Path], ...]
    """A case for each model that has a recommended backend, and its suite's folder."""
    absent: dict[str, str]
    """Model → why no backend of it is recommended."""


@dataclass(frozen=True)
class Entrant:
    """A case of a lineup, ready to be measured."""

    case: Case
    state: State
    contender: Contender


def lineups(results: Iterable[Result], selected: Mapping[str, tuple[Case, Path]]) -> Iterator[Lineup]:
    """Yield the tasks that have a recommended backend for at least two models.

    `selected` maps the names of the session's cases to the case and its suite's folder.
    """
    order = list(dict.fromkeys(case.model.name for case, _ in selected.values()))
    groups: dict[tuple[str, Device], list[list[Result]]] = defaultdict(list)
    for group in comparisons(results):
        groups[group[0].task, group[0].device].append(group)
    for (task, device), compared in groups.items():
        entrants: list[tuple[Case, Path]] = []
        absent = {}
        for group in sorted(compared, key=lambda group: order.index(group[0].model)):
            recommended, reason = recommend(group)
            batch, first = judged_batch(group), entrants[0][0].gate if entrants else None
            if recommended is None:
                absent[group[0].model] = reason
            elif first and first.batch != batch:
                absent[group[0].model] = f"its gate judges batch {batch}, that of the first model batch {first.batch}"
            else:
                entrants.append(selected[recommended.name])
        if len(entrants) > 1:
            yield Lineup(task, device, tuple(entrants), absent)


@stage("finals")
def hold_finals(lineup: Lineup, options: Options, progress: Progress, fingerprint: str) -> Finals:
    """Measure the entrants, the first of which is the reference; raise Stopped on any failure."""
    entrants = [_prepare(case, folder, options, progress) for case, folder in lineup.entrants]
    first, state = entrants[0].case, entrants[0].state
    split = state.split
    assert split is not None
    rows = split.test

    def raw_columns(numbers: list[int]) -> Arrays:
        return adapters.columns_from_rows([rows[number] for number in numbers], first.task.inputs)

    environment = replace(state.environment, load_before=load_average())
    raw = workload(first.batches(options.batches)[0], len(rows), raw_columns)
    contenders = [entrant.contender for entrant in entrants]
    measured = measurement.measure(contenders, [raw], lineup.device, options, progress)
    return Finals(
        task=lineup.task,
        device=lineup.device,
        measurement=state.measurement_id,
        fingerprint=fingerprint,
        created=state.created,
        environment=environment,
        metric=first.task.metric,
        test_sha256=split.sha256["test"],
        max_drop=first.gate.max_drop if first.gate else None,
        entries=tuple(_finalist(entrant, entrants[0], measured, options.threads) for entrant in entrants),
        absent=lineup.absent,
        windows=tuple(measured.windows),
        disturbance=measured.disturbance,
        notes=(*measurement.notes(measured, len(rows)), *((OVERALL,) if split.labels else ())),
    )


def _prepare(case: Case, folder: Path, options: Options, progress: Progress) -> Entrant:
    """Take from the store what the comparison built; its arm prepares raw rows inside the timed window."""
    name = case.backend.name
    state = prepare(Comparison((case,), folder), replace(options, retrain=False, seeds=1), progress)
    if name in state.failures:
        raise HarnessError(f"{case}: not ready for the finals: {state.failures[name].message}")
    prepared, checkpoint = state.prepared[name], state.checkpoint
    assert checkpoint is not None
    preprocessing = adapters.Preprocessing(case.task.kind, checkpoint.path, case.task.inputs, case.model.max_length)
    arm = Arm(f"{case.model.name}.{name}", prepared.backend, prepared.artifact.path, preprocessing, kind=case.task.kind)
    return Entrant(case, state, Contender(arm, prepared.scored))


def _finalist(entrant: Entrant, first: Entrant, measured: Measurement, threads: int) -> Finalist:
    case, arm, scored = entrant.case, entrant.contender.arm, entrant.contender.scored
    inputs = entrant.state.test
    assert inputs is not None
    metric, truths = inputs.metrics[case.task.metric], inputs.truths()
    error = measured.failed.get(arm.name)
    bounds = None if entrant is first else drop_bounds(scored, first.contender.scored, truths, metric)
    process, series = None, []
    if error is None:
        process = record.process_of(arm.name, measured)
        series = [record.series_of(arm.name, measured.samples[0], measured, threads, first.contender.arm.name)]
    return Finalist(
        model=case.model.name,
        backend=case.backend.name,
        score=scored.score,
        correct=correctness(scored.predictions, truths, metric),
        drop_bounds=bounds,
        size_bytes=size_bytes(arm.artifact),
        process=process,
        series=tuple(series),
        error=error_text(error) if error else None,
    )
