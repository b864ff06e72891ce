"""The list of parts, and the command that runs and judges them."""

from __future__ import annotations

import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from harness.errors import HarnessError
from harness.selftest import accuracy, cheats, exports, overhead, real, session_deaths, speed, worker_deaths
from harness.selftest.part import Figure, Part, Workspace
from harness.util.console import Progress
from harness.util.machine import describe, usable_cores

PARTS: tuple[Part, ...] = (
    cheats.device_truth,
    cheats.cheats,
    overhead.collection,
    exports.broken_exports,
    accuracy.non_inferiority,
    speed.false_alarms,
    speed.power,
    real.real_workers,
    real.unchanged_runs,
    worker_deaths.worker_deaths,
    session_deaths.session_deaths,
    overhead.overhead,
    overhead.carry_over,
)
"""In the order in which they run."""
HEADERS = ("part", "figure", "kind", "k of N", "95 % interval", "limit", "verdict", "note")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    part: str
    figure: Figure
    seconds: float
    """Since the part began."""


def selftest(
    parts: Sequence[Part], names: Sequence[str], artifacts: Path, say: Callable[[str], None], out: Path | None = None
) -> int:
    """Run the named parts, or all; return 0 if every figure holds, else 1. Raise HarnessError for an unknown name."""
    chosen = _choose(parts, names)
    say(f"{'part':<16}{'figure':<66}{'result':<40}note")
    rows: list[Row] = []
    for part in chosen:
        for row in _run(part, artifacts):
            rows.append(row)
            say(_line(row))
    appendices = [part.appendix() for part in chosen if part.appendix is not None]
    text = "\n\n".join([_table(rows), _machine(), f"`{_command(names, artifacts, out)}`", *appendices])
    say("")
    say(text)
    if out is not None:
        out.write_text(text + "\n")
    return 0 if all(row.figure.passed for row in rows) else 1


def listing(parts: Sequence[Part]) -> str:
    """Return a line for every part: its name and its claim."""
    width = max(len(part.name) for part in parts)
    return "\n".join(f"{part.name:<{width}}  {part.claim}" for part in parts)


def _choose(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    by_name = {part.name: part for part in parts}
    if unknown := [name for name in names if name not in by_name]:
        raise HarnessError(f"unknown part {', '.join(unknown)}; expected one of\n{listing(parts)}")
    return [by_name[name] for name in names] if names else list(parts)


def _run(part: Part, artifacts: Path) -> Iterator[Row]:
    """Yield the part's figures. An error, or a missing figure or control, counts as a figure that fails."""
    began = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="shipbench-selftest-") as scratch:
        workspace = Workspace(artifacts=artifacts.resolve(), scratch=Path(scratch), progress=Progress())
        for figure in _guarded(part, workspace):
            figures.append(figure)
            yield Row(part.name, figure, time.monotonic() - began)
    for kind, control in (("figure", False), ("positive control", True)):
        if not any(figure.control == control for figure in figures):
            missing = Figure(label=f"has a {kind}", k=0, n=1, at_least=1, control=control)
            yield Row(part.name, missing, time.monotonic() - began)


def _guarded(part: Part, workspace: Workspace) -> Iterator[Figure]:
    try:
        yield from part.run(workspace)
    except Exception as error:  # the other parts still have to run
        details = str(error) if isinstance(error, HarnessError) else traceback.format_exc()
        note = f"{type(error).__name__}: {details.strip()}"
        yield Figure(label="runs to its end", k=0, n=1, at_least=1, note=note)


def _line(row: Row) -> str:
    label = ("control: " if row.figure.control else "") + row.figure.label
    return f"{row.part:<16}{label:<66}{row.figure!s:<40}{row.seconds:.0f} s  {row.figure.note}"


def _table(rows: Sequence[Row]) -> str:
    table: str = tabulate(map(_cells, rows), HEADERS, tablefmt="pipe", disable_numparse=True)
    passed = sum(row.figure.passed for row in rows)
    seconds = {row.part: row.seconds for row in rows}
    durations = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
    return f"{table}\n\n{passed} of {len(rows)} hold; {durations}"


def _cells(row: Row) -> tuple[str, ...]:
    figure = row.figure
    kind = "control" if figure.control else "figure"
    note = figure.note.replace("\n", " ").replace("|", "\\|")
    share = f"{figure.k} of {figure.n}"
    return row.part, figure.label, kind, share, figure.interval, figure.limit, figure.verdict, note


def _machine() -> str:
    here = describe("local", usable_cores(), Path(__file__).parent)
    versions = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    commit = f"commit {here.commit[:12]}{' with changes' if here.dirty else ''}" if here.commit else "no commit"
    load = "unknown" if here.load_before is None else f"{here.load_before:g}"
    return (
        f"{here.cpu}, {here.cores} usable cores, {here.memory_gib:g} GiB, accelerator {here.accelerator or 'none'}, "
        f"{here.system}, load {load}; Python {here.python}, {versions}; {commit}"
    )


def _command(names: Sequence[str], artifacts: Path, out: Path | None) -> str:
    written = [] if out is None else ["--out", str(out)]
    return shlex.join(["python", "-m", "harness", "selftest", *names, "--ship-artifacts", str(artifacts), *written])
