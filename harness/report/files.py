"""`comparison.csv` and `comparison.md`: one pair for every machine's folder, one pair for all committed machines.

And `report.html`, which git ignores: whoever has the results can make it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.compare import tidy
from harness.errors import HarnessError
from harness.finals import Finals
from harness.report import cells
from harness.report.tables import markdown
from harness.results import load_all, load_finals, write_whole
from harness.schema import Result


class Stale(HarnessError):
    """Tables that are not what the results give."""


LOCAL = "local"
"""The machine that git ignores; it stands in its own tables only, so that committed ones do not depend on it."""


def write(folder: Path, machine: str | None = None) -> list[Path]:
    """Rebuild every table, or those that `machine` stands in, from the JSON; returns their paths."""
    tables = dict(_tables(folder, machine))
    for path, content in tables.items():
        write_whole(path, content)
    if machine is None:
        for path in _existing(folder) - tables.keys():
            path.unlink()
    return list(tables)


def read(folder: Path, machine: str | None = None) -> tuple[list[Result], list[Finals]]:
    """Results and finals of a machine, or of all that are committed; HarnessError if there are none."""
    machines = _read(folder, machine)
    names = [name for name in machines if name == machine or (machine is None and name != LOCAL)]
    results = [one for name in names for one in machines[name]]
    if not results:
        known = ", ".join(name for name, found in machines.items() if found)
        raise HarnessError(
            f"{folder}: holds no results of {machine or 'a named machine'}; "
            + (f"it has those of {known}: name it with --machine" if known else "run pytest suites first")
        )
    return results, [one for name in names for one in load_finals(folder / name)]


def write_page(folder: Path, path: Path, machine: str | None = None) -> Path:
    """The page of a machine's results, or of all committed ones, written to `path`."""
    from harness.report.page import page

    write_whole(path, page(*read(folder, machine)).encode())
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


def _read(folder: Path, machine: str | None = None) -> dict[str, list[Result]]:
    """Machine → its results; those that tables of `machine` are made of."""
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such results folder; run pytest suites first, or name it with --ship-results")
    wanted = [path for path in sorted(folder.iterdir()) if path.is_dir() and (machine != LOCAL or path.name == LOCAL)]
    machines = {path.name: list(load_all(path)) for path in wanted}
    for name, results in machines.items():
        for result in results:
            if result.environment.machine != name:
                raise HarnessError(
                    f"{folder / name}: {result.name} was measured on {result.environment.machine}; move it there"
                )
    return machines


def _tables(folder: Path, machine: str | None = None) -> Iterator[tuple[Path, bytes]]:
    machines = _read(folder, machine)
    finals = {name: list(load_finals(folder / name)) for name in machines}
    for name, results in machines.items():
        if results and machine in (None, name):
            yield from _pair(folder / name, results, finals[name])
    named = [name for name, results in machines.items() if name != LOCAL and results]
    if named and machine != LOCAL:
        yield from _pair(
            folder, [one for name in named for one in machines[name]], [one for name in named for one in finals[name]]
        )


def _csv(results: list[Result]) -> bytes:
    return tidy(results).map(cells.no_formula).to_csv(index=False, float_format="%.6g").encode()


def _pair(folder: Path, results: list[Result], finals: list[Finals]) -> Iterator[tuple[Path, bytes]]:
    yield folder / "comparison.csv", _csv(results)
    yield folder / "comparison.md", markdown(results, finals).encode()
