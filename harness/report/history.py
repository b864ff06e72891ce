"""Trends over commits: a table with sentences for the terminal, and a page with a picture of each case."""

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
from harness.report.charts import FAINT, INK, MARKERS, SERIES, WIDTH, drawable_bounds, inline, style
from harness.report.page import render_template
from harness.report.tables import first_line, render
from harness.stats.changepoints import AFTER, BEFORE, EVERY
from harness.stats.intervals import Interval, format_ratio
from harness.util.text import one_line

MAX_LINES = 200
"""Points above which intervals are drawn as a band: as lines they would weigh more and show no more."""

SHORT_ID = 10
"""Characters of a commit that are shown."""

RULE = (
    f"A step is a change of level beyond the noise between runs. Without a change, a step is reported at most once in "
    f"{EVERY:,} runs, whatever the noise. A step takes {BEFORE} runs before it and {AFTER} after it."
)


def text(history: History, trends: Sequence[Trend]) -> str:
    """Return a row per case for the terminal; below it every step, every change of environment, and what is missing."""
    rows = [
        {name: row[name] for name in ("case", "runs", "first", "last", "score", "steps")} for row in map(_row, trends)
    ]
    if len({trend.machine for trend in trends}) > 1:
        rows = [row | {"case": f"{row['case']}, {trend.machine}"} for row, trend in zip(rows, trends, strict=True)]
    lines = [f"{trend.case}: {sentence}" for trend in trends for sentence in sentences(history, trend)]
    table = render(pd.DataFrame(rows), left=("case", "steps"))
    return "\n".join([table, "", *map(one_line, [*lines, *history.notes])]).rstrip()


def page(history: History, trends: Sequence[Trend], folder: Path) -> str:
    """Return the page as HTML."""
    dates = [point.result.created[:10] for point in history.points]
    rows, machines = list(map(_row, trends)), len({trend.machine for trend in trends})
    return render_template(
        "history.html",
        folder=str(folder),
        status=_status(trends),
        period=f"{len(dates)} results of {dates[0]} to {dates[-1]}" if dates else "no results",
        steps=[f"{trend.case}: {sentence}" for trend in trends for sentence in _steps(history, trend)],
        rule=RULE,
        filters={name: sorted({row["data"][name] for row in rows}) for name in ("machine", "task", "backend", "steps")},
        rows=rows,
        pictures=[
            {
                "title": trend.case if machines == 1 else f"{trend.case}, {trend.machine}",
                "svg": Markup(inline(*drawn, f"h{number}")),  # noqa: S704  # escaped there
                "sentences": list(sentences(history, trend)),
            }
            for number, trend in enumerate(trends)
            if (drawn := course(trend))
        ],
        notes=history.notes,
    )


def _status(trends: Sequence[Trend]) -> str:
    counts = [sum(len(segment.steps) for segment in trend.segments) for trend in trends]
    total, cases = sum(counts), sum(count > 0 for count in counts)
    return f"{total or 'no'} step{'' if total == 1 else 's'} in {cases} of {len(trends)} cases"


def _row(trend: Trend) -> dict[str, Any]:
    newest = trend.points[-1].result
    ends = (trend.segments[0].points[0], trend.segments[-1].points[-1]) if trend.segments else ()
    gains = [point.speedup for point in ends]
    is_stepped = any(segment.steps for segment in trend.segments)
    if newest.backend == REFERENCE:
        first, last = "1x", "1x"
    else:
        first, last = [format_ratio(gain) if gain else "" for gain in gains] or ["", ""]
    return {
        "case": one_line(trend.case),
        "machine": one_line(trend.machine),
        "data": {
            "machine": one_line(trend.machine),
            "task": newest.task,
            "backend": newest.backend,
            "steps": "some" if is_stepped else "none",
        },
        "runs": str(len(trend.points)),
        "first": first,
        "last": last,
        "values": [f"{gain.estimate:.6g}" for gain in gains if gain] or ["", ""],
        "score": _scores(trend),
        "steps": one_line(_step_cell(trend)),
        "is_stepped": is_stepped,
    }


def _step_cell(trend: Trend) -> str:
    parts = [
        f"{_percent(step.change)} on {segment.points[step.at].result.created[:10]}"
        for segment in trend.segments
        for step in segment.steps
    ]
    changes = len(trend.segments) - 1
    if changes > 0:
        parts.append(f"{changes} change{'s' if changes > 1 else ''} of environment")
    return "; ".join(parts) or ("none" if trend.segments else "")


