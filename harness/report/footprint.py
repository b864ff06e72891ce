"""What backends take beside time to answer: to start, and in memory and on disk; in pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.contracts import REFERENCE
from harness.records.schema import Result
from harness.report import cells
from harness.report.drawing import WIDTH, Picture, canvas, legend, look, rows
from harness.report.svg import PHASES
from harness.verdicts.choice import memory_mb, size_mb
from harness.verdicts.speed import break_even, lead, startup_ms

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
    hint = "median over fresh processes; with the requests after which a slower start has paid for itself"
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
    hint = "largest resident memory of a worker, median over starts; files that ship"
    return Picture("Memory and size", hint, figure, f"{'; '.join(told)}.")
