"""Cells of a table: numbers and names as people read them. Sentences have their intervals from `phrases`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.stats.intervals import ends
from harness.util.text import one_line


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


def drop(row: Mapping[Any, Any]) -> str:
    """Points lost, with the bounds of the drop."""
    if missing(row["drop"]):
        return ""
    if row["backend"] == REFERENCE:
        return "0"
    estimate, low, high = (points(row[name]) for name in ("drop", "drop_low", "drop_high"))
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
    return one_line(text.partition("\n")[0])


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
