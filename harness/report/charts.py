"""Charts of a comparison: matplotlib figures as inline SVG, in which text stays text and colours are the page's."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
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
from harness.metrics import in_points
from harness.report.rendering import number, requests
from harness.results.schema import Result
from harness.stats.intervals import Interval, format_ratio
from harness.util.text import one_line
from harness.verdicts.accuracy import format_drop, score_drop, unit
from harness.verdicts.comparability import judged_batch
from harness.verdicts.recommendation import pareto_front
from harness.verdicts.speed import break_even, flatten, noise_floor, own_speedup, startup_ms

# Placeholder colours that no palette has; the page's style defines them for light and dark.
INK, FAINT, BAND = "#010101", "#7e7e01", "#dcdc01"
SERIES = tuple(f"#01010{digit:x}" for digit in range(2, 10))  # of backends, which also differ by marker and name
PHASES = {"#010200": "import", "#010201": "load", "#010202": "compile", "#010203": "first answer"}  # of startup
_VARIABLES = (
    {INK: "ink", FAINT: "faint", BAND: "band"}
    | {colour: f"c{n}" for n, colour in enumerate(SERIES)}
    | {colour: f"p{n}" for n, colour in enumerate(PHASES)}
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

WIDTH = 4.8  # inches; at 72 per inch as wide as a phone's page, so that nothing has to shrink there
LINE = 0.2  # inches per line of text
MARKERS = "osD^vPX"
MAX_MARKS = 60  # per backend: all 400 rounds would weigh more and show no more
MAX_LETTERS = 26  # per line of a bar's label, which leaves the bars more than half of the width
MAX_STRETCH = 30.0  # factor of the estimate at which an infinite or huge end of an interval is cut off
DIGITS = (1, 1.1, 1.2, 1.25, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
TICKS = tuple(digit * 10.0**power for power in range(-4, 5) for digit in DIGITS)


class Picture(NamedTuple):
    """One chart."""

    title: str
    caption: str
    """Instructions for reading it."""
    figure: Figure
    alternative: str
    """Its content in words, for screen readers."""


def pictures(group: Sequence[Result]) -> Iterator[Picture]:
    """Yield the charts that the results of one comparison allow, in the order of the page."""
    measured = [result for result in group if result.series]
    if not measured:
        return
    with style():
        for plot in (plot_speedups, plot_tradeoff, plot_latencies, plot_startup):
            if picture := plot(measured):
                yield picture


def plot_speedups(group: Sequence[Result]) -> Picture | None:
    """Plot each backend's speed-up at each batch size, over the noise floor."""
    lines = [(result, series) for result in group if result.backend != REFERENCE for series in result.series]
    lines.sort(key=lambda line: line[1].workload.batch)
    if not lines:
        return None
    figure, axes = _canvas(1)
    texts = []
    for at, (result, series) in enumerate(lines):
        gain, noise = own_speedup(series), noise_floor(series)
        if not math.isnan(noise.estimate):
            low, high = drawable_bounds(noise)
            axes.barh(at, high - low, left=low, height=0.8, color=BAND, linewidth=0)
        colour, marker = _look(group, result)
        line_style = "-" if math.isfinite(gain.high) else ":"
        axes.plot(drawable_bounds(gain), [at, at], color=colour, linewidth=2, linestyle=line_style)
        axes.plot(gain.estimate, at, marker=marker, color=colour, markersize=6)
        texts.append(f"{result.backend} at batch {series.workload.batch} {format_ratio(gain)}")
    axes.axvline(1, color=FAINT, linewidth=1)
    labels = [f"{result.backend}, batch\N{NO-BREAK SPACE}{series.workload.batch}" for result, series in lines]
    _label_bars(axes, labels, pitch=0.26, rest=0.7)
    _log_axis(axes, "×")
    axes.set_xlabel("times the reference's speed")
    caption = "bars are intervals, dotted with too few launches or rounds; shaded is the noise floor"
    return Picture("Speed-up", caption, figure, f"Speed-up against the reference: {', '.join(texts)}.")


