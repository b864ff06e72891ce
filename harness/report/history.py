"""How cases went over time, as a table with sentences and as a page with a picture a case."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from harness.contracts import REFERENCE
from harness.report import cells
from harness.report.courses import course
from harness.report.svg import inline
from harness.report.template import rendered
from harness.runs.history import History
from harness.runs.trend import Point, Segment, Trend
from harness.statistics.stats import Interval
from harness.statistics.steps import AFTER, BEFORE, EVERY, Step
from harness.verdicts.phrases import times

SHORT = 10
"""Characters of a commit that are told."""
FILTERS = {"machine": "machine", "task": "task", "backend": "backend", "steps": "found"}
LAW = (
    f"A step is a change of level beyond the noise between runs: a series without one is said to have one once in "
    f"{EVERY:,} runs at most, whatever the noise. It takes {BEFORE} runs before and {AFTER} after it."
)


def text(history: History, found: Sequence[Trend]) -> str:
    """For the terminal: a row a case; below it every step, every change of environment, and what is not here."""
    align = ["left", "right", "right", "right", "right", "left"]
    rows = [{name: row[name] for name in ("case", "runs", "first", "last", "score", "steps")} for row in _rows(found)]
    if len({one.machine for one in found}) > 1:
        rows = [row | {"case": f"{row['case']}, {one.machine}"} for row, one in zip(rows, found, strict=True)]
    drawn = pd.DataFrame(rows).to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=align)
    told = [f"{one.case}: {line}" for one in found for line in sentences(history, one)]
    return "\n".join([drawn, "", *map(cells.plain, [*told, *history.notes])]).rstrip()


def page(history: History, found: Sequence[Trend], folder: Path) -> str:
    """HTML that stands alone."""
    runs = [one.result.created[:10] for one in history.points]
    rows, machines = _rows(found), len({one.machine for one in found})
    return rendered(
        "history.html",
        folder=str(folder),
        status=status(found),
        between=f"{len(history.points)} results of {runs[0]} to {runs[-1]}" if runs else "no results",
        told=[f"{one.case}: {line}" for one in found for line in _steps(history, one)],
        law=LAW,
        filters={name: sorted({row[of] for row in rows}) for name, of in FILTERS.items()},
        columns=("case", "runs", "first", "last", "score", "steps", "machine"),
        numbers=("runs", "first", "last"),
        rows=rows,
        courses=[
            {
                "title": one.case if machines == 1 else f"{one.case}, {one.machine}",
                "svg": Markup(inline(*drawn, f"h{number}")),  # noqa: S704  # escaped there
                "sentences": list(sentences(history, one)),
            }
            for number, one in enumerate(found)
            if (drawn := course(one))
        ],
        notes=history.notes,
    )


def status(found: Sequence[Trend]) -> str:
    """In one line."""
    number = sum(len(segment.steps) for one in found for segment in one.segments)
    stepped = sum(any(segment.steps for segment in one.segments) for one in found)
    return f"{number} step{'' if number == 1 else 's'} in {stepped} of {len(found)} cases" if number else (
        f"no step in {len(found)} cases"
    )  # fmt: skip


def sentences(history: History, found: Trend) -> Iterator[str]:
    """Steps, changes of environment, and runs that say nothing of speed."""
    yield from _steps(history, found)
    for segment in found.segments[1:]:
        yield f"not comparable with before: {segment.began}, since {_run(history, segment.points[0])}"
    silent = [one.why for one in found.points if one.why]
    for why, number in Counter(silent).items():
        yield f"{number} of {len(found.points)} runs without a speed-up: {cells.first_line(why)}"


def _steps(history: History, found: Trend) -> Iterator[str]:
    for segment in found.segments:
        for step, ((*_, old), (*_, new)) in zip(segment.steps, pairwise(segment.levels), strict=True):
            known = segment.points[step.told].result.created[:10]
            yield (
                f"step of {_percent(step.change)}, from {old:.2f}x to {new:.2f}x, with "
                f"{_run(history, segment.points[step.at])}; known since the run of {known}"
            )


def _run(history: History, one: Point) -> str:
    """When it was measured, of which code, and what it was committed in."""
    measured = one.result.environment.commit
    code = f" of {measured[:SHORT]}" if measured else ""
    return f"the run of {one.result.created[:10]}{code}, committed in {history.commit_of(one).id[:SHORT]}"


def _percent(change: Interval) -> str:
    """Of logs."""
    estimate, low, high = (100 * math.expm1(end) for end in (change.estimate, change.low, change.high))
    return f"{estimate:+.1f} % [{low:+.1f}, {high:+.1f}]"


def _rows(found: Sequence[Trend]) -> list[dict[str, Any]]:
    return [_row(one) for one in found]


def _row(one: Trend) -> dict[str, Any]:
    newest = one.points[-1].result
    gains = [p.gain for p in (one.segments[0].points[0], one.segments[-1].points[-1])] if one.segments else []
    told = [_told(step, segment) for segment in one.segments for step in segment.steps]
    others = len(one.segments) - 1
    if others > 0:
        told.append(f"{others} change{'s' if others > 1 else ''} of environment")
    first, last = [times(gain) if gain else "" for gain in gains] or ["", ""]
    return {
        "case": cells.plain(one.case),
        "machine": cells.plain(one.machine),
        "task": newest.task,
        "backend": newest.backend,
        "runs": str(len(one.points)),
        "first": "1x" if newest.backend == REFERENCE else first,
        "last": "1x" if newest.backend == REFERENCE else last,
        "values": [f"{gain.estimate:.6g}" for gain in gains if gain] or ["", ""],
        "score": _scores(one),
        "steps": cells.plain("; ".join(told)) or ("none" if one.segments else ""),
        "found": "found" if any(segment.steps for segment in one.segments) else "none",
    }


def _told(step: Step, segment: Segment) -> str:
    return f"{_percent(step.change)} on {segment.points[step.at].result.created[:10]}"


def _scores(one: Trend) -> str:
    scores = [point.score for point in one.points if point.score is not None]
    if not scores:
        return ""
    return f"{scores[0]:.4f}" if len(set(scores)) == 1 else f"{scores[0]:.4f} → {scores[-1]:.4f}"
