"""The finals: the recommended backend of each of a task's models, on the same raw rows in the same rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from harness.contracts.backend import CONTROL, Device
from harness.contracts.kind import Arrays
from harness.errors import HarnessError
from harness.evaluation import parity
from harness.measure import adapters, rounds
from harness.measure.rounds import ORDER_SEED, batch_rows, row_order
from harness.measure.samples import Arm, Measurement, WorkloadInputs
from harness.pipeline import record
from harness.pipeline.findings import Contender, Findings
from harness.pipeline.plan import Comparison, Options
from harness.pipeline.prepare import prepare
from harness.pipeline.stages import Stopped, stage
from harness.results.schema import Finalist, Finals, Result
from harness.spec import Case
from harness.util.console import Progress
from harness.util.machine import describe, load_average
from harness.util.store import size_bytes
from harness.util.text import error_text
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend
from harness.verdicts.speed import is_settled


@dataclass(frozen=True)
class Entrant:
    """A case that its comparison recommends, and its suite's folder."""

    case: Case
    folder: Path


@dataclass(frozen=True)
class Pairing:
    """Models of one task that meet on one device, in the suite's order."""

    task: str
    device: Device
    entrants: tuple[Entrant, ...]
    absent: dict[str, str]
    """Model → why no backend of it is recommended."""


@dataclass(frozen=True)
class Ready:
    """An entrant that can be measured."""

    case: Case
    findings: Findings
    made: Contender
    arm: Arm


def pairings(results: Iterable[Result], selected: Mapping[str, tuple[Case, Path]]) -> Iterator[Pairing]:
    """Tasks for which a backend is recommended for two models at least; `selected` is the session's, by name."""
    order = list(dict.fromkeys(case.model.name for case, _ in selected.values()))
    groups: dict[tuple[str, Device], list[list[Result]]] = defaultdict(list)
    for group in comparisons(results):
        groups[group[0].task, group[0].device].append(group)
    for (task, device), found in groups.items():
        entrants, absent = [], {}
        for group in sorted(found, key=lambda group: order.index(group[0].model)):
            chosen, why = recommend(group)
            if chosen is None:
                absent[group[0].model] = why
            else:
                entrants.append(Entrant(*selected[chosen.name]))
        if len(entrants) > 1:
            yield Pairing(task, device, tuple(entrants), absent)


def hold_finals(pairing: Pairing, options: Options, progress: Progress) -> Finals:
    """Measure the entrants, the first of which is the reference; HarnessError for whatever stops that."""
    try:
        with stage("finals"):
            return _hold(pairing, options, progress)
    except Stopped as stopped:
        raise HarnessError(stopped.failure.message) from stopped


def _hold(pairing: Pairing, options: Options, progress: Progress) -> Finals:
    entrants = pairing.entrants
    first = entrants[0].case
    ready = [_ready(entrant, options, progress) for entrant in entrants]
    arms = [one.arm for one in ready]
    scored = {one.arm.name: one.made.scored for one in ready} | {CONTROL: ready[0].made.scored}
    environment = describe(options.machine, options.threads, entrants[0].folder, options.spinning)
    split = ready[0].findings.split
    assert split is not None

    def arrays(rows: list[int]) -> Arrays:
        return adapters.columns_of([split.test[row] for row in rows], first.task.inputs)

    order = row_order(len(split.test))
    found = rounds.measure(
        [arms[0], replace(arms[0], name=CONTROL), *arms[1:]],
        [WorkloadInputs(options.batches[0], ORDER_SEED, lambda number: batch_rows(order, number, 1), arrays)],
        options.settings(first.device),
        lambda name, rows, outputs: parity.check_timed(name, scored[name], rows, outputs),
        lambda samples: is_settled(samples, arms[0].name, dict.fromkeys((arm.name for arm in arms[1:]), None)),
        progress,
    )
    return Finals(
        task=first.task.name,
        device=first.device,
        measurement=uuid4().hex[:12],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=replace(environment, load_before=load_average()),
        metric=first.task.metric,
        test_sha256=split.sha256["test"],
        max_drop=first.gate.max_drop if first.gate else None,
        entries=tuple(_entry(one, ready[0], found, options.threads) for one in ready),
        absent=pairing.absent,
        disturbance=found.disturbance,
        notes=tuple(found.notes()),
    )


def _ready(entrant: Entrant, options: Options, progress: Progress) -> Ready:
    """What the comparison built: from the store, where it lies."""
    once = replace(options, retrain=False, seeds=1)
    findings, _ = prepare(Comparison((entrant.case,), entrant.folder), once, progress)
    case = entrant.case
    name = case.backend.name
    if name in findings.failures:
        raise HarnessError(f"{case}: not ready for the finals: {findings.failures[name].message}")
    made = findings.contenders[name]
    assert findings.checkpoint is not None
    before = adapters.Preprocessing(case.task.kind, findings.checkpoint.path, case.task.inputs, case.model.max_length)
    arm = Arm(f"{case.model.name}.{name}", made.backend, made.artifact.path, before, case.task.kind)
    return Ready(case, findings, made, arm)


def _entry(one: Ready, first: Ready, found: Measurement, threads: int) -> Finalist:
    case, made, name = one.case, one.made, one.arm.name
    failed = found.failed.get(name)
    assert one.findings.test is not None
    truths = one.findings.test.truths()
    return Finalist(
        model=case.model.name,
        backend=case.backend.name,
        score=made.scored.score,
        right=parity.right_rows(made.scored.predictions, truths, case.task.metric),
        bounds=None if one is first else parity.bounds(made.scored, first.made.scored, truths, case.task.metric),
        size_bytes=size_bytes(made.artifact.path),
        process=None if failed else record.process_of(name, found),
        series=() if failed else (record.series_of(name, found.samples[0], found, threads, first.arm.name),),
        error=error_text(failed) if failed else None,
    )
