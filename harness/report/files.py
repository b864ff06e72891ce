"""`comparison.csv` and `comparison.md`: one pair for every machine's folder, one pair for all committed machines.

And `report.html`, which git ignores: whoever has the results can make it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.report.tables import document, finals_section, section
from harness.results.schema import Finals, Result
from harness.results.store import load_by_model, load_finals
from harness.util import text
from harness.util.files import write_atomically
from harness.verdicts.comparability import comparisons
from harness.verdicts.speed import foresee_all
from harness.verdicts.table import Line, case_lines, table


class Stale(HarnessError):
    """Tables that are not what the results give."""


LOCAL = "local"
"""The machine that git ignores; it stands in its own tables only, so that committed ones do not depend on it."""


def write(folder: Path, machine: str | None = None) -> list[Path]:
    """Rebuild every table, or those that `machine` stands in, from the JSON; returns their paths."""
    tables = dict(_tables(folder, machine))
    for path, content in tables.items():
        write_atomically(path, content)
    if machine is None:
        for path in _existing(folder) - tables.keys():
            path.unlink()
    return list(tables)


def read(folder: Path, machine: str | None = None) -> tuple[list[Result], list[Finals]]:
    """Results and finals of a machine, or of all that are committed; HarnessError if there are none."""
    machines = _machines(folder, machine)
    wanted = [path for path in machines if path.name == machine or (machine is None and path.name != LOCAL)]
    results = [one for path in wanted for group in _stored(path) for one in group]
    if not results:
        known = ", ".join(path.name for path in machines if any(_stored(path)))
        raise HarnessError(
            f"{folder}: holds no results of {machine or 'a named machine'}; "
            + (f"it has those of {known}: name it with --machine" if known else "run pytest suites first")
        )
    return results, [one for path in wanted for one in load_finals(path)]


def write_page(folder: Path, path: Path, machine: str | None = None) -> Path:
    """The page of a machine's results, or of all committed ones, written to `path`."""
    from harness.report.page import page

    write_atomically(path, page(*read(folder, machine)).encode())
    return path


def check(folder: Path) -> None:
    """Stale, naming the files, if a table is not what the JSON gives."""
    tables = dict(_tables(folder))
    stale = [path for path, content in tables.items() if not path.exists() or path.read_bytes() != content]
    stale += sorted(_existing(folder) - tables.keys())
    if stale:
        raise Stale(f"{', '.join(map(str, stale))}: not what the results give; run python -m harness report and commit")


def _existing(folder: Path) -> set[Path]:
    return {
        path for name in ("comparison.csv", "comparison.md") for path in (*folder.glob(name), *folder.glob(f"*/{name}"))
    }


def _machines(folder: Path, machine: str | None = None) -> list[Path]:
    """The folders that tables of `machine` are made of."""
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such results folder; run pytest suites first, or name it with --ship-results")
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and (machine != LOCAL or path.name == LOCAL)]


def _stored(machine: Path) -> Iterator[list[Result]]:
    """Comparisons of a machine's folder, a few hundred results in memory at a time."""
    for results in load_by_model(machine):
        for result in results:
            if result.environment.machine != machine.name:
                raise HarnessError(
                    f"{machine}: {result.name} was measured on {result.environment.machine}; move it there"
                )
        foresee_all(results)
        yield from comparisons(results)


def _tables(folder: Path, machine: str | None = None) -> Iterator[tuple[Path, bytes]]:
    lines: list[Line] = []
    parts: list[str] = []
    for path in _machines(folder, machine):
        own: list[Line] = []
        told: list[str] = []
        for group in _stored(path):
            own += case_lines(group)
            told.append(section(group))
        if not own:
            continue
        told += map(finals_section, load_finals(path))
        if machine in (None, path.name):
            yield from _pair(path, own, told)
        if path.name != LOCAL:
            lines, parts = lines + own, parts + told
    if lines:
        yield from _pair(folder, lines, parts)


def _pair(folder: Path, lines: list[Line], parts: list[str]) -> Iterator[tuple[Path, bytes]]:
    yield folder / "comparison.csv", _csv(table(lines))
    yield folder / "comparison.md", document(parts).encode()


def _csv(lines: pd.DataFrame) -> bytes:
    texts = lines.select_dtypes(exclude="number").map(text.spreadsheet_safe)
    return lines.assign(**texts).to_csv(index=False, float_format="%.6g").encode()
