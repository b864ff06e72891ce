"""Throughput by batch, where a run measured more than single rows and one batch."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from harness.records.compare import batches
from harness.records.schema import Result
from harness.records.tidy import rows_per_s
from harness.report import cells

TITLE = "Rows a second by batch; empty where there was no memory for it, or it was not asked for:"


def throughput(group: list[Result]) -> pd.DataFrame:
    """One line a backend, one column a batch; empty where two columns of the table itself hold it all."""
    sizes = batches(group)
    if len(sizes) < 3:
        return pd.DataFrame()
    lines = [(result.backend, {s.workload.batch: rows_per_s(s) for s in result.series}) for result in group]
    return pd.DataFrame(
        {"backend": name} | {f"batch {size:,}": cells.number(found.get(size), 3) for size in sizes}
        for name, found in lines
        if found
    )


def by_batch(group: list[Result], form: str) -> list[str]:
    """Title and table in one of tabulate's forms; nothing where there is no table."""
    found = throughput(group).map(cells.inert)
    aligned = ["left", *["right"] * (len(found.columns) - 1)]
    if not len(found):
        return []
    return [TITLE, found.to_markdown(index=False, tablefmt=form, disable_numparse=True, colalign=aligned)]


def largest(groups: Iterable[list[Result]]) -> str:
    """What a column of every comparison's largest batch is called: these may differ."""
    sizes = sorted({max(found) for group in groups if (found := batches(group))} - {1}) or [16]
    return f"batch {sizes[0]}" if len(sizes) == 1 else f"largest batch ({sizes[0]} to {sizes[-1]})"
