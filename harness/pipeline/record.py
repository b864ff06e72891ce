"""What a result keeps of a measurement.

ALSO: Test rows as they were answered: the table kept beside a result, and the rows two backends answer differently.
ALSO: From what a comparison found out to one result a case."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.contracts.backend import CONTROL, REFERENCE
from harness.contracts.sources import Folder, Hub, Local, Row
from harness.data import reading
from harness.data.inputs import Inputs
from harness.data.splits import Split
from harness.evaluation.parity import compare_answers, right_rows
from harness.evaluation.predictions import Scored
from harness.evaluation.score import answered
from harness.measure.samples import Measurement, Samples
from harness.pipeline.findings import Findings
from harness.results.schema import Answers, Built, Data, Failure, Flip, Process, Result, Series, Workload
from harness.spec import Case, Model, Task
from harness.util.fingerprints import canonical
from harness.util.store import Entry, size_bytes


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
        peak_vram_bytes=tuple(lives.peak_vram_bytes),
        settings=lives.settings,
    )


def series_of(name: str, samples: Samples, measured: Measurement, threads: int, reference: str = REFERENCE) -> Series:
    """One workload's samples of the arm, and of reference and control in the same rounds."""

    def frozen(values: list[list[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(launch) for launch in values)

    return Series(
        workload=Workload(batch=samples.batch, threads=threads, order_seed=samples.order_seed),
        loops=samples.loops,
        own_ns=frozen(samples.ns[name]),
        reference_ns=frozen(samples.ns[reference]),
        control_ns=frozen(samples.ns[CONTROL]) if samples.has(CONTROL) else (),  # else nothing to pair
        rows=frozen(samples.rows),
        lengths=frozen(samples.lengths),
        arms=len({arm for arm in samples.ns if samples.has(arm)} - {reference, CONTROL} - measured.failed.keys()),
        tail_ns=tuple(samples.tail_ns.get(name, ())),
    )


FLIPS = 20
"""Flipped rows kept for reading; all of them are in the parquet."""

ANSWERED = ("label", "prediction", "reference")

EXCERPT = 200
"""Characters of a row's texts."""

LARGEST = 128
"""Numbers of a row's output that are kept beside its answer; embeddings would make tables of megabytes."""


def answers_table(case: Case, findings: Findings) -> pd.DataFrame | None:
    """One line a test row: label, this backend's and the reference's answer, and this backend's smaller outputs.

    Where the answers are text of the user's own rows, only whether each is right: outputs would tell that text too.
    """
    made, reference = findings.contenders.get(case.backend.name), findings.contenders.get(REFERENCE)
    inputs = findings.test
    if made is None or reference is None or inputs is None:
        return None
    own, other = made.scored.predictions, reference.scored.predictions
    columns: dict[str, Any] = {"row": range(len(inputs))}
    if _tells(inputs, case.task):
        told = zip(ANSWERED, (inputs.truths(), own, other), strict=True)
        columns |= {name: list(map(inputs.tell, one)) for name, one in told}
        outputs = {name: [row[name] for row in made.scored.single] for name in made.scored.single[0]}
        columns |= {name: _cells(values) for name, values in outputs.items() if max(map(np.size, values)) <= LARGEST}
    else:
        judged = zip(ANSWERED[1:], (own, other), strict=True)
        columns |= {name: _judged(one, inputs, case.task) for name, one in judged}
    return pd.DataFrame(columns)


def summarize_answers(case: Case, findings: Findings) -> Answers | None:
    """The case's answers held against the reference's, once both have answered."""
    made, reference = findings.contenders.get(case.backend.name), findings.contenders.get(REFERENCE)
    if made is None or reference is None or findings.test is None:
        return None
    assert findings.split is not None
    source = case.backend.source.name if case.backend.source else REFERENCE
    found = compare_answers(
        made.scored,
        reference.scored,
        findings.contenders[source].scored,
        source,
        findings.test,
        case.task.metric,
    )
    return replace(found, flips=_flips(case.task, findings.test, findings.split, made.scored, reference.scored))


def _judged(predictions: Sequence[Any], inputs: Inputs, task: Task) -> list[str]:
    return ["right" if right == "1" else "wrong" for right in right_rows(predictions, inputs.truths(), task.metric)]


def _quotes(task: Task) -> bool:
    """Whether results may quote the task's rows."""
    return not isinstance(task.dataset, Folder) or task.dataset.keep_text


def _tells(inputs: Inputs, task: Task) -> bool:
    """Whether results may tell the answers: labels always, texts where they may quote the rows."""
    return inputs.kind.label in ("one", "each") or _quotes(task)


def _cells(outputs: list[NDArray[Any]]) -> list[Any]:
    """One output of every row: as it is where each has one entry with one axis, else as lists."""
    plain = all(len(values) == 1 and values.ndim < 3 for values in outputs)
    return [values[0] if plain else values.tolist() for values in outputs]


def _flips(task: Task, inputs: Inputs, split: Split, own: Scored, reference: Scored) -> tuple[Flip, ...]:
    """The first rows that the two answer differently."""
    read = (answered(task.metric, one.predictions) for one in (own, reference))
    pairs = enumerate(zip(*read, strict=True))
    rows = [row for row, (mine, theirs) in pairs if mine != theirs][:FLIPS]
    truths = inputs.truths()

    def told(prediction: Any) -> str:
        return textwrap.shorten(inputs.tell(prediction), EXCERPT, placeholder=" …") if _tells(inputs, task) else ""

    return tuple(
        Flip(
            row=row,
            label=told(truths[row]),
            reference=told(reference.predictions[row]),
            own=told(own.predictions[row]),
            text=_text(split.test[row], task.inputs) if _quotes(task) else "",
        )
        for row in rows
    )


def _text(row: Row, inputs: tuple[str, ...]) -> str:
    values = (" ".join(row[name]) if _is_words(row[name]) else row[name] for name in inputs)
    texts = [" ".join(value.split()) for value in values if isinstance(value, str)]
    return textwrap.shorten(" | ".join(texts), EXCERPT, placeholder=" …")


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


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
        answers=summarize_answers(case, findings),
        process=process_of(name, measured),
        reference_process=process_of(REFERENCE, measured) if name != REFERENCE else None,
        series=tuple(
            series_of(name, samples, measured, findings.environment.threads)
            for samples in measured.samples
            if samples.has(name)
        )
        if measured
        else (),
        gate=case.gate,
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
        gate=case.gate,
    )


def _data(task: Task, findings: Findings) -> Data | None:
    split, source = findings.split, task.dataset
    if split is None:
        return None
    return Data(
        source=str(source),
        source_sha256=reading.of_rows(source, findings.folder),
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
    return {"source_content": reading.of_model(model.source, findings.folder)}


def _built(entry: Entry | None) -> Built | None:
    if entry is None:
        return None
    key = entry.path.name.rsplit("-", 1)[1]
    return Built(key=key, size_bytes=size_bytes(entry.path), seconds=entry.seconds, info=entry.info)
