"""Comparisons and finals as tables with sentences: Markdown for files, plain columns for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.metrics import in_points
from harness.report import sentences
from harness.results.schema import Finalist, Finals, Result, Series
from harness.stats.intervals import Interval, format_bounds
from harness.util.text import escape_cell, one_line
from harness.verdicts.accuracy import own_decimals, unit
from harness.verdicts.comparability import batch_sizes, comparisons, judged_batch
from harness.verdicts.recommendation import standing, winner
from harness.verdicts.speed import flatten, median_ms, startup_ms
from harness.verdicts.table import Shown, rows_per_s, shown_batches, shown_rows

THROUGHPUT = "Rows/s by batch size; empty where not measured or out of memory:"
STARTUP = "Startup in ms, median over fresh processes, and upper bounds of latency percentiles, batch {batch}:"
LENGTHS = "Median ms at batch {batch}, and speed-up, by length of a row's first input:"

TERMINAL = (
    sentences.other_batches, sentences.metric_readings, sentences.other_scores, sentences.float_layers,
    sentences.exporters, sentences.spread_of_seeds, sentences.disturbances, sentences.noise,
)  # fmt: skip
"""Sentences that the terminal shows of a comparison; files have more."""

SUMMARY = ("comparison", "ship", "speed-up", "ms", "drop")
"""Columns of the summary: narrow, so that it fits 80 columns."""

LEFT = ("machine", "device", "backend", "model", "verdict")
"""Columns of words."""

BUCKETS, FEWEST = 4, 5
"""Ranges of lengths with equally many rounds each, and the fewest rounds in one."""


def document(sections: Iterable[str]) -> str:
    """Return Markdown sections under one heading."""
    return "\n".join(["# Comparison\n", *sections])


def section(group: list[Result]) -> str:
    """Return one comparison in Markdown: recommendation, tables, explanations, provenance."""
    first, cases = group[0], list(shown_rows(group))
    parts = [
        f"## {first.task} / {first.model} on {first.device}, machine {first.environment.machine}",
        sentences.recommendation(group),
        markdown(_case_view(group, cases)),
        bullets([*sentences.explanations(group), *sentences.disturbances(group)]),
    ]
    for title, view in ((THROUGHPUT, throughput(group)), (STARTUP, startup(cases)), (LENGTHS, by_length(group))):
        parts += [title.format(batch=judged_batch(group)), markdown(view)] if len(view) else []
    return "\n\n".join(part for part in [*parts, sentences.provenance(group)] if part) + "\n"


def finals_section(finals: Finals) -> str:
    """Return one finals in Markdown."""
    parts = [
        f"## {finals.task} on {finals.device}: models, machine {finals.environment.machine}",
        escape_cell(sentences.finals_recommendation(finals)),
        markdown(finals_view(finals)),
        bullets(sentences.finals_notes(finals)),
        sentences.origin(finals.environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(view: pd.DataFrame) -> str:
    """Return a table in Markdown, its cells escaped."""
    return render(view.map(escape_cell), "pipe")


def bullets(lines: Iterable[str]) -> str:
    """Return a list in Markdown, its lines escaped."""
    return "\n".join(f"- {escape_cell(line)}" for line in lines)


def terminal_text(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """Return comparisons and finals for the terminal: fewer columns, verdicts in one word."""
    parts = []
    for group in comparisons(results):
        view = _case_view(group, list(shown_rows(group))).drop(columns=["MB", "peak RSS (MB)"])
        view["verdict"] = view["verdict"].str.partition(":")[0]
        by_batch = throughput(group)
        parts += [
            f"{group[0].task} / {group[0].model} on {group[0].device}",
            render(view),
            *([THROUGHPUT, render(by_batch)] if len(by_batch) else []),
            sentences.recommendation(group, mark=""),
            *(line for lines in TERMINAL for line in lines(group)),
            "",
        ]
    for entries in finals:
        title = f"{entries.task} on {entries.device}: models, each on its recommended backend"
        lines = [sentences.finals_recommendation(entries, mark=""), *sentences.finals_notes(entries)]
        parts += [title, render(finals_view(entries)), *map(one_line, lines), ""]
    return "\n".join(parts)


def summary_table(groups: Iterable[list[Result]], finals: Iterable[Finals] = ()) -> str:
    """Return a table of one row per comparison and finals: what to ship, and what is proven of it."""
    rows = [SUMMARY, *map(_summary_row, groups), *map(_finals_summary, finals)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = ("<", "<", *">" * (len(SUMMARY) - 2))
    shapes = [f"{pad}{width}" for pad, width in zip(pads, widths, strict=True)]
    return "\n".join("  ".join(map(format, row, shapes)).rstrip() for row in rows)


def _summary_row(group: list[Result]) -> tuple[str, ...]:
    name = sentences.place(group)
    best = next((shown.judged for shown in shown_rows(group) if shown.judged["recommended"]), None)
    if best is None:
        return name, "nothing", "", "", ""
    drop = "0" if best["backend"] == REFERENCE else _proven_drop(best["drop_high"], best["metric"])
    return name, best["backend"], _proven_speedup(best), number(best["median_ms"], 3), drop


def _finals_summary(finals: Finals) -> tuple[str, ...]:
    best, _ = winner(finals)
    compared = standing(finals, best)
    proven = (
        (_proven_ratio(compared.gain), _proven_drop(compared.drop.high, finals.metric)) if compared else ("1×", "0")
    )
    ms = number(median_ms(best.series[0].own_ns) if best.series else None, 3)
    return f"{finals.task} finals: {best.model}", best.backend, proven[0], ms, proven[1]


def _proven_ratio(gain: Interval) -> str:
    """Write what is proven of a speed-up."""
    if math.isinf(gain.high):
        return "unproven"
    if gain.low > 1:
        return f"≥ {gain.low:.2f}×"
    return f"≤ {gain.high:.2f}×" if gain.high < 1 else f"{gain.low:.2f} to {gain.high:.2f}×"


def _proven_drop(high: float, metric: str, sign: str = "≤") -> str:
    """Write a bound of a drop, with the unit unless that is points."""
    size = f"{100 * high:.2f}" if metric is None or in_points(metric) else f"{high:.{own_decimals(float(high))}f}"
    return f"{sign} {size}{named_unit(metric)}"


def render(view: pd.DataFrame, form: str = "simple", left: Collection[str] = LEFT) -> str:
    """Return a table in one of tabulate's forms; columns are right-aligned but for those in `left`."""
    aligned = ["left" if name in left else "right" for name in view.columns]
    return view.to_markdown(index=False, tablefmt=form, disable_numparse=True, colalign=aligned)


