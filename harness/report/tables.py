"""Throughput by batch, where a run measured more than single rows and one batch.

ALSO: Latency by length: what a short row costs beside a long one.
ALSO: The finals of a task as text.
ALSO: A comparison as text: Markdown for files, plain columns for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.report import cells, sentences
from harness.report.sentences import spread_of_seeds
from harness.results.schema import Finalist, Finals, Result, Series
from harness.stats.intervals import Interval, ends
from harness.util import text
from harness.verdicts.comparability import batches, comparisons
from harness.verdicts.recommendation import standing, winner
from harness.verdicts.speed import flat, noise_floor, startup_ms
from harness.verdicts.table import Ends, first_and_last, rows_per_s
from harness.verdicts.verdict import verdict

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
    found = throughput(group).map(text.escape_cell)
    aligned = ["left", *["right"] * (len(found.columns) - 1)]
    if not len(found):
        return []
    return [TITLE, found.to_markdown(index=False, tablefmt=form, disable_numparse=True, colalign=aligned)]


def largest(groups: Iterable[list[Result]]) -> str:
    """What a column of every comparison's largest batch is called: these may differ."""
    sizes = sorted({max(found) for group in groups if (found := batches(group))} - {1}) or [16]
    return f"batch {sizes[0]}" if len(sizes) == 1 else f"largest batch ({sizes[0]} to {sizes[-1]})"


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


def finals_view(finals: Finals) -> pd.DataFrame:
    """One line a model, in the suite's order; `*` marks the winner."""
    best, _ = winner(finals)
    return pd.DataFrame([_line(finals, entry, entry is best) for entry in finals.entries])


def finals_sentence(finals: Finals, mark: str = "**") -> str:
    """Who wins, and why."""
    best, why = winner(finals)
    return f"{mark}Would choose {best.model} on {best.backend}{mark}: {why}."


def finals_notes(finals: Finals) -> list[str]:
    """What stands below the table: who is missing, what disturbed the rounds, and the noise."""
    told = [f"{model} has no entry: {why}." for model, why in finals.absent.items()]
    told += [f"{entry.model} on {entry.backend} failed: {entry.error}" for entry in finals.entries if entry.error]
    disturbed = finals.disturbance.sentences() if finals.disturbance else []
    told += [f"Disturbed: {'; '.join(disturbed)}."] if disturbed else []
    others = [entry.series[0] for entry in finals.entries[1:] if entry.series]
    if others:
        noise = noise_floor(others[0])
        told.append(
            f"{finals.entries[0].model} on {finals.entries[0].backend} against itself: {noise.estimate:.3f} "
            f"[{noise.low:.3f}, {noise.high:.3f}] over {len(flat(others[0].own_ns))} rounds in "
            f"{len(others[0].own_ns)} launches; from raw rows to answers, batch {others[0].workload.batch}."
        )
    return told


def _line(finals: Finals, entry: Finalist, best: bool) -> dict[str, str]:
    found = standing(finals, entry)
    times = [ns / 1e6 for ns in flat(entry.series[0].own_ns)] if entry.series else []
    return {
        "model": f"{entry.model}{' *' if best else ''}",
        "backend": entry.backend,
        "speed-up": "failed" if entry.error else _ratio(found.gain if found else None),
        "ms from raw row": cells.number(median(times) if times else None, 3),
        "score": cells.number(entry.score, decimals=4),
        "drop, points": _points(found.lost) if found else "0",
        "MB": cells.number(entry.size_bytes / 1e6, 3),
        "startup, ms": cells.number(startup_ms(entry.process) if entry.process else None, 3),
    }


def _ratio(found: Interval | None) -> str:
    if found is None:
        return "1×"
    return f"{found.estimate:.2f}× {ends(found.low, found.high, 2)}"


def _points(found: Interval) -> str:
    return f"{cells.points(found.estimate)} [{cells.points(found.low)}, {cells.points(found.high)}]"


LENGTHS = "Median ms (times the reference's speed) by length of a row's first input, batch 1:"

TOKENS = "tokens/s"
"""A column only where text is generated."""

VRAM = "peak VRAM, MB"
"""Only where a GPU's driver tells."""


