"""Runs parts, prints every figure as it becomes known, and judges them all."""

from __future__ import annotations

import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.environment import describe, usable_cores
from harness.errors import HarnessError
from harness.progress import Progress
from harness.selftest.part import Figure, Given, Part

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """One row of the table."""

    part: str
    figure: Figure
    seconds: float
    """Since the part began."""


def selftest(parts: Sequence[Part], names: Sequence[str], artifacts: Path, say: Say, out: Path | None = None) -> int:
    """Run the named parts, or all; 0 if every figure holds, 1 if one does not. HarnessError for an unknown name."""
    chosen = _chosen(parts, names)
    say(f"{'part':<16}{'figure':<66}{'found':<40}note")
    found: list[Found] = []
    for part in chosen:
        for row in _run(part, artifacts):
            found.append(row)
            say(_line(row))
    appendices = [part.appendix() for part in chosen if part.appendix is not None]
    text = "\n\n".join((_report(found, _command(names, artifacts, out)), *appendices))
    say("")
    say(text)
    if out is not None:
        out.write_text(text + "\n")
    return 0 if all(row.figure.passed for row in found) else 1


def listing(parts: Sequence[Part]) -> str:
    """Every part and what it claims."""
    width = max(len(part.name) for part in parts)
    return "\n".join(f"{part.name:<{width}}  {part.claim}" for part in parts)


def _chosen(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    known = {part.name: part for part in parts}
    if unknown := [name for name in names if name not in known]:
        raise HarnessError(f"no part {', '.join(unknown)}; there are:\n{listing(parts)}")
    return [known[name] for name in names] if names else list(parts)


def _run(part: Part, artifacts: Path) -> Iterator[Found]:
    """The part's figures; an error of its own, or a missing control, is a figure that does not hold."""
    began = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="shipbench-selftest-") as scratch:
        given = Given(artifacts=artifacts.resolve(), scratch=Path(scratch), progress=Progress())
        for figure in _guarded(part, given):
            figures.append(figure)
            yield Found(part.name, figure, time.monotonic() - began)
    for what, there in (("figure", False), ("positive control", True)):
        if not any(figure.control == there for figure in figures):
            missing = Figure(label=f"has a {what}", k=0, n=1, at_least=1, control=there)
            yield Found(part.name, missing, time.monotonic() - began)


def _guarded(part: Part, given: Given) -> Iterator[Figure]:
    try:
        yield from part.run(given)
    except Exception as error:  # one part's mishap must not keep the others from being heard
        told = traceback.format_exc() if not isinstance(error, HarnessError) else str(error)
        yield Figure(label="runs to its end", k=0, n=1, at_least=1, note=f"{type(error).__name__}: {told.strip()}")


def _line(row: Found) -> str:
    label = ("control: " if row.figure.control else "") + row.figure.label
    return f"{row.part:<16}{label:<66}{row.figure!s:<40}{row.seconds:.0f} s  {row.figure.note}"


def _command(names: Sequence[str], artifacts: Path, out: Path | None) -> str:
    written = [] if out is None else ["--out", str(out)]
    return shlex.join(["python", "-m", "harness", "selftest", *names, "--ship-artifacts", str(artifacts), *written])


def _report(found: Sequence[Found], command: str) -> str:
    from tabulate import tabulate

    rows = [
        (
            row.part,
            row.figure.label,
            "control" if row.figure.control else "figure",
            f"{row.figure.k} of {row.figure.n}",
            row.figure.interval,
            row.figure.limit,
            row.figure.verdict,
            row.figure.note.replace("\n", " ").replace("|", "\\|"),
        )
        for row in found
    ]
    headers = ("part", "what", "kind", "k of N", "95 % interval", "limit", "verdict", "note")
    table: str = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    took = {row.part: row.seconds for row in found}
    failed = sum(not row.figure.passed for row in found)
    return "\n\n".join(
        (
            table,
            f"{len(found) - failed} of {len(found)} hold; "
            + ", ".join(f"{name} {s:.0f} s" for name, s in took.items()),
            _machine(),
            f"`{command}`",
        )
    )


def _machine() -> str:
    here = describe("local", usable_cores(), Path(__file__).parent)
    versions = ", ".join(f"{name} {version}" for name, version in here.packages.items())
    commit = f"commit {here.commit[:12]}{' with changes' if here.dirty else ''}" if here.commit else "no commit"
    load = "unknown" if here.load_before is None else f"{here.load_before:g}"
    return (
        f"{here.cpu}, {here.cores} usable cores, {here.memory_gib:g} GiB, accelerator {here.accelerator or 'none'}, "
        f"{here.system}, load {load}; Python {here.python}, {versions}; {commit}"
    )
