"""From what a comparison found out to one result a case."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from harness.answers import Scored
from harness.cache import Entry, canonical, size_bytes
from harness.data import Split
from harness.environment import Environment
from harness.judge import promise
from harness.parity import compare_answers
from harness.samples import Measurement, Samples
from harness.schema import (
    NO_CONSTRAINTS,
    Answers,
    Built,
    Constraints,
    Data,
    Failure,
    Flip,
    Process,
    Promise,
    Result,
    Seed,
    Series,
    Workload,
)
from harness.sources import Row
from harness.spec import CONTROL, REFERENCE, Case, Task

ORDER_SEED = 0
"""Of the order in which test rows are asked for."""
FLIPS = 20
"""Flipped rows kept for reading; all of them are in the parquet."""
EXCERPT = 200
"""Characters of a row's texts."""


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
    constraints: Constraints = NO_CONSTRAINTS
    seeds: tuple[Seed, ...] = ()
    inputs: str = ""


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
        inputs=findings.inputs,
        created=findings.created,
        environment=findings.environment,
        recipe=canonical(case.model.recipe) | {"source": canonical(case.model.source)},
        data=_data(case.task, findings.split),
        checkpoint=_built(findings.checkpoint),
        artifact=_built(made.artifact) if made else None,
        answers=_answers(case, findings),
        process=process_of(name, measured),
        reference_process=process_of(REFERENCE, measured) if name != REFERENCE else None,
        series=tuple(series_of(name, samples, measured, findings.environment.threads) for samples in measured.samples)
        if measured
        else (),
        promise=_promise(case),
        constraints=findings.constraints,
        disturbance=measured.disturbance if measured else None,
        seeds=findings.seeds,
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
        inputs=findings.inputs,
        created=findings.created,
        environment=findings.environment,
        recipe=canonical(case.model.recipe) | {"source": canonical(case.model.source)},
        promise=_promise(case),
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
    found = compare_answers(
        made.scored,
        reference.scored,
        findings.contenders[source].scored,
        source,
        findings.split.test["label"],
        case.task.metric,
    )
    return replace(found, flips=_flips(case.task, findings.split, made.scored, reference.scored))


def _flips(task: Task, split: Split, own: Scored, reference: Scored) -> tuple[Flip, ...]:
    """The first rows that the two answer differently."""
    pairs = enumerate(zip(own.predictions, reference.predictions, strict=True))
    rows = [row for row, (mine, theirs) in pairs if mine != theirs][:FLIPS]
    return tuple(
        Flip(
            row=row,
            label=split.labels[split.test["label"][row]],
            reference=split.labels[reference.predictions[row]],
            own=split.labels[own.predictions[row]],
            text=_text(split.test[row], task.inputs),
        )
        for row in rows
    )


def _text(row: Row, inputs: tuple[str, ...]) -> str:
    texts = [" ".join(row[name].split()) for name in inputs if isinstance(row[name], str)]
    return textwrap.shorten(" | ".join(texts), EXCERPT, placeholder=" …")


def _promise(case: Case) -> Promise | None:
    return None if case.gate is None else promise(case.gate)


def process_of(name: str, measured: Measurement | None) -> Process | None:
    """What the arm's workers said of themselves."""
    if measured is None:
        return None
    lives = measured.lives[name]
    return Process(
        import_ns=tuple(lives.import_ns),
        compile_ns=tuple(lives.compile_ns),
        load_ns=tuple(lives.load_ns),
        first_ns=tuple(lives.first_ns),
        peak_rss_bytes=tuple(lives.peak_rss_bytes),
        settings=lives.settings,
    )


def series_of(name: str, samples: Samples, measured: Measurement, threads: int, reference: str = REFERENCE) -> Series:
    """One workload's samples of the arm, and of reference and control in the same rounds."""

    def frozen(values: list[list[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(start) for start in values)

    # A control that died has fewer rounds than the reference, and nothing to be paired with.
    whole = list(map(len, samples.ns.get(CONTROL, []))) == list(map(len, samples.ns[reference]))
    return Series(
        workload=Workload(batch=samples.batch, threads=threads, order_seed=samples.order_seed),
        loops=samples.loops,
        own_ns=frozen(samples.ns[name]),
        reference_ns=frozen(samples.ns[reference]),
        control_ns=frozen(samples.ns.get(CONTROL, [])) if whole else (),
        rows=frozen(samples.rows),
        lengths=frozen(samples.lengths),
        arms=len(set(samples.ns) - {reference, CONTROL} - measured.failed.keys()),
        tail_ns=tuple(samples.tail_ns.get(name, ())),
    )