def markdown(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """Every comparison with its table, its recommendation, and where the numbers came from; then every finals."""
    return document([*map(section, comparisons(results)), *map(finals_section, finals)])


def document(sections: Iterable[str]) -> str:
    """Sections under one heading."""
    return "\n".join(["# Comparison\n", *sections])


def section(group: list[Result]) -> str:
    """One comparison in Markdown."""
    first = group[0]
    cases = list(first_and_last(group))
    view, started = _view(cases).map(text.escape_cell), phases(cases).map(text.escape_cell)
    parts = [
        f"## {first.task} / {first.model} on {first.device}, machine {first.environment.machine}\n",
        f"{sentences.recommendation(group)}\n",
        view.to_markdown(index=False, disable_numparse=True, colalign=_align(view)),
        "".join(f"\n- {text.escape_cell(sentence)}" for sentence in sentences.below(group)) + "\n",
    ]
    parts += [f"{part}\n" for part in by_batch(group, "pipe")]
    if len(started):
        aligned = [*_align(started)[:-1], "right"]
        parts.append("Times in ms, batch 1, from fresh processes:\n")
        parts.append(started.to_markdown(index=False, disable_numparse=True, colalign=aligned))
    lengths = by_length(group)
    if len(lengths):
        parts.append(f"\n{LENGTHS}\n")
        aligned = ["left", *["right"] * (len(lengths.columns) - 1)]
        parts.append(lengths.map(text.escape_cell).to_markdown(index=False, disable_numparse=True, colalign=aligned))
    return "\n".join([*parts, f"\n{sentences.provenance(group)}\n"])


def finals_section(found: Finals) -> str:
    """One finals in Markdown."""
    view = finals_view(found).map(text.escape_cell)
    return "\n".join(
        [
            f"## {found.task} on {found.device}: models, machine {found.environment.machine}\n",
            f"{text.escape_cell(finals_sentence(found))}\n",
            view.to_markdown(index=False, disable_numparse=True, colalign=["left", *_align(view)[:-1]]),
            "".join(f"\n- {text.escape_cell(sentence)}" for sentence in finals_notes(found)) + "\n",
            f"{sentences.origin(found.environment)}\n",
        ]
    )


def terminal(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """The same, narrower."""
    parts = []
    for group in comparisons(results):
        first = group[0]
        parts.append(f"{first.task} / {first.model} on {first.device}")
        view = _view(list(first_and_last(group))).drop(columns=["MB", "peak RSS, MB"])
        view["verdict"] = view["verdict"].str.partition(":")[0]
        parts.append(view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=_align(view)))
        parts += [
            *by_batch(group, "simple"),
            f"{sentences.recommendation(group, mark='')}",
            *sentences.beside(group),
            *sentences.guarded(group),
            *spread_of_seeds(group),
            *sentences.disturbed(group),
            *sentences.noise(group),
            "",
        ]
    for found in finals:
        parts.append(f"{found.task} on {found.device}: models, each on its best backend")
        view = finals_view(found)
        aligned = ["left", *_align(view)[:-1]]
        parts.append(view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=aligned))
        parts += [text.one_line(finals_sentence(found, mark="")), *map(text.one_line, finals_notes(found)), ""]
    return "\n".join(parts)


def line(result: Result) -> str:
    """One case in one line."""
    if result.error is not None:
        return f"{result.status} at {result.error.stage}: {cells.first_line(result.error.message)}"
    ((small, large),) = first_and_last([result])
    row = _row(small, large, 0)
    said = verdict(result)
    return (
        f"{said.word if said else 'reference'}  {row['speed-up, batch 1']} ({row['ms']} ms), {row['score']}, "
        f"drop {row['drop, points']}"
    )


def _view(cases: Sequence[Ends]) -> pd.DataFrame:
    largest = max((large["batch"] for _, large in cases if large["batch"]), default=16)
    view = pd.DataFrame([_row(small, large, largest) for small, large in cases])
    return view.drop(columns=[name for name in (TOKENS, VRAM) if not view[name].any()])


def _align(view: pd.DataFrame) -> list[str]:
    return ["left", *["right"] * (len(view.columns) - 2), "left"]


def _row(small: Mapping[str, Any], large: Mapping[str, Any], largest: int) -> dict[str, str]:
    """One case's cells, of its lines at batch 1 and at the `largest` batch."""
    return {
        "backend": f"{small['backend']}{' *' if small['chosen'] else ''}",
        "speed-up, batch 1": cells.interval(small, "speedup", "×"),
        "ms": cells.number(small["median_ms"], 3),
        f"speed-up, batch {largest}": cells.interval(large, "speedup", "×"),
        "rows/s": cells.number(large["rows_per_s"], 3),
        TOKENS: cells.number(large["tokens_per_s"], 3),
        "score": cells.number(small["score"], decimals=4),
        "drop, points": cells.drop(small),
        "MB": cells.number(small["size_mb"], 3),
        "peak RSS, MB": cells.number(small["peak_rss_mb"], 3),
        VRAM: cells.number(small["peak_vram_mb"], 3),
        "verdict": _verdict(small),
    }


def _verdict(row: Mapping[str, Any]) -> str:
    """The verdict in a word, and with it what is red."""
    if not cells.missing(row["error"]):
        return f"{row['status']}: {cells.first_line(row['error'])}"
    word = "reference" if row["backend"] == REFERENCE else str(row["verdict"])
    if cells.missing(row["min_score"]):
        return f"{word}, not judged: its test did not come to its gate"
    return word if cells.missing(row["broken_gate"]) else f"{word}, breaks its gate: {row['broken_gate']}"


def phases(cases: Iterable[Ends]) -> pd.DataFrame:
    """How each backend starts, what that costs, and its tail."""
    rows = [
        {
            "backend": row["backend"],
            **{
                name.replace("_", " "): cells.number(row[f"{name}_ms"], 3)
                for name in ("import", "load", "compile", "first_answer", "startup")
            },
            "pays off after": cells.requests(row["break_even_requests"]),
            **{f"p{share} ≤": cells.number(row[f"p{share}_bound_ms"], 3) for share in (90, 95, 99)},
        }
        for row, _ in cases
        if row["startup_ms"] is not None
    ]
    return pd.DataFrame(rows)
