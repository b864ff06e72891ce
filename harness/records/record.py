"""From what a comparison found out to one result a case."""

from __future__ import annotations

from typing import Any

from harness.accuracy import rows
from harness.cache import Entry, size_bytes
from harness.case import Case
from harness.contracts import REFERENCE
from harness.fingerprints import canonical
from harness.origins import content
from harness.origins.sources import Hub, Local
from harness.records.findings import Findings
from harness.records.schema import Built, Data, Failure, Promise, Result
from harness.records.timings import process_of, series_of
from harness.spec import Model, Task
from harness.verdicts.judge import promise


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
        recipe=_recipe(case.model) | _weights(case.model, findings),
        data=_data(case.task, findings),
        checkpoint=_built(findings.checkpoint),
        artifact=_built(made.artifact) if made else None,
        answers=rows.answers(case, findings),
        process=process_of(name, measured),
        reference_process=process_of(REFERENCE, measured) if name != REFERENCE else None,
        series=tuple(
            series_of(name, samples, measured, findings.environment.threads)
            for samples in measured.samples
            if samples.has(name)
        )
        if measured
        else (),
        promise=_promise(case),
        constraints=findings.constraints,
        disturbance=measured.disturbance if measured else None,
        gpu=tuple(measured.gpu) if measured else (),
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
        recipe=_recipe(case.model),
        promise=_promise(case),
    )


def _data(task: Task, findings: Findings) -> Data | None:
    split, source = findings.split, task.dataset
    if split is None:
        return None
    return Data(
        source=str(source),
        source_sha256=content.of_rows(source, findings.folder),
        kind=task.kind.name,
        inputs=task.inputs,
        metric=task.metric,
        labels=split.labels,
        sizes=split.sizes(),
        sha256=split.sha256,
        duplicates=split.duplicates,
    )


def _recipe(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = canonical(model.recipe)
    return found | {"max_length": model.max_length, "source": canonical(model.source)}


def _weights(model: Model, findings: Findings) -> dict[str, Any]:
    """What the checkpoint held, where its name says nothing of that."""
    if not isinstance(model.source, Hub | Local):
        return {}
    return {"source_content": content.of_model(model.source, findings.folder)}


def _built(entry: Entry | None) -> Built | None:
    if entry is None:
        return None
    key = entry.path.name.rsplit("-", 1)[1]
    return Built(key=key, size_bytes=size_bytes(entry.path), seconds=entry.seconds, info=entry.info)


def _promise(case: Case) -> Promise | None:
    return None if case.gate is None else promise(case.gate)
