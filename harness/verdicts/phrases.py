"""Intervals in words: one way of writing them for sentences and for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.statistics.stats import Interval


def ends(low: float, high: float, decimals: int = 2) -> str:
    """The two ends of an interval."""
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]" if math.isfinite(high) else "[too few starts or rounds]"


def listed(names: Sequence[str]) -> str:
    """One or more names as a sentence has them: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def times(found: Interval) -> str:
    """A ratio: how many times as fast."""
    return f"{found.estimate:.2f}x {ends(found.low, found.high)}"


def points(found: Interval) -> str:
    """A share of rows, in percentage points."""
    return f"{100 * found.estimate:.2f} points {ends(100 * found.low, 100 * found.high)}"
