"""The list of parts, and the command that runs and judges them."""

from __future__ import annotations

import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.report.sentences import origin
from harness.selftest import (
    accuracy,
    carry_over,
    cheats,
    collection,
    exports,
    overhead,
    real,
    session_deaths,
    speed,
    worker_deaths,
)
from harness.selftest.figures import Figure, Part, Workspace
from harness.util.console import Progress
from harness.util.machine import describe, usable_cores

PARTS: tuple[Part, ...] = (
    cheats.device_truth,
    cheats.cheats,
    collection.collection,
    exports.broken_exports,
    accuracy.non_inferiority,
    speed.false_alarms,
    speed.power,
    real.real_workers,
    real.unchanged_runs,
    worker_deaths.worker_deaths,
    session_deaths.session_deaths,
    overhead.overhead,
    carry_over.carry_over,
)
"""In the order in which they run."""
HEADERS = ("part", "figure", "kind", "k of N", "95 % interval", "limit", "verdict", "note")


def selftest(
    parts: Sequence[Part], names: Sequence[str], artifacts: Path, say: Callable[[str], None], out: Path | None = None
) -> int:
    """Run the named parts, or all; return 0 if every figure holds, else 1. Raise HarnessError for an unknown name."""
    by_name = {part.name: part for part in parts}
    if unknown := [name for name in names if name not in by_name]:
        raise HarnessError(f"unknown part {', '.join(unknown)}; expected one of\n{listing(parts)}")
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        say(line)

    show(_row(HEADERS))
    show(_row("---" for _ in HEADERS))
    passed, durations = [], []
    for part in [by_name[name] for name in names] if names else parts:
        began = time.monotonic()
        for figure in _run(part, artifacts):
            passed.append(figure.passed)
            show(_row((part.name, *figure.cells)))
        durations.append(f"{part.name} {time.monotonic() - began:.0f} s")
    show(f"\n{sum(passed)} of {len(passed)} hold; {', '.join(durations)}")
    show(f"\n{_machine()}\n\n`{_command(names, artifacts, out)}`")
    if out is not None:
        out.write_text("\n".join(lines) + "\n")
    return 0 if all(passed) else 1


def listing(parts: Sequence[Part]) -> str:
    """Return a line for every part: its name and its claim."""
    width = max(len(part.name) for part in parts)
    return "\n".join(f"{part.name:<{width}}  {part.claim}" for part in parts)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _run(part: Part, artifacts: Path) -> Iterator[Figure]:
    """Yield the part's figures. An error, or a missing figure or control, counts as a figure that fails."""
    kinds = set()
    try:
        with tempfile.TemporaryDirectory(prefix="shipbench-selftest-") as scratch:
            for figure in part.run(Workspace(artifacts.resolve(), Path(scratch), Progress())):
                kinds.add(figure.control)
                yield figure
    except Exception as error:  # the other parts still have to run
        details = str(error) if isinstance(error, HarnessError) else traceback.format_exc()
        yield Figure(label="runs to its end", k=0, n=1, at_least=1, note=f"{type(error).__name__}: {details.strip()}")
    for label, control in (("has a figure", False), ("has a positive control", True)):
        if control not in kinds:
            yield Figure(label=label, k=0, n=1, at_least=1, control=control)


def _machine() -> str:
    here = describe("local", usable_cores(), Path(__file__).parent)
    load = "unknown" if here.load_before is None else f"{here.load_before:g}"
    return f"{origin(here)} Memory {here.memory_gib:g} GiB, load {load}."


def _command(names: Sequence[str], artifacts: Path, out: Path | None) -> str:
    written = [] if out is None else ["--out", str(out)]
    return shlex.join(["python", "-m", "harness", "selftest", *names, "--ship-artifacts", str(artifacts), *written])
