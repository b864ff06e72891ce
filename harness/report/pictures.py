"""What a comparison looks like: each picture a figure and, in words, what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.choice import memory_mb, size_mb, undominated
from harness.contracts import REFERENCE
from harness.loss import loss
from harness.phrases import points, times
from harness.report import cells
from harness.report.cells import plain
from harness.report.svg import BAND, FAINT, INK, PHASES, SERIES, style
from harness.schema import Result
from harness.speed import break_even, flat, invalid, noise_floor, own_speedup, startup_ms
from harness.stats import Interval

WIDTH = 4.8
"""Inches; at 72 to the inch as wide as a telephone's page, so that nothing has to shrink there."""
MARKERS = "osD^vPX"
FARTHEST = 30.0
"""Times the estimate that an end of an interval is drawn away, where it is infinite or nearly so."""
DIGITS = (1, 1.1, 1.2, 1.25, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
TICKS = tuple(digit * 10.0**power for power in range(-4, 5) for digit in DIGITS)
MOST_TICKS = 6
SIZES: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
    ("peak memory, MB", memory_mb),
    ("on disk, MB", size_mb),
)
PHASE_NAMES = ("import", "load", "compile", "first answer")
MOST_MARKS = 60
"""Of one backend: all 400 rounds of it would weigh more and show no more."""


class Picture(NamedTuple):
    """One figure."""

    title: str
    hint: str
    """How to read it."""
    figure: Figure
    told: str
    """What it shows, for who does not see it."""


def pictures(group: Sequence[Result]) -> Iterator[Picture]:
    """Those that the results of one comparison allow."""
    measured = [result for result in group if result.series]
    if not measured:
        return
    with style():
        for draw in (_forest, _tradeoff, _latencies, _lengths, _phases, _sizes):
            found = draw(measured)
            if found is not None:
                yield found


def _forest(group: Sequence[Result]) -> Picture | None:
    lines = [(result, series) for result in group if result.backend != REFERENCE for series in result.series]
    lines.sort(key=lambda line: line[1].workload.batch)
    if not lines:
        return None
    figure, axes = _axes(0.9 + 0.26 * len(lines))
    told = []
    for at, (result, series) in enumerate(lines):
        gain, noise = own_speedup(series), noise_floor(series)
        if not math.isnan(noise.estimate):
            low, high = _ends(noise)
            axes.barh(at, high - low, left=low, height=0.8, color=BAND, linewidth=0)
        colour, marker = _look(group, result)
        known = math.isfinite(gain.high)
        axes.plot(_ends(gain), [at, at], color=colour, linewidth=2, linestyle="-" if known else ":")
        axes.plot(gain.estimate, at, marker=marker, color=colour, markersize=6)
        told.append(f"{result.backend} at batch {series.workload.batch} {times(gain)}")
    axes.axvline(1, color=FAINT, linewidth=1)
    axes.set_yticks(range(len(lines)), [plain(f"{r.backend}, batch {s.workload.batch}") for r, s in lines])
    axes.invert_yaxis()
    _logarithmic(axes, "×")
    axes.set_xlabel("times the reference's speed")
    why = next((f"; invalid: {what}" for _, series in lines if (what := invalid(series))), "")
    hint = f"with intervals, dotted where there are too few starts or rounds; shaded: the reference against itself{why}"
    return Picture("Speed-up", hint, figure, f"Speed-up against the reference: {', '.join(told)}.")