def case_line(result: Result) -> str:
    """Summarise one case in some fifty characters: its verdict, and what is proven."""
    ((cells, *_),) = shown_rows([result])
    if result.error is not None:
        return f"{result.status:9}  {result.error.stage}: {first_line(result.error.message)}"
    batch = f" at batch {cells['batch']}" if (cells["batch"] or 1) > 1 else ""
    speed = [_proven_speedup(cells), f"{number(cells['median_ms'], 3)} ms{batch}"] if cells["batch"] else ["not timed"]
    if result.backend == REFERENCE or is_missing(cells["drop"]):
        parts = [*speed[-1:], f"score {score_text(cells['score'], cells['metric']) or 'undefined'}"]
    else:
        side, sign = ("low", "≥") if cells["verdict"] == "worse" else ("high", "≤")
        size = _proven_drop(cells["drop"], cells["metric"], "").strip()
        parts = [*speed, f"drop {size} ({_proven_drop(cells[f'drop_{side}'], cells['metric'], sign)})"]
    return f"{cells['verdict']:9}  {', '.join(parts)}"


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


def _ratio(gain: Interval) -> str:
    return f"{gain.estimate:.2f}× {format_bounds(gain.low, gain.high)}"


def signed_drop(drop: Interval, metric: str) -> str:
    """Write a drop in its unit, points or the metric's, with its bounds, each with its sign; zero has none."""
    factor, decimals = (100, 2) if in_points(metric) else (1, own_decimals(drop))
    estimate, low, high = (
        f"{rounded:+.{decimals}f}" if (rounded := round(factor * share, decimals)) else f"{0:.{decimals}f}"
        for share in (drop.estimate, drop.low, drop.high)
    )
    return f"{estimate} [{low}, {high}]"


