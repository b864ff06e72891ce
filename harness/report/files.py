"""Files made from results: `comparison.csv` and `.md` in each machine's folder, for all above them; the HTML page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pandas as pd

from harness.errors import HarnessError
from harness.report import matrix
from harness.report.documents import document, finals_section, section
from harness.results.schema import Finals, Result
from harness.results.store import load_by_model, load_finals
from harness.util import text
from harness.util.files import write_atomically
from harness.util.machine import LOCAL
from harness.verdicts.comparability import comparisons
from harness.verdicts.machines import Candidate, candidates
from harness.verdicts.speed import precompute_speedups
from harness.verdicts.table import Row, case_rows, to_frame


class Stale(HarnessError):
    """Tables differ from what the results give."""


def write_tables(folder: Path, *machines: str) -> list[Path]:
    """Rebuild every table, or those that contain one of `machines`, from the JSON; return their paths."""
    tables = dict(_tables(folder, machines))
    for path, content in tables.items():
        write_atomically(path, content)
    if not machines:
        for path in _existing(folder) - tables.keys():
            path.unlink()
    return list(tables)


def check_tables(folder: Path) -> None:
    """Raise Stale, naming the files, if a table differs from what the JSON gives."""
    tables = dict(_tables(folder))
    stale = [path for path, content in tables.items() if not path.exists() or path.read_bytes() != content]
    stale += sorted(_existing(folder) - tables.keys())
    if stale:
        raise Stale(f"{', '.join(map(str, stale))}: differs from the results; run shipbench report and commit")


def write_page(
    folder: Path, path: Path, machine: str | None = None, price: float | None = None, max_cost: float | None = None
) -> Path:
    """Write the page of one machine's results, or of all committed ones, to `path`."""
    from harness.report.page import page

    results, finals = load_results(folder, machine)
    prices = load_prices(folder, results, price, max_cost)
    write_atomically(path, page(results, finals, prices, max_cost).encode())
    return path


def load_results(folder: Path, machine: str | None = None) -> tuple[list[Result], list[Finals]]:
    """Load the results and finals of one machine, or of all committed ones; raise HarnessError if there are none."""
    machines = _machines(folder, machine or "")
    wanted = [path for path in machines if path.name == machine or (machine is None and path.name != LOCAL)]
    results = [result for path in wanted for group in _stored(path) for result in group]
    if not results and machine is None and folder / LOCAL in machines:  # nobody has named a machine here
        return load_results(folder, LOCAL)
    if not results:
        filled = ", ".join(path.name for path in machines if any(_stored(path)))
        raise HarnessError(
            f"{folder}: holds no results of {machine or 'a named machine'}; "
            + (f"it has those of {filled}: name it with --machine" if filled else "run a suite with pytest first")
        )
    return results, [finals for path in wanted for finals in load_finals(path)]


def load_prices(
    folder: Path, results: Iterable[Result], price: float | None = None, max_cost: float | None = None
) -> dict[str, float]:
    """Return the prices of the results' machines: those in the folder's file, or the `price` of the only machine."""
    shown = {result.environment.machine for result in results}
    if price is not None and len(shown) > 1:
        raise HarnessError(
            f"--price {price:g} is of one machine: name it with --machine, or write {folder / matrix.PRICES} with a "
            f"line for each of {', '.join(sorted(shown))}"
        )
    prices = dict.fromkeys(shown, price) if price is not None else _file_prices(folder, shown)
    if max_cost is not None and not prices:
        raise HarnessError(f"--max-cost {max_cost:g} needs --price, or {folder / matrix.PRICES}")
    return prices


def _file_prices(folder: Path, shown: Iterable[str]) -> dict[str, float]:
    return matrix.read_prices(folder, (path.name for path in _machines(folder)), set(shown) - {LOCAL})


def _existing(folder: Path) -> set[Path]:
    names = ("comparison.csv", "comparison.md")
    return {path for name in names for path in (*folder.glob(name), *folder.glob(f"*/{name}"))}


def _machines(folder: Path, *needed: str) -> list[Path]:
    """Return the machines' folders that the tables of the `needed` ones take, by default of all."""
    if not folder.is_dir():
        raise HarnessError(
            f"{folder}: no such results folder; run a suite with pytest first, or name it with --ship-results"
        )
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and (needed != (LOCAL,) or path.name == LOCAL)]


def _stored(machine: Path) -> Iterator[list[Result]]:
    """Yield the comparisons of a machine's folder, holding a few hundred results in memory at a time."""
    for results in load_by_model(machine):
        for result in results:
            if result.environment.machine != machine.name:
                raise HarnessError(
                    f"{machine}: {result.name} was measured on {result.environment.machine}; move it there"
                )
        precompute_speedups(results)
        yield from comparisons(results)


def _tables(folder: Path, names: Collection[str] = ()) -> Iterator[tuple[Path, bytes]]:
    """Yield path and content of every table that contains a machine of these names, or of all tables."""
    all_rows: list[Row] = []
    all_sections: list[str] = []
    everywhere: list[Candidate] = []
    machines = [path for path in _machines(folder, *names) if next(path.rglob("*.json"), None)]
    prices = _file_prices(folder, (path.name for path in machines))

    for path in machines:
        rows: list[Row] = []
        sections: list[str] = []
        here: list[Candidate] = []
        for group in _stored(path):
            rows += case_rows(group, prices.get(path.name))
            sections.append(section(group))
            here += candidates(group)
        if not rows:
            continue
        sections += map(finals_section, load_finals(path))
        if not names or path.name in names:
            yield from _pair(path, rows, [*matrix.sections(matrix.matrices(here, prices)), *sections])
        if path.name != LOCAL:
            all_rows += rows
            all_sections += sections
            everywhere += here
    if all_rows:
        yield from _pair(folder, all_rows, [*matrix.sections(matrix.matrices(everywhere, prices)), *all_sections])


def _pair(folder: Path, rows: list[Row], sections: list[str]) -> Iterator[tuple[Path, bytes]]:
    yield folder / "comparison.csv", _csv(to_frame(rows))
    yield folder / "comparison.md", document(sections).encode()


def _csv(table: pd.DataFrame) -> bytes:
    texts = table.select_dtypes(exclude="number").map(text.spreadsheet_safe)
    return table.assign(**texts).to_csv(index=False, float_format="%.6g").encode()