def _tradeoff(group: Sequence[Result]) -> Picture | None:
    known = [(result, found) for result in group if (found := loss(result)) is not None]
    if len(known) < 2:
        return None
    figure, axes = _axes(2.6)
    front, told = [], []
    best = undominated(group)
    for result, lost in known:
        colour, marker = _look(group, result)
        if result.backend == REFERENCE:
            speed = (1.0, 1.0, 1.0)
        else:
            gain = own_speedup(result.series[0])
            speed = (gain.estimate, *_ends(gain))
            told.append(f"{result.backend} {times(gain)} at a loss of {points(lost)} points")
        if result.backend != REFERENCE:
            axes.plot(speed[1:], [100 * lost.estimate] * 2, color=colour, linewidth=1.2)
            axes.plot([speed[0]] * 2, [100 * _near(lost.low), 100 * _near(lost.high)], color=colour, linewidth=1.2)
        axes.plot(speed[0], 100 * lost.estimate, marker=marker, color=colour, markersize=6, label=plain(result.backend))
        if any(result is one for one in best):
            front.append((speed[0], 100 * lost.estimate))
    axes.plot(*zip(*sorted(front), strict=True), color=FAINT, linewidth=1, linestyle=":", zorder=0) if front else None
    promise = next((result.promise for result in group if result.promise), None)
    if promise is not None:
        axes.axhline(100 * promise.max_loss, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            "allowed", (1, 100 * promise.max_loss), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
    axes.invert_yaxis()
    _logarithmic(axes, "×")
    axes.set_xlabel("times the reference's speed, batch 1")
    axes.set_ylabel("loss, points")
    _legend(axes)
    names = ", ".join(result.backend for result in best)
    hint = "right and up is better; a dotted line joins those that no other beats on speed, loss and memory"
    return Picture("Loss against speed", hint, figure, f"{'; '.join(told)}. Beaten by no other: {names or 'none'}.")


def _latencies(group: Sequence[Result]) -> Picture:
    figure, axes = _axes(2.6)
    told = []
    for result in group:
        every = [ns / 1e6 for ns in flat(result.series[0].own_ns)]
        took = np.quantile(every, np.linspace(0, 1, min(len(every), MOST_MARKS)))
        colour, marker = _look(group, result)
        share = 100 * np.arange(1, len(took) + 1) / len(took)
        axes.plot(
            took, share, color=colour, drawstyle="steps-post", linewidth=1.5, label=plain(result.backend),
            marker=marker, markersize=4, markevery=[len(took) // 2],
        )  # fmt: skip
        told.append(f"{result.backend} from {took[0]:.3g} over {median(took):.3g} to {took[-1]:.3g} ms")
    _logarithmic(axes, "")
    axes.set_xlabel("ms a call, batch 1" + (", mean of a block" if group[0].series[0].loops > 1 else ""))
    axes.set_ylabel("share of rounds, %")
    _legend(axes)
    hint = "share of rounds that took no longer; the mark is the median"
    return Picture("Distribution of latency", hint, figure, f"Least, median and largest latency: {'; '.join(told)}.")


def _lengths(group: Sequence[Result]) -> Picture | None:
    lengths = flat(group[0].series[0].lengths)
    if len(set(lengths)) < 3:
        return None
    figure, axes = _axes(2.6)
    told = []
    for result in group:
        series = result.series[0]
        at, took = flat(series.lengths), [ns / 1e6 for ns in flat(series.own_ns)]
        colour, marker = _look(group, result)
        step = math.ceil(len(at) / MOST_MARKS)
        axes.plot(at[::step], took[::step], marker, color=colour, markersize=3, alpha=0.6, label=plain(result.backend))
        slope = float(np.polyfit(at, took, 1)[0])
        told.append(f"{result.backend} {1000 * slope:.3g} µs")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("elements of a row's first input")
    axes.set_ylabel("ms, batch 1")
    _legend(axes)
    hint = "an element is a token of a text; each mark is a round"
    return Picture("Latency against length", hint, figure, f"One more element takes on average: {', '.join(told)}.")


def _phases(group: Sequence[Result]) -> Picture | None:
    known = [result for result in group if result.process is not None]
    if not known:
        return None
    figure, axes = _axes(1.1 + 0.3 * len(known))
    told = []
    for at, result in enumerate(known):
        assert result.process is not None
        found = result.process
        parts = [median(ns) / 1e6 for ns in (found.import_ns, found.load_ns, found.compile_ns, found.first_ns)]
        left = 0.0
        for phase, part in enumerate(parts):
            axes.barh(at, part, left=left, color=PHASES[phase], height=0.6, linewidth=0)
            left += part
        pays = cells.requests(break_even(result)) if result.backend != REFERENCE else ""
        said = f"pays off after {pays} requests" if pays not in ("", "0", "never") else ""
        said = "never pays off" if pays == "never" else said
        took = cells.number(startup_ms(found), 3)
        axes.annotate(f" {took} ms {said}", (left, at), va="center")
        told.append(f"{result.backend} {took} ms {said}".strip())
    axes.set_yticks(range(len(known)), [plain(result.backend) for result in known])
    axes.invert_yaxis()
    axes.margins(x=0.45)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    for phase, name in enumerate(PHASE_NAMES):
        axes.barh(0, 0, color=PHASES[phase], label=name)
    axes.set_xlabel("ms from a fresh process to the first answer")
    _legend(axes)
    hint = "median over fresh processes; with the requests after which a slower start has paid for itself"
    return Picture("Starting", hint, figure, f"Time to the first answer: {', '.join(told)}.")


def _sizes(group: Sequence[Result]) -> Picture | None:
    figure = Figure(figsize=(WIDTH, 1.0 + 0.28 * len(group)), layout="constrained")
    told = []
    for axes, (what, value) in zip(figure.subplots(1, 2, sharey=True), SIZES, strict=True):
        for at, result in enumerate(group):
            found = value(result) or 0.0
            axes.barh(at, found, color=_look(group, result)[0], height=0.6, linewidth=0)
            axes.annotate(f" {cells.number(found, 3)}", (found, at), va="center")
            told.append(f"{result.backend} {cells.number(found, 3)} {what}")
        axes.margins(x=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_xlabel(what)
    axes.set_yticks(range(len(group)), [plain(result.backend) for result in group])
    axes.invert_yaxis()
    hint = "largest resident memory of a worker, median over starts; files that ship"
    return Picture("Memory and size", hint, figure, f"{'; '.join(told)}.")


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _look(group: Sequence[Result], result: Result) -> tuple[str, str]:
    """Colour and marker of a backend: the same in every picture of its comparison."""
    at = next(number for number, one in enumerate(group) if one is result)
    return SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]


def _ends(found: Interval) -> tuple[float, float]:
    """Ends of an interval of ratios, as far as they can be drawn."""
    return max(found.low, found.estimate / FARTHEST), min(found.high, found.estimate * FARTHEST)


def _near(share: float) -> float:
    """A bound of a loss, as far as it can be drawn."""
    return min(max(share, -1.0), 1.0)


def _logarithmic(axes: Axes, unit: str) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    apart = math.log(high / low) / MOST_TICKS
    ticks: list[float] = []
    for tick in sorted(TICKS, key=lambda tick: (tick != 1, f"{tick:g}".strip("0.") != "1", tick)):
        if low <= tick <= high and all(abs(math.log(tick / other)) > apart for other in ticks):
            ticks.append(tick)
    if len(ticks) > 1:
        axes.set_xticks(sorted(ticks))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}{unit}"))


def _legend(axes: Any) -> None:
    axes.figure.legend(loc="outside upper left", ncols=3, handlelength=1.2, columnspacing=1, borderpad=0)
