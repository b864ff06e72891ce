"""How fast backends are, in pictures: against the reference, against what is lost, call by call, and by length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from harness.accuracy.loss import loss
from harness.contracts import REFERENCE
from harness.records.schema import Result
from harness.report.cells import plain
from harness.report.drawing import Picture, canvas, ends, legend, logarithmic, look, near, rows
from harness.report.svg import BAND, FAINT, INK
from harness.verdicts.choice import undominated
from harness.verdicts.phrases import points, times
from harness.verdicts.speed import flat, invalid, noise_floor, own_speedup

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
    hint = f"with intervals, dotted where there are too few starts or rounds; shaded: the reference against itself{why}"
    return Picture("Speed-up", hint, figure, f"Speed-up against the reference: {', '.join(told)}.")


def tradeoff(group: Sequence[Result]) -> Picture | None:
    """Loss against speed at batch 1; None for fewer than two backends whose loss is known."""
    known = [(result, found) for result in group if (found := loss(result)) is not None]
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
            told.append(f"{result.backend} {times(gain)} at a loss of {points(lost)} points")
        if result.backend != REFERENCE:
            axes.plot(speed[1:], [100 * lost.estimate] * 2, color=colour, linewidth=1.2)
            axes.plot([speed[0]] * 2, [100 * near(lost.low), 100 * near(lost.high)], color=colour, linewidth=1.2)
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
    logarithmic(axes, "×")
    axes.set_xlabel("times the reference's speed, batch 1")
    axes.set_ylabel("loss, points")
    legend(axes)
    names = ", ".join(result.backend for result in best)
    hint = "right and up is better; a dotted line joins those that no other beats on speed, loss and memory"
    return Picture("Loss against speed", hint, figure, f"{'; '.join(told)}. Beaten by no other: {names or 'none'}.")


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
            took, share, color=colour, drawstyle="steps-post", linewidth=1.5, label=plain(result.backend),
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
        axes.plot(at[::step], took[::step], marker, color=colour, markersize=3, alpha=0.6, label=plain(result.backend))
        slope = float(np.polyfit(at, took, 1)[0])
        told.append(f"{result.backend} {1000 * slope:.3g} µs")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("elements of a row's first input")
    axes.set_ylabel("ms, batch 1")
    legend(axes)
    hint = "an element is a token of a text; each mark is a round"
    return Picture("Latency against length", hint, figure, f"One more element takes on average: {', '.join(told)}.")
