"""The records of a comparison: one result a case, its samples, and its answers row by row."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.contracts.backend import COMPANIONS, CONTROL, REFERENCE
from harness.contracts.sources import Folder, Hub, Local, Row
from harness.data.inputs import Inputs
from harness.data.splits import Split
from harness.evaluation.answers import compare_answers, correctness
from harness.evaluation.predictions import Evaluation
from harness.evaluation.score import compared_parts
from harness.measure.samples import Measurement, Samples
from harness.pipeline.state import State
from harness.results.schema import Answers, Built, Data, Failure, Flip, Process, Result, Series, Workload
from harness.spec import Case, Task
from harness.util.identity import canonical
from harness.util.store import Entry, size_bytes
from harness.verdicts.labels import label_notes

FLIPS = 20
"""Flipped rows that a result keeps; the parquet beside it has all of them."""
ANSWERED = ("label", "prediction", "reference")
EXCERPT = 200
"""Characters kept of a row's texts."""
LARGEST = 128
"""Most numbers of a row's output that are kept beside its answer: embeddings would make tables of megabytes."""


def result_of(case: Case, state: State) -> Result:
    """Return the case's result: `ok` if it was measured, else the failure and everything that came before it."""
    name = case.backend.name
    bare = bare_result(case, state, state.failures.get(name))
    measured = state.measurement if bare.error is None else None
    prepared, source = state.prepared.get(name), case.model.source
    # A digest of the source's weights where its declaration pins none.
    weights = {"source_content": source.content(state.comparison.folder)} if isinstance(source, Hub | Local) else {}
    result = replace(
        bare,
        recipe=bare.recipe | weights,
        data=_data(case.task, state),
        checkpoint=_built(state.checkpoint) if state.checkpoint else None,
        artifact=_built(prepared.artifact) if prepared else None,
        answers=summarize_answers(case, state),
        constraints=state.options.constraints,
        seeds=state.seeds,
        notes=tuple(state.notes),
    )
    result = replace(result, notes=(*result.notes, *label_notes(result)))
    if measured is None:
        return result
    threads = state.environment.threads
    return replace(
        result,
        process=process_of(name, measured),
        reference_process=process_of(REFERENCE, measured) if name != REFERENCE else None,
        series=tuple(series_of(name, part, measured, threads) for part in measured.samples if part.has(name)),
        windows=tuple(measured.windows),
        disturbance=measured.disturbance,
        gpu=tuple(measured.gpu),
    )


def bare_result(case: Case, state: State, failure: Failure | None) -> Result:
    """Return the case's identity and failure, from values that raise nothing."""
    model = case.model
    return Result(
        task=case.task.name,
        model=model.name,
        backend=case.backend.name,
        device=case.device,
        status=failure.status if failure else "ok",
        error=failure,
        measurement=state.measurement_id,
        fingerprint=state.comparison.fingerprint,
        created=state.created,
        environment=state.environment,
        recipe=canonical(model.recipe)
        | {"max_length": model.max_length, "source": canonical(model.source)}
        | ({} if model.new_tokens is None else {"new_tokens": model.new_tokens}),
        gate=case.gate,
    )


def process_of(name: str, measured: Measurement) -> Process:
    """Return the figures that the arm's workers reported."""
    reported = vars(measured.workers[name]).items()
    figures: dict[str, Any] = {field: tuple(value) if isinstance(value, list) else value for field, value in reported}
    return Process(**figures)


def series_of(name: str, samples: Samples, measured: Measurement, threads: int, reference: str = REFERENCE) -> Series:
    """Return one workload's samples of the arm, and of reference and control in the same rounds."""

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
        arms=len({arm for arm in samples.ns if samples.has(arm)} - {reference, *COMPANIONS} - measured.failed.keys()),
        first_token_ns=frozen(first) if any(map(any, first := samples.first_token_ns.get(name, []))) else (),
        tail_ns=tuple(samples.tail_ns.get(name, ())),
    )


