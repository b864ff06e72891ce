"""What became of cases since their stored runs, as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from harness.report import cells
from harness.runs.regress import Line
from harness.statistics.stats import Interval


def table(lines: Sequence[Line]) -> str:
    """A row a case and workload; below it why, where a word does not say it."""
    align = ["left", "left", "right", "right", "right", "left"]
    told = reasons(lines)
    drawn = view(lines).to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=align)
    return "\n".join([drawn, *([""] if told else []), *told])


def reasons(lines: Sequence[Line]) -> list[str]:
    """Why the table has these words: of what regressed in figures, and once what is said of many lines alike."""
    alike: dict[tuple[str, str], list[Line]] = {}
    for at, line in enumerate(lines):
        if line.word in ("unchanged", "improved"):
            continue
        alike.setdefault((line.word, str(at) if line.word == "regressed" else line.why), []).append(line)
    return [
        f"{cells.plain(same[0].case)} {sentence(same[0])}" if len(same) == 1
        else f"{word}, {len(same)} lines: {cells.plain(why)}"
        for (word, why), same in alike.items()
    ]  # fmt: skip


def view(lines: Sequence[Line]) -> pd.DataFrame:
    """A row a case and workload."""
    return pd.DataFrame([_row(line) for line in lines]).map(cells.plain)


def sentence(line: Line) -> str:
    """The line with its figures, in words."""
    what = f" at {line.what}" if line.what.startswith("batch") else f" in {line.what}" if line.what else ""
    why = cells.plain(line.why)
    if line.stored is None or line.today is None or line.change is None:
        figures = f"{_change(line)} against {_runs(line)}: " if line.change else ""
        return f"{line.word}{what}: {figures}{why}"
    return (
        f"{line.word}{what}: speed-up {_times(line.today)} where {_runs(line)} had {_times(line.stored)}, "
        f"{_change(line)}: {why}"
    )


def _row(line: Line) -> dict[str, str]:
    return {
        "case": line.case,
        "what": line.what,
        "stored (runs)": f"{_times(line.stored)} ({line.runs})" if line.stored else f"({line.runs})",
        "today": _times(line.today) if line.today else "",
        "change": _change(line),
        "": line.word,
    }


def _runs(line: Line) -> str:
    return f"{line.runs} stored run{'' if line.runs == 1 else 's'}"


def _times(found: Interval) -> str:
    return f"{found.estimate:.2f}x {_ends(found, '.2f')}"


def _change(line: Line) -> str:
    """Of a speed-up in per cent, of rows right in points."""
    if line.change is None:
        return ""
    offset, unit = (1, " %") if line.stored else (0, " points")
    found = Interval(*(100 * (end - offset) for end in (line.change.estimate, line.change.low, line.change.high)))
    return f"{found.estimate:+.1f}{unit} {_ends(found, '+.1f')}"


def _ends(found: Interval, form: str) -> str:
    return f"[{found.low:{form}}, {found.high:{form}}]" if math.isfinite(found.high) else "[no interval]"
