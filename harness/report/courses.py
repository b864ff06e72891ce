"""How one case went over time, as a picture."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report import cells
from harness.report.drawing import MARKERS, WIDTH, ends
from harness.report.svg import FAINT, INK, SERIES, style
from harness.runs.trend import Segment, Trend
from harness.verdicts.phrases import times

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
            _scores(drawn[-1], scores)
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


def _scores(axes: Any, scores: list[tuple[int, float]]) -> None:
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
    return cells.plain("; ".join(told)) + "."
