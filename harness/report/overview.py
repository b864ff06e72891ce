"""The page's table of verdicts: every case of every comparison in a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.contracts import REFERENCE
from harness.records.schema import Result
from harness.records.tidy import first_and_last
from harness.report import cells
from harness.report.batches import largest

COLUMNS = (
    "speed-up, batch 1",
    "ms",
    "speed-up, {}",
    "rows/s",
    "tokens/s",
    "score",
    "loss, points",
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
                _cell(cells.loss(small), small["loss"]),
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
    if cells.missing(row["floor"]):
        return "its test did not come to its gate"
    return "" if row["verdict"] == "ship" or cells.missing(row["reasons"]) else str(row["reasons"])


def _cell(text: str, value: Any) -> dict[str, Any]:
    return {"text": text, "value": "" if cells.missing(value) else f"{value:.6g}"}
