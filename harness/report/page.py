"""Comparisons as one self-contained HTML page: no request, no library, readable on a phone and in print."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import resources
from types import MappingProxyType
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.contracts.backend import REFERENCE
from harness.report import documents, matrix, rendering, sentences, tables
from harness.report.charts import inline, pictures
from harness.report.integrations import failures, status_line
from harness.results.schema import Finals, Result
from harness.util.text import one_line
from harness.verdicts.comparability import comparisons, judged_batch
from harness.verdicts.machines import Prices, candidates
from harness.verdicts.recommendation import recommend
from harness.verdicts.table import Cells, Shown, shown_batches, shown_rows

ASSETS = resources.files("harness.report") / "assets"

FILTERS = ("task", "model", "backend", "device", "verdict")

SIGNS = {
    "ship": "✔", "reference": "•", "same": "=", "slower": "▼", "worse": "✖", "below": "✖", "undecided": "?",
    "invalid": "!", "failed": "✖", "unsupported": "–",
}  # fmt: skip
"""Verdicts are marked by more than their colour."""


def page(
    results: Iterable[Result],
    finals: Iterable[Finals] = (),
    prices: Prices = MappingProxyType({}),
    max_cost: float | None = None,
) -> str:
    """Return the page of all comparisons as HTML."""
    groups = list(comparisons(results))
    columns, rows = _verdict_table(groups)
    return render_template(
        "page.html",
        rows=rows,
        status=status_line(groups),
        failures=list(failures(groups)),
        measured=sorted({result.created[:10] for group in groups for result in group}),
        columns=columns,
        reference=REFERENCE,
        filters={name: sorted({row[name] for row in rows}) for name in FILTERS},
        many_machines=len({group[0].environment.machine for group in groups}) > 1,
        comparisons=[_comparison(number, group) for number, group in enumerate(groups)],
        matrices=[
            (one.choices, _table(one.title, one.view))
            for one in matrix.matrices((one for group in groups for one in candidates(group)), prices, max_cost)
        ],
        matrix_caption=matrix.CAPTION,
        finals=[_finals(entries) for entries in finals],
    )


def render_template(template: str, **values: Any) -> str:
    """Fill in one of the page templates, escaping every name, text and error."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_finalize, loader=jinja2.FunctionLoader(_asset)
    )
    return environment.get_template(template).render(
        style=Markup(_asset("page.css")),  # noqa: S704  # ours
        script=Markup(_asset("page.js")),  # noqa: S704  # ours
        **values,
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _finalize(value: Any) -> Any:
    """Remove control characters from text that a template prints; `Markup` passes."""
    return one_line(value) if type(value) is str else value


def _verdict_table(groups: Sequence[list[Result]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the titles of the figures' columns, and a row per case; optional columns without figures are left out."""
    rows = [row for group in groups for row in _rows(group)]
    filled = {at for row in rows for at, cell in enumerate(row["cells"]) if cell["text"]}
    shown = [at for at, column in enumerate(tables.COLUMNS) if at in filled or not column.optional]
    for row in rows:
        row["cells"] = [row["cells"][at] for at in shown]
    metrics = (result.data.metric for group in groups for result in group if result.data)
    pairs = [shown_batches(group) for group in groups]
    units = {
        "judged": _named_batch({judged for judged, _ in pairs} or {1}, "judged"),
        "other": _named_batch({other for judged, other in pairs if other != judged} or {16}, "other"),
        "unit": "points, or as named" if any(map(rendering.named_unit, metrics)) else "points",
    }
    return [tables.COLUMNS[at].title.format(**units) for at in shown], rows


def _named_batch(sizes: Collection[int], which: str) -> str:
    """Name a batch, which may differ between comparisons."""
    return f"batch {min(sizes)}" if len(sizes) == 1 else f"{which} batch ({min(sizes)} to {max(sizes)})"


def _rows(group: list[Result]) -> Iterator[dict[str, Any]]:
    """Yield a row of the verdict table per case; a cell has a text and a value to sort by."""
    for shown in shown_rows(group):
        first = shown.judged
        word = first["verdict"]
        yield {name: first[name] for name in ("machine", "task", "model", "device", "backend")} | {
            "anchor": _anchor(group),
            "recommended": first["recommended"],
            "verdict": word,
            "sign": SIGNS[word],
            "broken_gate": first["broken_gate"] or "",
            "why": _why_not(first),
            "cells": [_cell(column, shown) for column in tables.COLUMNS],
        }


def _cell(column: tables.Column, shown: Shown) -> dict[str, str]:
    cells: Cells = getattr(shown, column.of)
    repeats = column.of == "other" and shown.other is shown.judged  # only one batch size was measured
    text, value = "" if repeats else column.text(cells), cells[column.name]
    text += rendering.named_unit(cells["metric"]) if column.name == "drop" and text else ""
    return {"text": text, "value": "" if rendering.is_missing(value) else f"{value:.6g}"}


def _why_not(cells: Cells) -> str:
    """Say why a case has no figures, or no verdict that lets it ship, and whether it is of an earlier run."""
    if not cells["in_last_run"]:
        return f"not in the last run; {_why_not(cells | {'in_last_run': True})}".removesuffix("; ")
    if cells["error"] is not None:
        return rendering.first_line(cells["error"])
    if cells["max_drop"] is None:
        return "gate not evaluated"
    return "" if cells["verdict"] == "ship" or cells["reasons"] == cells["broken_gate"] else cells["reasons"] or ""


def _comparison(number: int, group: list[Result]) -> dict[str, Any]:
    best, reason = recommend(group)
    return {
        "anchor": _anchor(group),
        "first": group[0],
        "recommended": best.backend if best else None,
        "reason": reason,
        "pictures": [
            (picture, Markup(inline(picture.figure, picture.alternative, f"p{number}-{at}")))  # noqa: S704
            for at, picture in enumerate(pictures(group))
        ],
        "sentences": sentences.explanations(group),
        "disturbances": sentences.disturbances(group),
        "provenance": sentences.provenance(group).split("\n"),
        "flipped": [result for result in group if result.answers and result.answers.flips],
        "notes": list(dict.fromkeys(note for result in group for note in result.notes)),
        "created": sorted({result.created for result in group}),
        "throughput": _table(documents.THROUGHPUT, tables.throughput(group)),
        "details": [
            _table(documents.STARTUP.format(batch=judged_batch(group)), tables.startup(shown_rows(group))),
            _table(documents.LENGTHS.format(batch=judged_batch(group)), tables.by_length(group)),
        ],
        "data": _data(group),
    }


def _anchor(group: list[Result]) -> str:
    first = group[0]
    return f"{first.environment.machine}.{first.task}.{first.model}.{first.device}"


def _data(group: list[Result]) -> list[tuple[str, str]]:
    """Describe the rows, the metric and the recipe, as terms with their values."""
    result = next((result for result in group if result.data), None)
    if result is None or result.data is None:
        return []
    data = result.data
    sizes = ", ".join(f"{count:,} {part}" for part, count in data.sizes.items())
    recipe = {name: value for name, value in result.recipe.items() if name != "type" and not isinstance(value, dict)}
    return [
        ("rows", f"{data.source}; {sizes}; {data.duplicates} duplicates left out"),
        ("metric", data.read_metric),
        ("recipe", ", ".join(f"{name} {value}" for name, value in recipe.items())),
        ("sha256 of test rows", data.sha256.get("test", "")),
    ]


def _finals(finals: Finals) -> dict[str, Any]:
    return {
        "finals": finals,
        "recommendation": sentences.finals_recommendation(finals, mark=""),
        "models": _table("", tables.finals_view(finals)),
        "notes": sentences.finals_notes(finals),
    }


def _table(title: str, view: pd.DataFrame) -> dict[str, Any]:
    return {"title": title, "columns": list(view.columns), "rows": view.to_numpy().tolist()}