def _interval_cell(cells: Mapping[str, Any], name: str, of_reference: str, write: Callable[[Interval], str]) -> str:
    if is_missing(cells[name]):
        return ""
    if cells["backend"] == REFERENCE:
        return of_reference
    return write(Interval(cells[name], cells[f"{name}_low"], cells[f"{name}_high"]))


speedup_cell = partial(_interval_cell, name="speedup", of_reference="1×", write=_ratio)


def drop_cell(cells: Mapping[str, Any]) -> str:
    """Write the drop of a case, without its unit."""
    return _interval_cell(cells, "drop", "0", partial(signed_drop, metric=cells["metric"]))


def named_unit(metric: str | None) -> str:
    """Return what follows a drop in a table of several tasks: nothing after points, else the metric's name."""
    return "" if metric is None or in_points(metric) else f" {metric}"


def _parted(cells: Mapping[str, Any]) -> str:
    """Write the share of rows whose tokens part from the reference's, and the median place of the first."""
    if is_missing(cells["parted"]) or cells["backend"] == REFERENCE:
        return ""
    place = "" if is_missing(cells["parted_at"]) else f", at token {cells['parted_at']:g}"
    return f"{100 * cells['parted']:.3g} %{place}"


_proven_speedup = partial(_interval_cell, name="speedup", of_reference="1×", write=_proven_ratio)

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


def _case_view(group: list[Result], cases: Sequence[Shown]) -> pd.DataFrame:
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
        "speed-up": "failed" if entry.error else _ratio(compared.gain) if compared else "1×",
        "ms with preprocessing": number(median_ms(entry.series[0].own_ns) if entry.series else None, 3),
        "score": score_text(entry.score, finals.metric),
        f"drop ({unit(finals.metric)})": signed_drop(compared.drop, finals.metric) if compared else "0",
        "MB": number(entry.size_bytes / 1e6, 3),
        "startup (ms)": number(startup_ms(entry.process) if entry.process else None, 3),
    }


def requests(count: float | None) -> str:
    """Write a number of requests; infinity is "never"."""
    if count is None or is_missing(count):
        return ""
    return "never" if math.isinf(count) else f"{count:,.0f}"


def number(value: Any, digits: int = 0, decimals: int | None = None) -> str:
    """Write a number with `digits` significant digits, but never rounded above the unit; or with fixed decimals."""
    if is_missing(value):
        return ""
    if decimals is None:
        rounded = float(f"{abs(value):.{max(digits - 1, 0)}e}")  # 0.9999 has the digits of 1
        decimals = max(0, digits - 1 - math.floor(math.log10(rounded))) if value and digits else 0
    return f"{value:,.{decimals}f}"


def score_text(score: Any, metric: str | None) -> str:
    """Write a score with four decimals; one in a unit of its own has four digits at least."""
    is_small = bool(metric) and not in_points(metric or "") and not is_missing(score) and 0 < abs(score) < 0.1
    return number(score, 4) if is_small else number(score, decimals=4)


def first_line(text: str) -> str:
    """Return the text up to its first line break, without control characters."""
    return one_line(text.partition("\n")[0])


def is_missing(value: Any) -> bool:
    """Return whether a cell of the tidy table has no value."""
    return value is None or bool(pd.isna(value))