def answers_table(case: Case, state: State) -> pd.DataFrame | None:
    """Return one line a test row: label, this backend's and the reference's answer, this backend's smaller outputs.

    Where answers are text of the user's own rows, it says only whether each is right: outputs would disclose the text.
    """
    pair = _answered(case, state)
    if pair is None:
        return None
    inputs, own, reference = pair
    columns: dict[str, Any] = {"row": range(len(inputs))}
    if _may_show_answers(inputs, case.task):
        for name, answers in zip(ANSWERED, (inputs.truths(), own.predictions, reference.predictions), strict=True):
            columns[name] = [inputs.describe(answer) for answer in answers]
        outputs = {name: [row[name] for row in own.single] for name in own.single[0]}
        columns |= {name: _cells(values) for name, values in outputs.items() if max(map(np.size, values)) <= LARGEST}
    else:
        for name, evaluation in zip(ANSWERED[1:], (own, reference), strict=True):
            correct = correctness(evaluation.predictions, inputs.truths(), inputs.metrics[case.task.metric])
            columns[name] = ["right" if row == "1" else "wrong" for row in correct]
    return pd.DataFrame(columns)


def summarize_answers(case: Case, state: State) -> Answers | None:
    """Return the case's answers compared with the reference's, once both have answered."""
    pair = _answered(case, state)
    if pair is None or state.split is None:
        return None
    inputs, own, reference = pair
    source = case.backend.source.name if case.backend.source else REFERENCE
    metric = inputs.metrics[case.task.metric]
    answers = compare_answers(own, reference, state.prepared[source].scored, source, inputs, metric)
    return replace(answers, flips=_flips(case.task, inputs, state.split, own, reference))


def _answered(case: Case, state: State) -> tuple[Inputs, Evaluation, Evaluation] | None:
    own, reference = state.prepared.get(case.backend.name), state.prepared.get(REFERENCE)
    if own is None or reference is None or state.test is None:
        return None
    return state.test, own.scored, reference.scored


def _may_quote(task: Task) -> bool:
    return not isinstance(task.dataset, Folder) or task.dataset.keep_text


def _may_show_answers(inputs: Inputs, task: Task) -> bool:
    """Return True if results may hold the answers: labels always, texts where rows may be quoted."""
    return inputs.kind.names_labels or inputs.kind.label == "number" or _may_quote(task)


def _cells(outputs: list[NDArray[Any]]) -> list[Any]:
    """Return one output of every row: unchanged where each has one entry with one axis, else as lists."""
    plain = all(len(values) == 1 and values.ndim < 3 for values in outputs)
    return [values[0] if plain else values.tolist() for values in outputs]


def _flips(task: Task, inputs: Inputs, split: Split, own: Evaluation, reference: Evaluation) -> tuple[Flip, ...]:
    """Return the first rows that the two answer differently."""
    parts = (compared_parts(inputs.metrics[task.metric], evaluation.predictions) for evaluation in (own, reference))
    rows = [row for row, (mine, theirs) in enumerate(zip(*parts, strict=True)) if mine != theirs][:FLIPS]
    truths = inputs.truths()
    shorten = partial(textwrap.shorten, width=EXCERPT, placeholder=" …")

    def excerpt(answer: Any) -> str:
        return shorten(inputs.describe(answer)) if _may_show_answers(inputs, task) else ""

    def quote(row: Row) -> str:
        values = (row[name] for name in task.inputs)
        # Rows of words, as tagging reads them, are quoted as one text.
        texts = (" ".join(v) if isinstance(v, list) and all(isinstance(w, str) for w in v) else v for v in values)
        return shorten(" | ".join(" ".join(text.split()) for text in texts if isinstance(text, str)))

    return tuple(
        Flip(
            row=row,
            label=excerpt(truths[row]),
            reference=excerpt(reference.predictions[row]),
            own=excerpt(own.predictions[row]),
            text=quote(split.test[row]) if _may_quote(task) else "",
        )
        for row in rows
    )


def _data(task: Task, state: State) -> Data | None:
    split, source = state.split, task.dataset
    if split is None:
        return None
    return Data(
        source=str(source),
        source_sha256=source.content(state.comparison.folder),
        kind=task.kind.name,
        inputs=task.inputs,
        metric=task.metric,
        readings={name: metric.reading for name, metric in split.metrics.items() if metric.reading},
        labels=split.labels,
        sizes=split.sizes(),
        sha256=split.sha256,
        duplicates=split.duplicates,
    )


def _built(entry: Entry) -> Built:
    key = entry.path.name.rsplit("-", 1)[1]
    return Built(key=key, size_bytes=size_bytes(entry.path), seconds=entry.seconds, info=entry.info)