def plot_tradeoff(group: Sequence[Result]) -> Picture | None:
    """Plot drop against speed-up at the judged batch; None for fewer than two backends with a drop."""
    drops = [(result, drop) for result in group if (drop := score_drop(result)) is not None]
    if len(drops) < 2:
        return None
    figure, axes = _canvas(2.6)
    front, texts = [], []
    best = pareto_front(group)
    metric = next((result.data.metric for result in group if result.data), "")
    factor, limit = (100, 100.0) if in_points(metric) else (1, 2 * max(abs(drop.estimate) for _, drop in drops))
    for result, drop in drops:
        colour, marker = _look(group, result)
        speed, points = 1.0, factor * drop.estimate
        if result.backend != REFERENCE:
            gain = own_speedup(result.series[0])
            speed = gain.estimate
            axes.plot(drawable_bounds(gain), [points] * 2, color=colour, linewidth=1.2)
            ends = (drop.low, drop.high)
            bounds = [factor * b if math.isfinite(b) else math.copysign(limit, b) for b in ends]
            axes.plot([speed] * 2, bounds, color=colour, linewidth=1.2)
            texts.append(f"{result.backend} {format_ratio(gain)}, score {format_drop(drop, metric)}")
        axes.plot(speed, points, marker=marker, color=colour, markersize=6, label=one_line(result.backend))
        if any(result is one for one in best):
            front.append((speed, points))
    if front:
        axes.plot(*zip(*sorted(front), strict=True), color=FAINT, linewidth=1, linestyle=":", zorder=0)
    gate = next((result.gate for result in group if result.gate), None)
    if gate is not None:
        allowed = factor * gate.max_drop
        axes.axhline(allowed, color=INK, linewidth=1, linestyle="--")
        axes.annotate("allowed", (1, allowed), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.invert_yaxis()
    _log_axis(axes, "×")
    axes.set_xlabel(f"times the reference's speed, batch {judged_batch(group)}")
    axes.set_ylabel(f"drop ({unit(metric)})")
    _add_legend(axes)
    names = ", ".join(result.backend for result in best)
    caption = "right and up is better; the dotted line joins the Pareto-optimal backends (speed, drop, memory)"
    return Picture("Drop against speed", caption, figure, f"{'; '.join(texts)}. Pareto-optimal: {names or 'none'}.")


def plot_latencies(group: Sequence[Result]) -> Picture:
    """Plot the distribution of latency over the rounds at the judged batch."""
    figure, axes = _canvas(2.6)
    texts = []
    for result in group:
        every = [ns / 1e6 for ns in flatten(result.series[0].own_ns)]
        ms = np.quantile(every, np.linspace(0, 1, min(len(every), MAX_MARKS)))
        colour, marker = _look(group, result)
        axes.plot(
            ms, 100 * np.arange(1, len(ms) + 1) / len(ms), color=colour, drawstyle="steps-post", linewidth=1.5,
            label=one_line(result.backend), marker=marker, markersize=4, markevery=[len(ms) // 2],
        )  # fmt: skip
        texts.append(f"{result.backend} {ms[0]:.3g}, {median(ms):.3g} and {ms[-1]:.3g} ms")
    _log_axis(axes, "")
    mean = ", mean of a block" if group[0].series[0].loops > 1 else ""
    axes.set_xlabel(f"ms per call, batch {judged_batch(group)}{mean}")
    axes.set_ylabel("share of rounds, %")
    _add_legend(axes)
    caption = "share of rounds that took no longer; marks are medians"
    text = f"Minimum, median and maximum latency: {'; '.join(texts)}."
    return Picture("Distribution of latency", caption, figure, text)


def plot_startup(group: Sequence[Result]) -> Picture | None:
    """Plot the startup phases, and when a later start pays off; None where no process was measured."""
    processes = [(result, result.process) for result in group if result.process is not None]
    if not processes:
        return None
    figure, axes = _canvas(1)
    texts = []
    for at, (result, process) in enumerate(processes):
        left = 0.0
        phases = (process.import_ns, process.load_ns, process.compile_ns, process.first_ns)
        for (colour, name), samples in zip(PHASES.items(), phases, strict=True):
            ms = median(samples) / 1e6
            axes.barh(at, ms, left=left, color=colour, height=0.4, linewidth=0, label=None if at else name)
            left += ms
        total, pays_after = number(startup_ms(process), 3), break_even(result)
        payoff = ""
        if pays_after and result.backend != REFERENCE:
            payoff = f"pays off after {requests(pays_after)} requests" if pays_after < math.inf else "never pays off"
        axes.annotate(f" {total} ms", (left, at), va="center")
        axes.annotate(payoff, (0, at + 0.36), va="center", fontsize="small")
        texts.append(f"{result.backend} {total} ms {payoff}".strip())
    _label_bars(axes, [result.backend for result, _ in processes], pitch=0.42, rest=0.9)
    axes.margins(x=0.3)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("ms from a fresh process to the first answer")
    _add_legend(axes)
    caption = "processes of the first launch; the number of requests after which a slower startup has paid for itself"
    return Picture("Startup", caption, figure, f"Time to the first answer: {', '.join(texts)}.")


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _look(group: Sequence[Result], result: Result) -> tuple[str, str]:
    """Return colour and marker of a backend, the same in every chart of its comparison."""
    at = next(place for place, one in enumerate(group) if one is result)
    return SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]


def drawable_bounds(ratio: Interval) -> tuple[float, float]:
    """Return the bounds of an interval of ratios, cut off where they are infinite or far away."""
    return max(ratio.low, ratio.estimate / MAX_STRETCH), min(ratio.high, ratio.estimate * MAX_STRETCH)


def _log_axis(axes: Axes, unit: str) -> None:
    """Make the x axis logarithmic, with a few ticks at round numbers, each followed by the unit."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    spacing = math.log(high / low) / 6  # at most six ticks
    ticks: list[float] = []
    for tick in sorted(TICKS, key=lambda tick: (tick != 1, f"{tick:g}".strip("0.") != "1", tick)):
        if low <= tick <= high and all(abs(math.log(tick / other)) > spacing for other in ticks):
            ticks.append(tick)
    if len(ticks) > 1:
        axes.set_xticks(sorted(ticks))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}{unit}"))


def _label_bars(axes: Any, names: Sequence[str], pitch: float, rest: float) -> None:
    """Label bars from the top down and fit the height: `pitch` inches a bar, more for long names, and `rest` around."""
    labels = [textwrap.fill(one_line(name), MAX_LETTERS) for name in names]
    tallest = LINE * max(1 + label.count("\n") for label in labels)
    axes.figure.set_figheight(rest + max(pitch, tallest) * len(labels))
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def _add_legend(axes: Any) -> None:
    """Add a legend above the axes, in as many columns as the names allow; the figure grows by it."""
    names = axes.get_legend_handles_labels()[1]
    columns = max(1, min(3, int(WIDTH / (0.4 + 0.07 * max(map(len, names), default=0)))))
    axes.figure.set_figheight(axes.figure.get_figheight() + LINE * (math.ceil(len(names) / columns) - 1))
    axes.figure.legend(loc="outside upper left", ncols=columns, handlelength=1.2, columnspacing=1, borderpad=0)


def style() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn and saved in the page's style."""
    return rc_context(_STYLE)


def inline(figure: Figure, alternative: str, name: str) -> str:
    """Return the figure as an `svg` element with a text alternative; `name` must be unique on the page."""
    with style(), StringIO() as out:
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = _scope_ids(re.sub(r"<[^>]+>", _shorten, svg), name)
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view is not None
    root = f'<svg {view[0]} role="img" aria-label="{escape(one_line(alternative))}">'
    return re.sub(r"\n\s*", "\n", re.sub(r"<svg\b[^>]*>", lambda _: root, svg, count=1)).strip()


def _shorten(tag: re.Match[str]) -> str:
    """Return the tag with two decimals, the page's colours and its font."""
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px sans-serif", text)
    return re.sub("#[0-9a-f]{6}", lambda c: f"var(--{_VARIABLES[c[0]]})" if c[0] in _VARIABLES else c[0], text)


def _scope_ids(svg: str, name: str) -> str:
    """Prefix the ids that are referred to with `name` and drop the others: matplotlib reuses them in every figure."""
    wanted = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda id_: f' id="{name}-{id_[1]}"' if id_[1] in wanted else "", svg)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
