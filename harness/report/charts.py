"""A figure of matplotlib as inline SVG: text stays text, colours are the page's, and nothing is loaded.

ALSO: How pictures are drawn: their size, the look of a backend, and axes that a telephone's page has room for.
ALSO: How fast backends are, in pictures: against the reference, against what is lost, call by call, and by length.
ALSO: What backends take beside time to answer: to start, and in memory and on disk; in pictures.
ALSO: What a comparison looks like: each picture a figure and, in words, what it shows."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from html import escape
from io import StringIO
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.contracts.backend import REFERENCE
from harness.report import cells
from harness.results.schema import Result
from harness.stats.intervals import Interval, points, times
from harness.util.text import one_line
from harness.verdicts.accuracy import drop
from harness.verdicts.recommendation import memory_mb, size_mb, undominated
from harness.verdicts.speed import break_even, flat, invalid, lead, noise_floor, own_speedup, startup_ms

INK, FAINT, BAND = "#010101", "#7e7e01", "#dcdc01"
"""Stand-ins, which no palette has: the page says what they are, in light and in dark."""

SERIES = tuple(f"#01010{digit:x}" for digit in range(2, 10))
"""Likewise, of what is told apart by colour; told apart by shape and name as well."""

PHASES = tuple(f"#01020{digit}" for digit in range(4))
"""Of phases, which are no backends."""

_ROLES = (
    {INK: "ink", FAINT: "faint", BAND: "band"}
    | {c: f"c{n}" for n, c in enumerate(SERIES)}
    | {c: f"p{n}" for n, c in enumerate(PHASES)}
)

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shipbench",
    "text.parse_math": False,  # a model may be called $x$
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


def style() -> AbstractContextManager[None]:
    """How every picture looks; figures are to be drawn inside."""
    return rc_context(_STYLE)


def inline(figure: Figure, told: str, name: str) -> str:
    """The figure as an `svg` element with the text alternative `told`; `name` is unique on its page."""
    with style(), StringIO() as out:
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = _named(re.sub(r"<[^>]+>", _short, text), name)
    opened = f'<svg viewBox="{_view(text)}" role="img" aria-label="{escape(one_line(told))}">'
    return re.sub(r"\n\s*", "\n", re.sub(r"<svg\b[^>]*>", lambda _: opened, text, count=1)).strip()


def _view(text: str) -> str:
    found = re.search(r'viewBox="([^"]+)"', text)
    assert found is not None
    return found[1]


def _short(tag: re.Match[str]) -> str:
    """The tag with two decimals, the page's colours, and its font."""
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px sans-serif", text)
    return re.sub("#[0-9a-f]{6}", lambda found: f"var(--{_ROLES[found[0]]})" if found[0] in _ROLES else found[0], text)


def _named(text: str, name: str) -> str:
    """Ids, which matplotlib gives anew to every figure: those that are referred to are made unique, others go."""
    wanted = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in wanted else "", text)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)


WIDTH = 4.8
"""Inches; at 72 to the inch as wide as a telephone's page, so that nothing has to shrink there."""

MARKERS = "osD^vPX"

FARTHEST = 30.0
"""Times the estimate that an end of an interval is drawn away, where it is infinite or nearly so."""

DIGITS = (1, 1.1, 1.2, 1.25, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)

TICKS = tuple(digit * 10.0**power for power in range(-4, 5) for digit in DIGITS)

MOST_TICKS = 6

MOST_LETTERS = 26
"""Of a line of what stands beside a bar: it leaves the picture more than half of the width."""

LINE = 0.2
"""Inches that a line of text takes."""


class Picture(NamedTuple):
    """One figure."""

    title: str
    hint: str
    """How to read it."""
    figure: Figure
    told: str
    """What it shows, for who does not see it."""


