"""The tables of a comparison and of finals, as frames whose cells are text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.report.rendering import (
    first_line,
    is_missing,
    number,
    proven_ratio,
    ratio,
    requests,
    score_text,
    signed_drop,
)
from harness.results.schema import Finalist, Finals, Result, Series
from harness.stats.intervals import Interval
from harness.verdicts.accuracy import unit
from harness.verdicts.comparability import batch_sizes
from harness.verdicts.recommendation import standing, winner
from harness.verdicts.speed import flatten, median_ms, startup_ms
from harness.verdicts.table import Shown, rows_per_s, shown_batches

BUCKETS, FEWEST = 4, 5
"""Ranges of lengths with equally many rounds each, and the fewest rounds in one."""


def _interval_cell(cells: Mapping[str, Any], name: str, of_reference: str, write: Callable[[Interval], str]) -> str:
    if is_missing(cells[name]):
        return ""
    if cells["backend"] == REFERENCE:
        return of_reference
    return write(Interval(cells[name], cells[f"{name}_low"], cells[f"{name}_high"]))


speedup_cell = partial(_interval_cell, name="speedup", of_reference="1×", write=ratio)
proven_speedup = partial(_interval_cell, name="speedup", of_reference="1×", write=proven_ratio)


def drop_cell(cells: Mapping[str, Any]) -> str:
    """Write the drop of a case, without its unit."""
    return _interval_cell(cells, "drop", "0", partial(signed_drop, metric=cells["metric"]))


def _parted(cells: Mapping[str, Any]) -> str:
    """Write the share of rows whose tokens part from the reference's, and the median place of the first."""
    if is_missing(cells["parted"]) or cells["backend"] == REFERENCE:
        return ""
    place = "" if is_missing(cells["parted_at"]) else f", at token {cells['parted_at']:g}"
    return f"{100 * cells['parted']:.3g} %{place}"


class Column(NamedTuple):
    """A figure of a case."""

    title: str
    """`{judged}` and `{other}` stand for batches, `{unit}` for that of drops."""
    name: str
    """In the tidy table."""
    text: Callable[[Mapping[str, Any]], str]
    of: Literal["judged", "other", "largest"] = "judged"
    """Row of `Shown` that it is taken from."""
    optional: bool = False
    """Left out where no case has it."""


def _numeric(title: str, name: str, digits: int = 3, decimals: int | None = None, **changed: Any) -> Column:
    return Column(title, name, lambda cells: number(cells[name], digits, decimals), **changed)


COLUMNS = (
    Column("speed-up, {judged}", "speedup", speedup_cell),
    _numeric("ms", "median_ms"),
    Column("speed-up, {other}", "speedup", speedup_cell, of="other"),
    _numeric("rows/s", "rows_per_s", of="largest"),
    _numeric("tokens/s", "tokens_per_s", of="largest", optional=True),
    _numeric("first token (ms)", "first_token_ms", optional=True),
    _numeric("further token (ms)", "token_ms", optional=True),
    Column("score", "score", lambda cells: score_text(cells["score"], cells["metric"])),
    Column("drop ({unit})", "drop", drop_cell),
    Column("rows whose tokens part", "parted", _parted, optional=True),
    _numeric("MB", "size_mb"),
    _numeric("peak RSS (MB)", "peak_rss_mb"),
    _numeric("peak VRAM (MB)", "peak_vram_mb", optional=True),
)
"""Figures that tables and the page show of a case."""


def case_view(group: list[Result], cases: Sequence[Shown]) -> pd.DataFrame:
    """Return one row per case; `*` marks the recommended one."""
    judged, other = (f"batch {size}" for size in shown_batches(group))
    metric = next((shown.judged["metric"] for shown in cases if shown.judged["metric"]), "")
    titles = {column: column.title.format(judged=judged, other=other, unit=unit(metric)) for column in COLUMNS}
    view = pd.DataFrame(
        {"backend": f"{shown.judged['backend']}{' *' if shown.judged['recommended'] else ''}"}
        | {title: column.text(getattr(shown, column.of)) for column, title in titles.items()}
        | {"verdict": _verdict_cell(shown.judged)}
        for shown in cases
    )
    return view.drop(columns=[c.title for c in COLUMNS if c.optional and not view[c.title].any()])


