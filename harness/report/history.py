"""How one case went over time, as a picture.

ALSO: How cases went over time, as a table with sentences and as a page with a picture a case."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.contracts.backend import REFERENCE
from harness.regression.history import History
from harness.regression.trends import Point, Segment, Trend
from harness.report import cells
from harness.report.charts import FAINT, INK, MARKERS, SERIES, WIDTH, ends, inline, style
from harness.report.page import rendered
from harness.stats.changepoints import AFTER, BEFORE, EVERY, Step
from harness.stats.intervals import Interval, times
from harness.util.text import one_line

MANY = 200
"""Points beyond which intervals are a band: as lines they would weigh more and show no more."""


def course(found: Trend) -> tuple[Figure, str] | None:
    """Speed-up and score of every run in order, and what that shows in words; None where there is neither."""
    scores = [(at, one.score) for at, one in enumerate(found.points) if one.score is not None]
    if not found.segments and not scores:
        return None
    with style():
        speeds = bool(found.segments)
        figure = Figure(figsize=(WIDTH, (2.4 if speeds else 0) + (1.2 if scores else 0)), layout="constrained")
        parts = [2.0] * speeds + [1.0] * bool(scores)
        drawn = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=parts)[:, 0]
        if speeds:
            _speeds(drawn[0], found)
        if scores:
            _plot_scores(drawn[-1], scores)
        _dates(drawn[-1], found)
    return figure, _in_words(found)


def _speeds(axes: Any, found: Trend) -> None:
    places = {id(one): at for at, one in enumerate(found.points)}
    for number, segment in enumerate(found.segments):
        at = [places[id(one)] for one in segment.points]
        gains = [one.gain for one in segment.points if one.gain]
        low, high = zip(*map(ends, gains), strict=True)
        colour, marker = SERIES[1 + number % (len(SERIES) - 1)], MARKERS[number % len(MARKERS)]
        if len(at) > MANY:
            axes.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0)
        else:
            axes.vlines(at, low, high, color=colour, linewidth=1, alpha=0.6)
        axes.plot(at, [one.estimate for one in gains], marker, color=colour, markersize=3)
        if number:
            axes.axvline(at[0] - 0.5, color=FAINT, linewidth=1, linestyle=":")
        _levels(axes, segment, at)
    silent = [at for at, one in enumerate(found.points) if one.why]
    axes.plot(silent, [0.02] * len(silent), "x", color=FAINT, markersize=4, transform=axes.get_xaxis_transform())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}×"))
    axes.set_ylabel("speed-up, batch 1")


def _levels(axes: Any, segment: Segment, at: list[int]) -> None:
    """Where there are steps: the mean between them, and each step's size beside its line."""
    for begin, end, level in segment.levels if segment.steps else ():
        axes.hlines(level, at[begin], at[end - 1], color=INK, linewidth=1.5)
    for step in segment.steps:
        place = (at[step.at] + at[step.at - 1]) / 2
        axes.axvline(place, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            f"{100 * math.expm1(step.change.estimate):+.1f} %", (place, 1), (3, 0), va="top",
            xycoords=("data", "axes fraction"), textcoords="offset points",
        )  # fmt: skip


def _plot_scores(axes: Any, scores: list[tuple[int, float]]) -> None:
    at, values = zip(*scores, strict=True)
    axes.plot(at, values, "s", color=SERIES[0], markersize=3)
    if min(values) == max(values):
        axes.set_ylim(values[0] - 0.01, values[0] + 0.01)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_ylabel("score")


def _dates(axes: Any, found: Trend) -> None:
    """Runs stand in a row, whatever time lies between; some of them are dated."""
    last = len(found.points) - 1
    ticks = sorted({0, round(last / 2), last})
    axes.set_xticks(ticks, [found.points[at].result.created[:10] for at in ticks])
    axes.set_xlim(-0.7, last + 0.7)


def _in_words(found: Trend) -> str:
    told = [f"{len(found.points)} runs of {found.case}"]
    for number, segment in enumerate(found.segments):
        first, last = (segment.points[at].gain for at in (0, -1))
        assert first is not None
        assert last is not None
        where = f"after {number} changes of environment" if number else "first"
        told.append(f"{where} {times(first)}, last {times(last)} of {len(segment.points)} runs")
        told += [
            f"a step of {100 * math.expm1(step.change.estimate):+.1f} % on "
            f"{segment.points[step.at].result.created[:10]}"
            for step in segment.steps
        ]
    scores = [one.score for one in found.points if one.score is not None]
    told += [f"score from {scores[0]:.4f} to {scores[-1]:.4f}"] if scores else []
    return one_line("; ".join(told)) + "."


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
    return "\n".join([drawn, "", *map(one_line, [*told, *history.notes])]).rstrip()


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
        "case": one_line(one.case),
        "machine": one_line(one.machine),
        "task": newest.task,
        "backend": newest.backend,
        "runs": str(len(one.points)),
        "first": "1x" if newest.backend == REFERENCE else first,
        "last": "1x" if newest.backend == REFERENCE else last,
        "values": [f"{gain.estimate:.6g}" for gain in gains if gain] or ["", ""],
        "score": _scores(one),
        "steps": one_line("; ".join(told)) or ("none" if one.segments else ""),
        "found": "found" if any(segment.steps for segment in one.segments) else "none",
    }


def _told(step: Step, segment: Segment) -> str:
    return f"{_percent(step.change)} on {segment.points[step.at].result.created[:10]}"


def _scores(one: Trend) -> str:
    scores = [point.score for point in one.points if point.score is not None]
    if not scores:
        return ""
    return f"{scores[0]:.4f}" if len(set(scores)) == 1 else f"{scores[0]:.4f} → {scores[-1]:.4f}"