def canvas(height: float) -> tuple[Figure, Axes]:
    """A figure as wide as all are and `height` inches high, with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def look(group: Sequence[Result], result: Result) -> tuple[str, str]:
    """Colour and marker of a backend: the same in every picture of its comparison."""
    at = next(number for number, one in enumerate(group) if one is result)
    return SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]


def ends(found: Interval) -> tuple[float, float]:
    """Ends of an interval of ratios, as far as they can be drawn."""
    return max(found.low, found.estimate / FARTHEST), min(found.high, found.estimate * FARTHEST)


def near(share: float) -> float:
    """A bound of a drop, as far as it can be drawn."""
    return min(max(share, -1.0), 1.0)


def logarithmic(axes: Axes, unit: str) -> None:
    """Times, with ticks at round numbers that leave each other room, each followed by the unit."""
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


def rows(axes: Any, names: Sequence[str], pitch: float, rest: float) -> None:
    """A bar a name from the top down, `pitch` inches each unless a name takes more, and `rest` for what is around."""
    told = [textwrap.fill(one_line(name), MOST_LETTERS) for name in names]
    tallest = LINE * max(1 + name.count("\n") for name in told)
    axes.figure.set_figheight(rest + max(pitch, tallest) * len(told))
    axes.set_yticks(range(len(told)), told)
    axes.set_ylim(len(told) - 0.5, -0.5)


def legend(axes: Any) -> None:
    """Above the axes, where it hides nothing: in as many columns as its names allow, and the figure grows by it."""
    names = axes.get_legend_handles_labels()[1]
    columns = max(1, min(3, int(WIDTH / (0.4 + 0.07 * max(map(len, names), default=0)))))
    axes.figure.set_figheight(axes.figure.get_figheight() + LINE * (math.ceil(len(names) / columns) - 1))
    axes.figure.legend(loc="outside upper left", ncols=columns, handlelength=1.2, columnspacing=1, borderpad=0)


MOST_MARKS = 60
"""Of one backend: all 400 rounds of it would weigh more and show no more."""


def speedups(group: Sequence[Result]) -> Picture | None:
    """Each backend's speed-up at each batch size, over the noise floor."""
    lines = [(result, series) for result in group if result.backend != REFERENCE for series in result.series]
    lines.sort(key=lambda line: line[1].workload.batch)
    if not lines:
        return None
    figure, axes = canvas(1)
    told = []
    for at, (result, series) in enumerate(lines):
        gain, noise = own_speedup(series), noise_floor(series)
        if not math.isnan(noise.estimate):
            low, high = ends(noise)
            axes.barh(at, high - low, left=low, height=0.8, color=BAND, linewidth=0)
        colour, marker = look(group, result)
        known = math.isfinite(gain.high)
        axes.plot(ends(gain), [at, at], color=colour, linewidth=2, linestyle="-" if known else ":")
        axes.plot(gain.estimate, at, marker=marker, color=colour, markersize=6)
        told.append(f"{result.backend} at batch {series.workload.batch} {times(gain)}")
    axes.axvline(1, color=FAINT, linewidth=1)
    rows(axes, [f"{r.backend}, batch\N{NO-BREAK SPACE}{s.workload.batch}" for r, s in lines], pitch=0.26, rest=0.7)
    logarithmic(axes, "×")
    axes.set_xlabel("times the reference's speed")
    why = next((f"; invalid: {what}" for _, series in lines if (what := invalid(series))), "")
    hint = (
        f"with intervals, dotted where there are too few launches or rounds; shaded: the reference against itself{why}"
    )
    return Picture("Speed-up", hint, figure, f"Speed-up against the reference: {', '.join(told)}.")


