"""Tables with sentences: documents, the text for the terminal, the summary of a run, and the line of a case."""

from __future__ import annotations

from collections.abc import Iterable

from harness.contracts.backend import REFERENCE
from harness.report import sentences
from harness.report.rendering import (
    bullets,
    first_line,
    is_missing,
    markdown,
    number,
    proven_drop,
    proven_ratio,
    render,
    score_text,
)
from harness.report.tables import by_length, case_view, finals_view, proven_speedup, startup, throughput
from harness.results.schema import Finals, Result
from harness.util.text import escape_cell, one_line
from harness.verdicts.comparability import comparisons, judged_batch
from harness.verdicts.recommendation import standing, winner
from harness.verdicts.speed import median_ms
from harness.verdicts.table import shown_rows

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


def document(sections: Iterable[str]) -> str:
    """Return Markdown sections under one heading."""
    return "\n".join(["# Comparison\n", *sections])


def section(group: list[Result]) -> str:
    """Return one comparison in Markdown: recommendation, tables, explanations, provenance."""
    first, cases = group[0], list(shown_rows(group))
    parts = [
        f"## {first.task} / {first.model} on {first.device}, machine {first.environment.machine}",
        sentences.recommendation(group),
        markdown(case_view(group, cases)),
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


def terminal_text(results: Iterable[Result], finals: Iterable[Finals] = ()) -> str:
    """Return comparisons and finals for the terminal: fewer columns, verdicts in one word."""
    parts = []
    for group in comparisons(results):
        view = case_view(group, list(shown_rows(group))).drop(columns=["MB", "peak RSS (MB)"])
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
    drop = "0" if best["backend"] == REFERENCE else proven_drop(best["drop_high"], best["metric"])
    return name, best["backend"], proven_speedup(best), number(best["median_ms"], 3), drop


def _finals_summary(finals: Finals) -> tuple[str, ...]:
    best, _ = winner(finals)
    compared = standing(finals, best)
    proven = (proven_ratio(compared.gain), proven_drop(compared.drop.high, finals.metric)) if compared else ("1×", "0")
    ms = number(median_ms(best.series[0].own_ns) if best.series else None, 3)
    return f"{finals.task} finals: {best.model}", best.backend, proven[0], ms, proven[1]


def case_line(result: Result) -> str:
    """Summarise one case in some fifty characters: its verdict, and what is proven."""
    ((cells, *_),) = shown_rows([result])
    if result.error is not None:
        return f"{result.status:9}  {result.error.stage}: {first_line(result.error.message)}"
    batch = f" at batch {cells['batch']}" if (cells["batch"] or 1) > 1 else ""
    speed = [proven_speedup(cells), f"{number(cells['median_ms'], 3)} ms{batch}"] if cells["batch"] else ["not timed"]
    if result.backend == REFERENCE or is_missing(cells["drop"]):
        parts = [*speed[-1:], f"score {score_text(cells['score'], cells['metric']) or 'undefined'}"]
    else:
        side, sign = ("low", "≥") if cells["verdict"] == "worse" else ("high", "≤")
        size = proven_drop(cells["drop"], cells["metric"], "").strip()
        parts = [*speed, f"drop {size} ({proven_drop(cells[f'drop_{side}'], cells['metric'], sign)})"]
    return f"{cells['verdict']:9}  {', '.join(parts)}"
