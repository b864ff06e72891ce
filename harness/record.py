"""From what a comparison found out to one result a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from harness.answers import Scored, compare_answers
from harness.cache import Entry, canonical, size_bytes
from harness.data import Split
from harness.environment import Environment
from harness.results import Answers, Built, Data, Failure, Process, Result, Series, Workload
from harness.samples import Measurement, Samples
from harness.spec import CONTROL, REFERENCE, Case, Task


@dataclass(frozen=True)
class Contender:
    """A backend that is ready to be measured."""

    artifact: Entry
    scored: Scored


@dataclass
class Findings:
    """What is known so far; whatever a failure leaves here goes into the results."""

    measurement_id: str
    environment: Environment
    created: str
    split: Split | None = None
    checkpoint: Entry | None = None
    contenders: dict[str, Contender] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    measurement: Measurement | None = None
    notes: list[str] = field(default_factory=list)


def result(case: Case, findings: Findings) -> Result:
    """The case's result: `ok` if it was measured, else what stopped it and what was known by then."""
    name = case.backend.name
    stopped = findings.failures.get(name)
    measured = findings.measurement if stopped is None else None
    made = findings.contenders.get(name)
    return Result(
        task=case.task.name,
        model=case.model.name,
        backend=name,
        device=case.device,
        status="ok" if stopped is None else stopped.status,
        error=stopped,
        measurement=findings.measurement_id,
        created=findings.created,
        environment=findings.environment,
        recipe=canonical(case.model.recipe) | {"source": canonical(case.model.source)},
        data=_data(case.task, findings.split),
        checkpoint=_built(findings.checkpoint),
        artifact=_built(made.artifact) if made else None,
        answers=_answers(case, findings),
        process=_process(name, measured),
        series=tuple(_series(name, samples, findings.environment.threads) for samples in measured.samples)
        if measured
        else (),
        notes=tuple(findings.notes),
    )


def failure(case: Case, findings: Findings, why: Failure) -> Result:
    """A result that says why there is no other, from nothing that could stop it again."""
    return Result(
        task=case.task.name,
        model=case.model.name,
        backend=case.backend.name,
        device=case.device,
        status=why.status,
        error=why,
        measurement=findings.measurement_id,
        created=findings.created,
        environment=findings.environment,
        recipe=canonical(case.model.recipe) | {"source": canonical(case.model.source)},
    )


def table(case: Case, findings: Findings) -> pd.DataFrame | None:
    """One line a test row: label, this backend's and the reference's answer, and this backend's outputs."""
    made, reference = findings.contenders.get(case.backend.name), findings.contenders.get(REFERENCE)
    if made is None or reference is None or findings.split is None:
        return None
    names = findings.split.labels
    columns: dict[str, Any] = {
        "row": range(len(findings.split.test)),
        "label": [names[i] for i in findings.split.test["label"]],
        "prediction": [names[i] for i in made.scored.predictions],
        "reference": [names[i] for i in reference.scored.predictions],
    }
    return pd.DataFrame(columns | {output: list(values) for output, values in made.scored.single.items()})


def _data(task: Task, split: Split | None) -> Data | None:
    if split is None:
        return None
    return Data(
        source=f"{task.dataset.distribution}: {task.dataset.path}",
        source_sha256=task.dataset.sha256,
        kind=task.kind.name,
        metric=task.metric,
        labels=split.labels,
        sizes=split.sizes(),
        sha256=split.sha256(),
        duplicates=split.duplicates,
    )


def _built(entry: Entry | None) -> Built | None:
    if entry is None:
        return None
    key = entry.path.name.rsplit("-", 1)[1]
    return Built(key=key, size_bytes=size_bytes(entry.path), seconds=entry.seconds, info=entry.info)


def _answers(case: Case, findings: Findings) -> Answers | None:
    made, reference = findings.contenders.get(case.backend.name), findings.contenders.get(REFERENCE)
    if made is None or reference is None or findings.split is None:
        return None
    source = case.backend.source.name if case.backend.source else REFERENCE
    return compare_answers(
        made.scored, reference.scored, findings.contenders[source].scored, source, findings.split.test["label"]
    )


def _process(name: str, measured: Measurement | None) -> Process | None:
    if measured is None:
        return None
    lives = measured.lives[name]
    return Process(
        load_ns=tuple(lives.load_ns),
        first_ns=tuple(lives.first_ns),
        peak_rss_bytes=tuple(lives.peak_rss_bytes),
        settings=lives.settings,
    )


def _series(name: str, samples: Samples, threads: int) -> Series:
    def frozen(values: list[list[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(start) for start in values)

    # A control that died has fewer rounds than the reference, and nothing to be paired with.
    whole = list(map(len, samples.ns.get(CONTROL, []))) == list(map(len, samples.ns[REFERENCE]))
    return Series(
        workload=Workload(batch=samples.batch, threads=threads, order_seed=samples.order_seed),
        loops=samples.loops,
        own_ns=frozen(samples.ns[name]),
        reference_ns=frozen(samples.ns[REFERENCE]),
        control_ns=frozen(samples.ns.get(CONTROL, [])) if whole else (),
        rows=frozen(samples.rows),
        lengths=frozen(samples.lengths),
    )