def tradeoff(group: Sequence[Result]) -> Picture | None:
    """Drop against speed at batch 1; None for fewer than two backends whose drop is known."""
    known = [(result, found) for result in group if (found := drop(result)) is not None]
    if len(known) < 2:
        return None
    figure, axes = canvas(2.6)
    front, told = [], []
    best = undominated(group)
    for result, lost in known:
        colour, marker = look(group, result)
        if result.backend == REFERENCE:
            speed = (1.0, 1.0, 1.0)
        else:
            gain = own_speedup(result.series[0])
            speed = (gain.estimate, *ends(gain))
            told.append(f"{result.backend} {times(gain)} at a drop of {points(lost)} points")
        if result.backend != REFERENCE:
            axes.plot(speed[1:], [100 * lost.estimate] * 2, color=colour, linewidth=1.2)
            axes.plot([speed[0]] * 2, [100 * near(lost.low), 100 * near(lost.high)], color=colour, linewidth=1.2)
        axes.plot(
            speed[0], 100 * lost.estimate, marker=marker, color=colour, markersize=6, label=one_line(result.backend)
        )
        if any(result is one for one in best):
            front.append((speed[0], 100 * lost.estimate))
    axes.plot(*zip(*sorted(front), strict=True), color=FAINT, linewidth=1, linestyle=":", zorder=0) if front else None
    promise = next((result.gate for result in group if result.gate), None)
    if promise is not None:
        axes.axhline(100 * promise.max_drop, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            "allowed", (1, 100 * promise.max_drop), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
    axes.invert_yaxis()
    logarithmic(axes, "×")
    axes.set_xlabel("times the reference's speed, batch 1")
    axes.set_ylabel("drop, points")
    legend(axes)
    names = ", ".join(result.backend for result in best)
    hint = "right and up is better; a dotted line joins those that no other beats on speed, drop and memory"
    return Picture("Drop against speed", hint, figure, f"{'; '.join(told)}. Beaten by no other: {names or 'none'}.")


def latencies(group: Sequence[Result]) -> Picture:
    """Share of rounds at batch 1 that took no longer."""
    figure, axes = canvas(2.6)
    told = []
    for result in group:
        every = [ns / 1e6 for ns in flat(result.series[0].own_ns)]
        took = np.quantile(every, np.linspace(0, 1, min(len(every), MOST_MARKS)))
        colour, marker = look(group, result)
        share = 100 * np.arange(1, len(took) + 1) / len(took)
        axes.plot(
            took, share, color=colour, drawstyle="steps-post", linewidth=1.5, label=one_line(result.backend),
            marker=marker, markersize=4, markevery=[len(took) // 2],
        )  # fmt: skip
        told.append(f"{result.backend} from {took[0]:.3g} over {median(took):.3g} to {took[-1]:.3g} ms")
    logarithmic(axes, "")
    axes.set_xlabel("ms a call, batch 1" + (", mean of a block" if group[0].series[0].loops > 1 else ""))
    axes.set_ylabel("share of rounds, %")
    legend(axes)
    hint = "share of rounds that took no longer; the mark is the median"
    return Picture("Distribution of latency", hint, figure, f"Least, median and largest latency: {'; '.join(told)}.")


def lengths(group: Sequence[Result]) -> Picture | None:
    """Latency against the length of what was asked; None where all have one length or two."""
    lengths = flat(group[0].series[0].lengths)
    if len(set(lengths)) < 3:
        return None
    figure, axes = canvas(2.6)
    told = []
    for result in group:
        series = result.series[0]
        at, took = flat(series.lengths), [ns / 1e6 for ns in flat(series.own_ns)]
        colour, marker = look(group, result)
        step = math.ceil(len(at) / MOST_MARKS)
        axes.plot(
            at[::step], took[::step], marker, color=colour, markersize=3, alpha=0.6, label=one_line(result.backend)
        )
        slope = float(np.polyfit(at, took, 1)[0])
        told.append(f"{result.backend} {1000 * slope:.3g} µs")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("elements of a row's first input")
    axes.set_ylabel("ms, batch 1")
    legend(axes)
    hint = "an element is a token of a text; each mark is a round"
    return Picture("Latency against length", hint, figure, f"One more element takes on average: {', '.join(told)}.")


SIZES: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
    ("peak memory, MB", memory_mb),
    ("on disk, MB", size_mb),
)

PHASE_NAMES = ("import", "load", "compile", "first answer")


def starting(group: Sequence[Result]) -> Picture | None:
    """From a fresh process to the first answer, phase by phase; None where no process was looked at."""
    known = [result for result in group if result.process is not None]
    if not known:
        return None
    figure, axes = canvas(1)
    told = []
    for at, result in enumerate(known):
        assert result.process is not None
        found = result.process
        parts = [median(ns) / 1e6 for ns in (found.import_ns, found.load_ns, found.compile_ns, found.first_ns)]
        left = 0.0
        for phase, part in enumerate(parts):
            axes.barh(at, part, left=left, color=PHASES[phase], height=0.4, linewidth=0)
            left += part
        took, said = cells.number(startup_ms(found), 3), _pays(result)
        axes.annotate(f" {took} ms", (left, at), va="center")
        axes.annotate(said, (0, at + 0.36), va="center", fontsize="small")
        told.append(f"{result.backend} {took} ms {said}".strip())
    rows(axes, [result.backend for result in known], pitch=0.42 if any(map(_pays, known)) else 0.3, rest=0.9)
    axes.margins(x=0.3)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    for phase, name in enumerate(PHASE_NAMES):
        axes.barh(0, 0, color=PHASES[phase], label=name)
    axes.set_xlabel("ms from a fresh process to the first answer")
    legend(axes)
    hint = "median over fresh processes; with the requests after which a slower launch has paid for itself"
    return Picture("Starting", hint, figure, f"Time to the first answer: {', '.join(told)}.")


def _pays(result: Result) -> str:
    """After how many requests a backend is ahead of the reference, or behind it, where one of them starts later."""
    ahead, behind = break_even(result), lead(result)
    if result.backend == REFERENCE or not ahead:
        return ""
    if behind:
        return f"ahead for the first {cells.requests(behind)} requests"
    return "never pays off" if math.isinf(ahead) else f"pays off after {cells.requests(ahead)} requests"


def sizes(group: Sequence[Result]) -> Picture | None:
    """Memory of a worker, and files that ship."""
    figure = Figure(figsize=(WIDTH, 1), layout="constrained")
    told, both = [], figure.subplots(1, 2, sharey=True)
    for axes, (what, value) in zip(both, SIZES, strict=True):
        for at, result in enumerate(group):
            found = value(result)
            said = "not known" if found is None else cells.number(found, 3)
            axes.barh(at, found or 0.0, color=look(group, result)[0], height=0.6, linewidth=0)
            axes.annotate(f" {said}", (found or 0.0, at), va="center")
            told.append(f"{result.backend} {said} {what}")
        axes.margins(x=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_xlabel(what)
    rows(both[0], [result.backend for result in group], pitch=0.28, rest=0.7)
    hint = "largest resident memory of a worker, median over launches; files that ship"
    return Picture("Memory and size", hint, figure, f"{'; '.join(told)}.")


DRAWN = (
    speedups,
    tradeoff,
    latencies,
    lengths,
    starting,
    sizes,
)
"""In the order of the page; each gives None where results do not allow it."""


def pictures(group: Sequence[Result]) -> Iterator[Picture]:
    """Those that the results of one comparison allow."""
    measured = [result for result in group if result.series]
    if not measured:
        return
    with style():
        for draw in DRAWN:
            found = draw(measured)
            if found is not None:
                yield found