def _verdict_cell(cells: Mapping[str, Any]) -> str:
    earlier = "" if cells["in_last_run"] else ", not in the last run"
    if not is_missing(cells["error"]):
        return f"{cells['status']}{earlier}: {first_line(cells['error'])}"
    word = f"{cells['verdict']}{earlier}"
    if is_missing(cells["max_drop"]):
        return f"{word}, gate not evaluated"
    return word if is_missing(cells["broken_gate"]) else f"{word}, breaks its gate: {cells['broken_gate']}"


def throughput(group: list[Result]) -> pd.DataFrame:
    """Return rows/s by batch size; empty for fewer than three sizes, which the main table shows."""
    sizes = batch_sizes(group)
    if len(sizes) < 3:
        return pd.DataFrame()
    rates = {result.backend: {s.workload.batch: rows_per_s(s) for s in result.series} for result in group}
    return pd.DataFrame(
        {"backend": name} | {f"batch {size:,}": number(rate.get(size), 3) for size in sizes}
        for name, rate in rates.items()
        if rate
    )


def startup(cases: Iterable[Shown]) -> pd.DataFrame:
    """Return the phases of each backend's startup, when it pays off, and bounds of its latency's percentiles."""
    return pd.DataFrame(
        {
            "backend": cells["backend"],
            **{
                name.replace("_", " "): number(cells[f"{name}_ms"], 3)
                for name in ("import", "load", "compile", "first_answer", "startup")
            },
            "pays off after (requests)": requests(cells["break_even_requests"]),
            **{f"p{share} ≤": number(cells[f"p{share}_bound_ms"], 3) for share in (90, 95, 99)},
        }
        for cells, *_ in cases
        if cells["startup_ms"] is not None
    )


def by_length(group: list[Result]) -> pd.DataFrame:
    """Return median ms and speed-up at the judged batch, a column for each range of input lengths.

    Empty where all rows have one length, or rounds are too few to fill several ranges.
    """
    measured = [(result, result.series[0]) for result in group if result.series]
    edges = _length_edges(measured[0][1]) if measured else []
    if len(edges) <= 2:
        return pd.DataFrame()
    return pd.DataFrame({"backend": result.backend, **_length_cells(series, edges)} for result, series in measured)


def _length_edges(series: Series) -> list[int]:
    """Return the first length of every range and the end of the last; fewer where lengths or rounds are few."""
    lengths = flatten(series.lengths)
    shares = np.linspace(0, 1, min(BUCKETS, len(lengths) // FEWEST) + 1)
    starts = np.quantile(lengths, shares, method="higher")[:-1] if len(shares) > 1 else np.array([])
    return [*np.unique(starts).tolist(), max(lengths) + 1]


def _length_cells(series: Series, edges: list[int]) -> dict[str, str]:
    rounds = list(zip(flatten(series.lengths), flatten(series.own_ns), flatten(series.reference_ns), strict=True))
    cells = {}
    for low, end in pairwise(edges):
        inside = [(own, reference) for length, own, reference in rounds if low <= length < end]
        title = f"{low:.0f} to {end - 1:.0f}" if end - 1 > low else f"{low:.0f}"
        cells[title] = (
            f"{number(median(own for own, _ in inside) / 1e6, 3)} "
            f"({median(reference / own for own, reference in inside):.2f}×)"
            if inside
            else ""
        )
    return cells


def finals_view(finals: Finals) -> pd.DataFrame:
    """Return one row per model, in the suite's order; `*` marks the winner."""
    return pd.DataFrame(_finals_row(finals, entry) for entry in finals.entries)


def _finals_row(finals: Finals, entry: Finalist) -> dict[str, str]:
    compared = standing(finals, entry)
    return {
        "model": f"{entry.model}{' *' if entry is winner(finals)[0] else ''}",
        "backend": entry.backend,
        "speed-up": "failed" if entry.error else ratio(compared.gain) if compared else "1×",
        "ms with preprocessing": number(median_ms(entry.series[0].own_ns) if entry.series else None, 3),
        "score": score_text(entry.score, finals.metric),
        f"drop ({unit(finals.metric)})": signed_drop(compared.drop, finals.metric) if compared else "0",
        "MB": number(entry.size_bytes / 1e6, 3),
        "startup (ms)": number(startup_ms(entry.process) if entry.process else None, 3),
    }
