"""Runs over commits: a table with sentences for the terminal, and a page with a picture of each case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.contracts.backend import REFERENCE
from harness.regression.history import CaseHistory, History, key_of
from harness.report.charts import FAINT, MARKERS, SERIES, WIDTH, drawable_bounds, inline, style
from harness.report.page import render_template
from harness.report.rendering import first_line, render
from harness.stats.intervals import format_ratio
from harness.util.text import one_line

COLUMNS = ("case", "runs", "first", "last", "score", "environments")
MAX_LINES = 200
"""Points above which intervals are drawn as a band: as lines they would weigh more and show no more."""
SHORT_ID = 10
"""Characters of a commit that are shown."""


def text(history: History) -> str:
    """Return a row per case for the terminal; below it every change of environment, and what is missing."""
    cases = history.cases
    rows = [_row(case) for case in cases]
    if len({case.machine for case in cases}) > 1:
        rows = [row | {"case": f"{row['case']}, {row['machine']}"} for row in rows]
    lines = [f"{case.case}: {sentence}" for case in cases for sentence in sentences(history, case)]
    table = render(pd.DataFrame(rows, columns=COLUMNS), left=("case",))
    return "\n".join([table, "", *map(one_line, [*lines, *history.notes])]).rstrip()


def page(history: History, folder: Path) -> str:
    """Return the page as HTML."""
    dates = [point.result.created[:10] for point in history.points]
    cases = history.cases
    rows = [_row(case) for case in cases]
    return render_template(
        "history.html",
        folder=str(folder),
        period=f"{len(dates)} results of {dates[0]} to {dates[-1]}" if dates else "no results",
        filters={name: sorted({row[name] for row in rows}) for name in ("machine", "task", "backend")},
        columns=(*COLUMNS, "machine"),
        rows=rows,
        pictures=[
            {
                "title": f"{case.case}, {case.machine}",
                "svg": Markup(inline(*drawn, f"h{number}")),  # noqa: S704  # escaped there
                "sentences": list(sentences(history, case)),
            }
            for number, case in enumerate(cases)
            if (drawn := plot_case(case))
        ],
        notes=history.notes,
    )


def _row(case: CaseHistory) -> dict[str, Any]:
    newest = case.points[-1].result
    ends = (case.segments[0].points[0], case.segments[-1].points[-1]) if case.segments else ()
    gains = [point.speedup for point in ends if point.speedup]
    first, last = map(format_ratio, gains) if gains else ["1x" if newest.backend == REFERENCE else ""] * 2
    scores = [f"{point.score:.4f}" for point in case.points if point.score is not None]
    return {
        "case": one_line(case.case),
        "machine": one_line(case.machine),
        "task": newest.task,
        "backend": newest.backend,
        "runs": str(len(case.points)),
        "first": first,
        "last": last,
        "score": " → ".join([scores[0], scores[-1]] if len(set(scores)) > 1 else scores[:1]),
        "environments": str(len(case.segments) or ""),
        "sort": dict(zip(("first", "last"), [f"{gain.estimate:.6g}" for gain in gains] or ["", ""], strict=True)),
    }


def sentences(history: History, case: CaseHistory) -> Iterator[str]:
    """Yield the changes of environment, and the reasons for missing speed-ups."""
    for cause, points in case.segments[1:]:
        result = points[0].result
        measured = f" of {result.environment.commit[:SHORT_ID]}" if result.environment.commit else ""
        added = history.commits[key_of(result)].id[:SHORT_ID]
        run = f"the run of {result.created[:10]}{measured}, committed in {added}"
        yield f"not comparable with earlier runs: {cause}, since {run}"
    for why, number in Counter(point.why for point in case.points if point.why).items():
        yield f"{number} of {len(case.points)} runs without a speed-up: {first_line(why)}"


def plot_case(case: CaseHistory) -> tuple[Figure, str] | None:
    """Plot speed-up and score of every run in order, with a text alternative; None without either."""
    scores = [(at, point.score) for at, point in enumerate(case.points) if point.score is not None]
    if not case.segments and not scores:
        return None
    with style():
        heights = [2.4] * bool(case.segments) + [1.2] * bool(scores)
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        if case.segments:
            _plot_speedups(axes[0], case)
        if scores:
            _plot_scores(axes[-1], scores)
        last = len(case.points) - 1
        ticks = sorted({0, round(last / 2), last})  # runs are equally spaced, whatever time lies between them
        axes[-1].set_xticks(ticks, [case.points[at].result.created[:10] for at in ticks])
        axes[-1].set_xlim(-0.7, last + 0.7)
    return figure, _alternative(case)


def _plot_speedups(axes: Any, case: CaseHistory) -> None:
    places = {id(point): at for at, point in enumerate(case.points)}
    for number, segment in enumerate(case.segments):
        at = [places[id(point)] for point in segment.points]
        gains = [point.speedup for point in segment.points if point.speedup]
        low, high = zip(*map(drawable_bounds, gains), strict=True)
        colour, marker = SERIES[1 + number % (len(SERIES) - 1)], MARKERS[number % len(MARKERS)]
        if len(at) > MAX_LINES:
            axes.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0)
        else:
            axes.vlines(at, low, high, color=colour, linewidth=1, alpha=0.6)
        axes.plot(at, [gain.estimate for gain in gains], marker, color=colour, markersize=3)
        if number:
            axes.axvline(at[0] - 0.5, color=FAINT, linewidth=1, linestyle=":")
    missing = [at for at, point in enumerate(case.points) if point.why]
    axes.plot(missing, [0.02] * len(missing), "x", color=FAINT, markersize=4, transform=axes.get_xaxis_transform())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}×"))
    axes.set_ylabel("speed-up")


def _plot_scores(axes: Any, scores: list[tuple[int, float]]) -> None:
    at, values = zip(*scores, strict=True)
    axes.plot(at, values, "s", color=SERIES[0], markersize=3)
    if min(values) == max(values):
        axes.set_ylim(values[0] - 0.01, values[0] + 0.01)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_ylabel("score")


def _alternative(case: CaseHistory) -> str:
    parts = [f"{len(case.points)} runs of {case.case}"]
    for number, segment in enumerate(case.segments):
        first, last = (
            format_ratio(point.speedup) for point in (segment.points[0], segment.points[-1]) if point.speedup
        )
        place = f"after {number} change{'s' if number > 1 else ''} of environment" if number else "first"
        parts.append(f"{place} {first}, last {last} of {len(segment.points)} runs")
    if score := _row(case)["score"]:
        parts.append(f"score {score}")
    return one_line("; ".join(parts)) + "."
