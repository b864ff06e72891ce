"""Test rows as they were answered: the table kept beside a result, and the rows two backends answer differently."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.accuracy.answers import Scored
from harness.accuracy.parity import compare_answers, right_rows
from harness.accuracy.score import answered
from harness.case import Case
from harness.contracts import REFERENCE
from harness.dataset.data import Split
from harness.dataset.inputs import Inputs
from harness.origins.sources import Folder, Row
from harness.records.evidence import Answers, Flip
from harness.records.findings import Findings
from harness.spec import Task

FLIPS = 20
"""Flipped rows kept for reading; all of them are in the parquet."""
ANSWERED = ("label", "prediction", "reference")
EXCERPT = 200
"""Characters of a row's texts."""
LARGEST = 128
"""Numbers of a row's output that are kept beside its answer; embeddings would make tables of megabytes."""


def table(case: Case, findings: Findings) -> pd.DataFrame | None:
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


def answers(case: Case, findings: Findings) -> Answers | None:
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
