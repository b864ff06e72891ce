"""Cells of a table: numbers and names as people read them. Sentences have their intervals from `phrases`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.contracts import REFERENCE
from harness.verdicts.phrases import ends


def interval(row: Mapping[Any, Any], name: str, unit: str) -> str:
    """A ratio and its interval; the reference is 1."""
    if missing(row[name]):
        return ""
    if row["backend"] == REFERENCE:
        return f"1{unit}"
    return f"{row[name]:.2f}{unit} {bounds(row, name, 2)}"


def bounds(row: Mapping[Any, Any], name: str, decimals: int) -> str:
    """The two ends of an interval."""
    return ends(row[f"{name}_low"], row[f"{name}_high"], decimals)


def loss(row: Mapping[Any, Any]) -> str:
    """Points lost, with the bounds of the loss."""
    if missing(row["loss"]):
        return ""
    if row["backend"] == REFERENCE:
        return "0"
    estimate, low, high = (points(row[name]) for name in ("loss", "loss_low", "loss_high"))
    return f"{estimate} [{low}, {high}]"


def points(share: float) -> str:
    """A difference in percentage points; no difference has no sign."""
    rounded = round(100 * share, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def requests(value: float | None) -> str:
    """Number of requests, where there is one."""
    if missing(value):
        return ""
    assert value is not None
    return "never" if math.isinf(value) else f"{value:,.0f}"


def first_line(text: str) -> str:
    """Up to the first line break, inert."""
    return plain(text.partition("\n")[0])


def plain(text: str) -> str:
    """Without control characters: they would move the terminal's cursor or end a table's row."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def harmless(text: str) -> str:
    """Lines of others without control characters, none of which begins as a command to GitHub's runner would."""
    lines = (plain(line).replace("##[", "## [") for line in text.split("\n"))
    return "\n".join(re.sub(r"^\s*::", "| ::", line) for line in lines)


def quoted(text: str) -> str:
    """Text in the Markdown of a comment: nothing in it is a link, a mention, an emphasis or the end of a cell."""
    marked = re.sub(r"([\\\[\]!*_~<>|`&])", r"\\\1", plain(text))
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", marked)  # which GitHub looks for in the text as it is read


def no_formula(cell: Any) -> Any:
    """Text that a spreadsheet takes for text, in one line, in which a terminal and GitHub's runner see no command."""
    if not isinstance(cell, str):
        return cell
    return ("'" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else "") + harmless(plain(cell))


def number(value: Any, digits: int = 0, decimals: int | None = None) -> str:
    """`digits` significant digits, but never rounded above the unit; or fixed decimals."""
    if missing(value):
        return ""
    if decimals is None:
        rounded = float(f"{abs(value):.{max(digits - 1, 0)}e}")  # 0.9999 has the digits of 1
        decimals = max(0, digits - 1 - math.floor(math.log10(rounded))) if value and digits else 0
    return f"{value:,.{decimals}f}"


def missing(value: Any) -> bool:
    """Whether there is no such value."""
    return value is None or bool(pd.isna(value))


def inert(cell: str) -> str:
    """Text that cannot break out of its table cell."""
    return plain(cell).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
