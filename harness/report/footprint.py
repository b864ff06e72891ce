"""What backends take beside time to answer: to start, and in memory and on disk; in pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.contracts import REFERENCE
from harness.records.schema import Result
from harness.report import cells
from harness.report.cells import plain
from harness.report.drawing import WIDTH, Picture, canvas, legend, look
from harness.report.svg import PHASES
from harness.verdicts.choice import memory_mb, size_mb
from harness.verdicts.speed import break_even, startup_ms

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
    figure, axes = canvas(1.1 + 0.3 * len(known))
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
    legend(axes)
    hint = "median over fresh processes; with the requests after which a slower start has paid for itself"
    return Picture("Starting", hint, figure, f"Time to the first answer: {', '.join(told)}.")


def sizes(group: Sequence[Result]) -> Picture | None:
    """Memory of a worker, and files that ship."""
    figure = Figure(figsize=(WIDTH, 1.0 + 0.28 * len(group)), layout="constrained")
    told = []
    for axes, (what, value) in zip(figure.subplots(1, 2, sharey=True), SIZES, strict=True):
        for at, result in enumerate(group):
            found = value(result) or 0.0
            axes.barh(at, found, color=look(group, result)[0], height=0.6, linewidth=0)
            axes.annotate(f" {cells.number(found, 3)}", (found, at), va="center")
            told.append(f"{result.backend} {cells.number(found, 3)} {what}")
        axes.margins(x=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_xlabel(what)
    axes.set_yticks(range(len(group)), [plain(result.backend) for result in group])
    axes.invert_yaxis()
    hint = "largest resident memory of a worker, median over starts; files that ship"
    return Picture("Memory and size", hint, figure, f"{'; '.join(told)}.")
