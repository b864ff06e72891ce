"""A comparison as text: Markdown for files, plain columns for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.contracts import REFERENCE
from harness.records.compare import comparisons
from harness.records.schema import Result
from harness.records.tidy import Ends, first_and_last
from harness.report import cells, sentences
from harness.report.batches import by_batch
from harness.report.lengths import by_length
from harness.report.models import finals_notes, finals_sentence, finals_view
from harness.report.seeds import spread_of_seeds
from harness.verdicts.finals import Finals
from harness.verdicts.judge import verdict

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
    view, started = _view(cases).map(cells.inert), phases(cases).map(cells.inert)
    parts = [
        f"## {first.task} / {first.model} on {first.device}, machine {first.environment.machine}\n",
        f"{sentences.recommendation(group)}\n",
        view.to_markdown(index=False, disable_numparse=True, colalign=_align(view)),
        "".join(f"\n- {cells.inert(sentence)}" for sentence in sentences.below(group)) + "\n",
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
        parts.append(lengths.map(cells.inert).to_markdown(index=False, disable_numparse=True, colalign=aligned))
    return "\n".join([*parts, f"\n{sentences.provenance(group)}\n"])


def finals_section(found: Finals) -> str:
    """One finals in Markdown."""
    view = finals_view(found).map(cells.inert)
    return "\n".join(
        [
            f"## {found.task} on {found.device}: models, machine {found.environment.machine}\n",
            f"{cells.inert(finals_sentence(found))}\n",
            view.to_markdown(index=False, disable_numparse=True, colalign=["left", *_align(view)[:-1]]),
            "".join(f"\n- {cells.inert(sentence)}" for sentence in finals_notes(found)) + "\n",
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
        parts += [cells.plain(finals_sentence(found, mark="")), *map(cells.plain, finals_notes(found)), ""]
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
        f"loss {row['loss, points']}"
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
        "loss, points": cells.loss(small),
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
    if cells.missing(row["floor"]):
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
