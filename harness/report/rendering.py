"""Figures, tables and lists as text: Markdown for files, plain columns for the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd

from harness.metrics import in_points
from harness.stats.intervals import Interval, format_bounds
from harness.util.text import escape_cell, one_line
from harness.verdicts.accuracy import own_decimals

LEFT = ("machine", "device", "backend", "model", "verdict")
"""Columns of words."""


def render(view: pd.DataFrame, form: str = "simple", left: Collection[str] = LEFT) -> str:
    """Return a table in one of tabulate's forms; columns are right-aligned but for those in `left`."""
    aligned = ["left" if name in left else "right" for name in view.columns]
    return view.to_markdown(index=False, tablefmt=form, disable_numparse=True, colalign=aligned)


def markdown(view: pd.DataFrame) -> str:
    """Return a table in Markdown, its cells escaped."""
    return render(view.map(escape_cell), "pipe")


def bullets(lines: Iterable[str]) -> str:
    """Return a list in Markdown, its lines escaped."""
    return "\n".join(f"- {escape_cell(line)}" for line in lines)


def number(value: Any, digits: int = 0, decimals: int | None = None) -> str:
    """Write a number with `digits` significant digits, but never rounded above the unit; or with fixed decimals."""
    if is_missing(value):
        return ""
    if decimals is None:
        rounded = float(f"{abs(value):.{max(digits - 1, 0)}e}")  # 0.9999 has the digits of 1
        decimals = max(0, digits - 1 - math.floor(math.log10(rounded))) if value and digits else 0
    return f"{value:,.{decimals}f}"


def requests(count: float | None) -> str:
    """Write a number of requests; infinity is "never"."""
    if count is None or is_missing(count):
        return ""
    return "never" if math.isinf(count) else f"{count:,.0f}"


def score_text(score: Any, metric: str | None) -> str:
    """Write a score with four decimals; one in a unit of its own has four digits at least."""
    is_small = bool(metric) and not in_points(metric or "") and not is_missing(score) and 0 < abs(score) < 0.1
    return number(score, 4) if is_small else number(score, decimals=4)


def ratio(gain: Interval) -> str:
    """Write a speed-up with its bounds."""
    return f"{gain.estimate:.2f}× {format_bounds(gain.low, gain.high)}"


def proven_ratio(gain: Interval) -> str:
    """Write what is proven of a speed-up."""
    if math.isinf(gain.high):
        return "unproven"
    if gain.low > 1:
        return f"≥ {gain.low:.2f}×"
    return f"≤ {gain.high:.2f}×" if gain.high < 1 else f"{gain.low:.2f} to {gain.high:.2f}×"


def signed_drop(drop: Interval, metric: str) -> str:
    """Write a drop in its unit, points or the metric's, with its bounds, each with its sign; zero has none."""
    factor, decimals = (100, 2) if in_points(metric) else (1, own_decimals(drop))
    estimate, low, high = (
        f"{rounded:+.{decimals}f}" if (rounded := round(factor * share, decimals)) else f"{0:.{decimals}f}"
        for share in (drop.estimate, drop.low, drop.high)
    )
    return f"{estimate} [{low}, {high}]"


def proven_drop(high: float, metric: str, sign: str = "≤") -> str:
    """Write a bound of a drop, with the unit unless that is points."""
    size = f"{100 * high:.2f}" if metric is None or in_points(metric) else f"{high:.{own_decimals(float(high))}f}"
    return f"{sign} {size}{named_unit(metric)}"


def named_unit(metric: str | None) -> str:
    """Return what follows a drop in a table of several tasks: nothing after points, else the metric's name."""
    return "" if metric is None or in_points(metric) else f" {metric}"


def first_line(text: str) -> str:
    """Return the text up to its first line break, without control characters."""
    return one_line(text.partition("\n")[0])


def is_missing(value: Any) -> bool:
    """Return whether a cell of the tidy table has no value."""
    return value is None or bool(pd.isna(value))
