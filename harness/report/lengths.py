"""Latency by length: what a short row costs beside a long one."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import numpy as np
import pandas as pd

from harness.records.evidence import Series
from harness.records.schema import Result
from harness.report import cells
from harness.verdicts.speed import flat

BUCKETS, FEWEST = 4, 5
"""So many of equally many rounds, and no fewer rounds in each."""


def by_length(group: list[Result]) -> pd.DataFrame:
    """Median ms at batch 1, and times the reference's speed, a column a range of lengths of a row's first input.

    Empty where all rows are of one length, or rounds are too few to tell ranges apart.
    """
    measured = [(result, result.series[0]) for result in group if result.series]
    edges = _edges(measured[0][1]) if measured else []
    if len(edges) <= 2:
        return pd.DataFrame()
    return pd.DataFrame([{"backend": result.backend, **_cells(series, edges)} for result, series in measured])


def _edges(series: Series) -> list[int]:
    """First lengths of the buckets, and the last one's end; fewer buckets where lengths or rounds are few."""
    lengths = flat(series.lengths)
    shares = np.linspace(0, 1, min(BUCKETS, len(lengths) // FEWEST) + 1)
    found = np.quantile(lengths, shares, method="higher") if len(shares) > 1 else np.array([])
    return [*np.unique(found[:-1]).tolist(), max(lengths) + 1]


def _cells(series: Series, edges: list[int]) -> dict[str, str]:
    rounds = list(zip(flat(series.lengths), flat(series.own_ns), flat(series.reference_ns), strict=True))
    found = {}
    for low, end in pairwise(edges):
        inside = [(own, reference) for length, own, reference in rounds if low <= length < end]
        name = f"{low:.0f} to {end - 1:.0f}" if end - 1 > low else f"{low:.0f}"
        found[name] = (
            f"{cells.number(median(own for own, _ in inside) / 1e6, 3)} "
            f"({median(reference / own for own, reference in inside):.2f}×)"
            if inside
            else ""
        )
    return found