def _scores(trend: Trend) -> str:
    scores = [point.score for point in trend.points if point.score is not None]
    if not scores:
        return ""
    return f"{scores[0]:.4f}" if len(set(scores)) == 1 else f"{scores[0]:.4f} → {scores[-1]:.4f}"


def sentences(history: History, trend: Trend) -> Iterator[str]:
    """Yield the steps, the changes of environment, and the reasons for missing speed-ups."""
    yield from _steps(history, trend)
    for segment in trend.segments[1:]:
        yield f"not comparable with earlier runs: {segment.cause}, since {_run(history, segment.points[0])}"
    reasons = Counter(point.why for point in trend.points if point.why)
    for why, number in reasons.items():
        yield f"{number} of {len(trend.points)} runs without a speed-up: {first_line(why)}"


def _steps(history: History, trend: Trend) -> Iterator[str]:
    for segment in trend.segments:
        for step, ((*_, old), (*_, new)) in zip(segment.steps, pairwise(segment.levels), strict=True):
            detected = segment.points[step.detected].result.created[:10]
            yield (
                f"step of {_percent(step.change)}, from {old:.2f}x to {new:.2f}x, with "
                f"{_run(history, segment.points[step.at])}; detected by the run of {detected}"
            )


def _run(history: History, point: Point) -> str:
    """Name a run by its date, the commit that it measured and the commit that added it."""
    measured = point.result.environment.commit
    code = f" of {measured[:SHORT_ID]}" if measured else ""
    return f"the run of {point.result.created[:10]}{code}, committed in {history.commit_of(point).id[:SHORT_ID]}"


def _percent(log_change: Interval) -> str:
    ends = (log_change.estimate, log_change.low, log_change.high)
    estimate, low, high = (100 * math.expm1(end) for end in ends)
    return f"{estimate:+.1f} % [{low:+.1f}, {high:+.1f}]"


def course(trend: Trend) -> tuple[Figure, str] | None:
    """Plot speed-up and score of every run in order, with a text alternative; None without either."""
    scores = [(at, point.score) for at, point in enumerate(trend.points) if point.score is not None]
    if not trend.segments and not scores:
        return None
    with style():
        heights = [2.4] * bool(trend.segments) + [1.2] * bool(scores)
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        if trend.segments:
            _plot_speedups(axes[0], trend)
        if scores:
            _plot_scores(axes[-1], scores)
        _date_ticks(axes[-1], trend)
    return figure, _alternative(trend)


def _plot_speedups(axes: Any, trend: Trend) -> None:
    places = {id(point): at for at, point in enumerate(trend.points)}
    for number, segment in enumerate(trend.segments):
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
        _plot_steps(axes, segment, at)
    missing = [at for at, point in enumerate(trend.points) if point.why]
    axes.plot(missing, [0.02] * len(missing), "x", color=FAINT, markersize=4, transform=axes.get_xaxis_transform())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}×"))
    axes.set_ylabel("speed-up, batch 1")


def _plot_steps(axes: Any, segment: Segment, at: list[int]) -> None:
    """Draw each step as a line with its size, and the mean between steps."""
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


def _date_ticks(axes: Any, trend: Trend) -> None:
    """Date the first, the middle and the last run; runs are equally spaced, whatever time lies between them."""
    last = len(trend.points) - 1
    ticks = sorted({0, round(last / 2), last})
    axes.set_xticks(ticks, [trend.points[at].result.created[:10] for at in ticks])
    axes.set_xlim(-0.7, last + 0.7)


def _alternative(trend: Trend) -> str:
    parts = [f"{len(trend.points)} runs of {trend.case}"]
    for number, segment in enumerate(trend.segments):
        first, last = (segment.points[at].speedup for at in (0, -1))
        assert first is not None
        assert last is not None
        place = f"after {number} change{'s' if number > 1 else ''} of environment" if number else "first"
        parts.append(f"{place} {format_ratio(first)}, last {format_ratio(last)} of {len(segment.points)} runs")
        for step in segment.steps:
            size = f"{100 * math.expm1(step.change.estimate):+.1f} %"
            parts.append(f"a step of {size} on {segment.points[step.at].result.created[:10]}")
    scores = [point.score for point in trend.points if point.score is not None]
    parts += [f"score from {scores[0]:.4f} to {scores[-1]:.4f}"] if scores else []
    return one_line("; ".join(parts)) + "."
