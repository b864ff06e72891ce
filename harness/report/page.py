"""Every comparison as one HTML page that stands alone: no request, no library, readable on a telephone and in print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from markupsafe import Markup

from harness.contracts import REFERENCE
from harness.records.compare import comparisons, recommend
from harness.records.schema import Result
from harness.records.tidy import first_and_last
from harness.report import sentences
from harness.report.batches import TITLE, throughput
from harness.report.lengths import by_length
from harness.report.models import finals_notes, finals_sentence, finals_view
from harness.report.overview import anchor, overview
from harness.report.pictures import pictures
from harness.report.short import red, status
from harness.report.svg import inline
from harness.report.tables import LENGTHS, phases
from harness.report.template import rendered
from harness.verdicts.finals import Finals

FILTERS = ("task", "model", "backend", "device", "verdict")


def page(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """The page, as HTML."""
    groups, finals = list(comparisons(results)), list(finals)
    columns, table = overview(groups)
    return rendered(
        "page.html",
        rows=table,
        status=status(groups),
        red=list(red(groups)),
        measured=sorted({result.created[:10] for group in groups for result in group}),
        columns=columns,
        reference=REFERENCE,
        filters={name: sorted({row[name] for row in table}) for name in FILTERS},
        many_machines=len({group[0].environment.machine for group in groups}) > 1,
        comparisons=[_comparison(number, group) for number, group in enumerate(groups)],
        finals=[_finals(found) for found in finals],
        lengths_told=LENGTHS,
    )


def _comparison(number: int, group: list[Result]) -> dict[str, Any]:
    first = group[0]
    chosen, why = recommend(group)
    drawn = [
        {"title": found.title, "hint": found.hint, "svg": Markup(inline(found.figure, found.told, f"p{number}-{at}"))}  # noqa: S704
        for at, found in enumerate(pictures(group))
    ]
    return {
        "anchor": anchor(group),
        "task": first.task,
        "model": first.model,
        "device": first.device,
        "machine": first.environment.machine,
        "chosen": chosen.backend if chosen else None,
        "why": why,
        "pictures": drawn,
        "sentences": sentences.said(group),
        "disturbed": sentences.disturbed(group),
        "provenance": sentences.provenance(group).split("\n"),
        "flips": [_flips(result) for result in group if result.answers and result.answers.flips],
        "notes": list(dict.fromkeys(note for result in group for note in result.notes)),
        "created": sorted({result.created for result in group}),
        "phases": _table(phases(first_and_last(group))),
        "lengths": _table(by_length(group)),
        "by_batch": {"title": TITLE} | _table(throughput(group)),
        "data": _data(group),
    }


def _flips(result: Result) -> dict[str, Any]:
    assert result.answers is not None
    found = result.answers
    return {"backend": result.backend, "shown": found.flips, "lost": found.lost, "gained": found.gained}


def _data(group: list[Result]) -> list[tuple[str, str]]:
    """What was asked and how it was trained, as terms and what they are."""
    known = next((result for result in group if result.data), None)
    if known is None or known.data is None:
        return []
    found = known.data
    sizes = ", ".join(f"{count:,} {part}" for part, count in found.sizes.items())
    told = {name: value for name, value in known.recipe.items() if name != "type" and not isinstance(value, dict)}
    recipe = ", ".join(f"{name} {value}" for name, value in told.items())
    return [
        ("rows", f"{found.source}; {sizes}; {found.duplicates} duplicates left out"),
        ("metric", found.metric),
        ("recipe", recipe),
        ("sha256 of test rows", found.sha256.get("test", "")),
    ]


def _finals(found: Finals) -> dict[str, Any]:
    return {
        "task": found.task,
        "device": found.device,
        "machine": found.environment.machine,
        "sentence": finals_sentence(found, mark=""),
        "models": _table(finals_view(found)),
        "notes": finals_notes(found),
    }


def _table(view: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(view.columns), "rows": view.to_numpy().tolist()}
