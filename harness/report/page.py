"""A page of ours, filled in: whatever others wrote is escaped in it.

ALSO: The page's table of verdicts: every case of every comparison in a line.
ALSO: Every comparison as one HTML page that stands alone: no request, no library, readable on a telephone and in print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.contracts.backend import REFERENCE
from harness.report import cells, sentences
from harness.report.charts import inline, pictures
from harness.report.github import red, status
from harness.report.tables import (
    LENGTHS,
    TITLE,
    by_length,
    finals_notes,
    finals_sentence,
    finals_view,
    largest,
    phases,
    throughput,
)
from harness.results.schema import Finals, Result
from harness.util.text import one_line
from harness.verdicts.comparability import comparisons
from harness.verdicts.recommendation import recommend
from harness.verdicts.table import first_and_last

ASSETS = resources.files("harness.report") / "assets"


def rendered(template: str, **known: Any) -> str:
    """A template of ours; in it every name, text and error of others is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_finalised, loader=jinja2.FunctionLoader(_asset)
    )
    return environment.get_template(template).render(
        style=Markup(_asset("page.css")),  # noqa: S704  # ours
        script=Markup(_asset("page.js")),  # noqa: S704  # ours
        **known,
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _finalised(value: Any) -> Any:
    """What a template prints: names, texts and errors of others are without control characters."""
    return one_line(value) if type(value) is str else value


COLUMNS = (
    "speed-up, batch 1",
    "ms",
    "speed-up, {}",
    "rows/s",
    "tokens/s",
    "score",
    "drop, points",
    "MB",
    "peak RSS, MB",
    "peak VRAM, MB",
)

SOMETIMES = (9, 4)
"""Columns of the GPU's memory and of generated tokens, only where there are any."""

SIGNS = {
    "ship": "✔", "reference": "•", "same": "=", "slower": "▼", "worse": "✖", "undecided": "?", "invalid": "!",
    "failed": "✖", "unsupported": "–",
}  # fmt: skip
"""A verdict is known by more than its colour."""


def overview(groups: Sequence[list[Result]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Names of the columns, and the lines; a column that is empty in most runs is there only where it is not."""
    table = [row for group in groups for row in _rows(group)]
    columns = [name.format(largest(groups)) for name in COLUMNS]
    for at in SOMETIMES:
        if not any(row["cells"][at]["text"] for row in table):
            del columns[at]
            for row in table:
                del row["cells"][at]
    return columns, table


def anchor(group: list[Result]) -> str:
    """Where on the page the comparison stands."""
    first = group[0]
    return f"{first.environment.machine}.{first.task}.{first.model}.{first.device}"


def _rows(group: list[Result]) -> Iterator[dict[str, Any]]:
    """Lines of the verdict table; a cell is what is read, and what is sorted by."""
    for small, large in first_and_last(group):
        yield {
            "anchor": anchor(group),
            "machine": small["machine"],
            "task": small["task"],
            "model": small["model"],
            "device": small["device"],
            "backend": small["backend"],
            "chosen": bool(small["chosen"]),
            "verdict": _word(small),
            "sign": SIGNS[_word(small)],
            "broken": "" if cells.missing(small["broken_gate"]) else small["broken_gate"],
            "why": _why(small),
            "cells": [
                _cell(cells.interval(small, "speedup", "×"), small["speedup"]),
                _cell(cells.number(small["median_ms"], 3), small["median_ms"]),
                _cell(cells.interval(large, "speedup", "×") if large is not small else "", large["speedup"]),
                _cell(cells.number(large["rows_per_s"], 3), large["rows_per_s"]),
                _cell(cells.number(large["tokens_per_s"], 3), large["tokens_per_s"]),
                _cell(cells.number(small["score"], decimals=4), small["score"]),
                _cell(cells.drop(small), small["drop"]),
                _cell(cells.number(small["size_mb"], 3), small["size_mb"]),
                _cell(cells.number(small["peak_rss_mb"], 3), small["peak_rss_mb"]),
                _cell(cells.number(small["peak_vram_mb"], 3), small["peak_vram_mb"]),
            ],
        }


def _word(row: dict[Any, Any]) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return "reference" if row["backend"] == REFERENCE else str(row["verdict"])


def _why(row: dict[Any, Any]) -> str:
    """Why there is no figure, or no verdict that lets it ship."""
    if not cells.missing(row["error"]):
        return cells.first_line(row["error"])
    if cells.missing(row["min_score"]):
        return "its test did not come to its gate"
    return "" if row["verdict"] == "ship" or cells.missing(row["reasons"]) else str(row["reasons"])


def _cell(text: str, value: Any) -> dict[str, Any]:
    return {"text": text, "value": "" if cells.missing(value) else f"{value:.6g}"}


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
