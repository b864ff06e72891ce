"""Test rows as they were answered: the table kept beside a result, and the rows two backends answer differently."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from harness.answers import Scored
from harness.contracts import REFERENCE
from harness.data import Split
from harness.evidence import Answers, Flip
from harness.findings import Findings
from harness.inputs import Inputs
from harness.parity import compare_answers
from harness.sources import Folder, Row
from harness.spec import Case, Task

FLIPS = 20
"""Flipped rows kept for reading; all of them are in the parquet."""
EXCERPT = 200
"""Characters of a row's texts."""


def table(case: Case, findings: Findings) -> pd.DataFrame | None:
    """One line a test row: label, this backend's and the reference's answer, and this backend's outputs."""
    made, reference = findings.contenders.get(case.backend.name), findings.contenders.get(REFERENCE)
    inputs = findings.test
    if made is None or reference is None or inputs is None:
        return None
    columns: dict[str, Any] = {
        "row": range(len(inputs)),
        "label": list(map(inputs.tell, inputs.truths())),
        "prediction": list(map(inputs.tell, made.scored.predictions)),
        "reference": list(map(inputs.tell, reference.scored.predictions)),
    }
    outputs = made.scored.single
    return pd.DataFrame(columns | {name: [_cell(row[name]) for row in outputs] for name in outputs[0]})


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


def _cell(values: NDArray[Any]) -> Any:
    """A row's output: that of its one entry as it is, of several as lists."""
    return values[0] if len(values) == 1 and values.ndim < 3 else values.tolist()


def _flips(task: Task, inputs: Inputs, split: Split, own: Scored, reference: Scored) -> tuple[Flip, ...]:
    """The first rows that the two answer differently."""
    pairs = enumerate(zip(own.predictions, reference.predictions, strict=True))
    rows = [row for row, (mine, theirs) in pairs if mine != theirs][:FLIPS]
    truths = inputs.truths()
    quotable = not isinstance(task.dataset, Folder) or task.dataset.keep_text
    return tuple(
        Flip(
            row=row,
            label=_told(inputs, truths[row], quotable),
            reference=_told(inputs, reference.predictions[row], quotable),
            own=_told(inputs, own.predictions[row], quotable),
            text=_text(split.test[row], task.inputs) if quotable else "",
        )
        for row in rows
    )


def _told(inputs: Inputs, prediction: Any, quotable: bool) -> str:
    """A prediction in words, unless they are of the user's own text."""
    if not quotable and inputs.kind.label not in ("one", "each"):
        return ""
    return textwrap.shorten(inputs.tell(prediction), EXCERPT, placeholder=" …")


def _text(row: Row, inputs: tuple[str, ...]) -> str:
    values = (" ".join(row[name]) if _is_words(row[name]) else row[name] for name in inputs)
    texts = [" ".join(value.split()) for value in values if isinstance(value, str)]
    return textwrap.shorten(" | ".join(texts), EXCERPT, placeholder=" …")


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)
