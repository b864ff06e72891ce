"""How pictures are drawn: their size, the look of a backend, and axes that a telephone's page has room for."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.records.schema import Result
from harness.report.cells import plain
from harness.report.svg import SERIES
from harness.statistics.stats import Interval

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
    """A bound of a loss, as far as it can be drawn."""
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
    told = [textwrap.fill(plain(name), MOST_LETTERS) for name in names]
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
