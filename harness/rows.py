"""Test rows as they were answered: the table kept beside a result, and the rows two backends answer differently."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.answers import Scored
from harness.contracts import REFERENCE
from harness.data import Split
from harness.evidence import Answers, Flip
from harness.findings import Findings
from harness.kinds.labels import label_name
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
    if made is None or reference is None or findings.split is None:
        return None
    names = findings.split.labels
    columns: dict[str, Any] = {
        "row": range(len(findings.split.test)),
        "label": [names[i] for i in findings.split.test["label"]],
        "prediction": [label_name(names, i) for i in made.scored.predictions],
        "reference": [label_name(names, i) for i in reference.scored.predictions],
    }
    return pd.DataFrame(columns | {output: list(values) for output, values in made.scored.single.items()})


def answers(case: Case, findings: Findings) -> Answers | None:
    """The case's answers held against the reference's, once both have answered."""
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
    quotable = not isinstance(task.dataset, Folder) or task.dataset.keep_text
    return tuple(
        Flip(
            row=row,
            label=split.labels[split.test["label"][row]],
            reference=label_name(split.labels, reference.predictions[row]),
            own=label_name(split.labels, own.predictions[row]),
            text=_text(split.test[row], task.inputs) if quotable else "",
        )
        for row in rows
    )


def _text(row: Row, inputs: tuple[str, ...]) -> str:
    texts = [" ".join(row[name].split()) for name in inputs if isinstance(row[name], str)]
    return textwrap.shorten(" | ".join(texts), EXCERPT, placeholder=" …")
