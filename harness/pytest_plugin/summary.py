"""The summary at the end of a session: verdicts, what is red or open and why, and the reports that were written."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from harness.errors import HarnessError
from harness.pytest_plugin.machine import Machine
from harness.pytest_plugin.session import ShipSession
from harness.util.text import count


def status_reason(status: int, cases: Mapping[str, bool]) -> str:
    """Say why a run whose tests passed ends with NOT_DECIDED or NOT_DECIDABLE; `cases` are the session's open ones."""
    names = {name.partition(": ")[0]: repeatable for name, repeatable in cases.items()}
    again = [name for name, repeatable in names.items() if repeatable]
    never = [name for name, repeatable in names.items() if not repeatable]
    if not never:
        return f"exit status {status}: {'; '.join(again)}; running again may decide"
    also = f"; running again may only decide that {'; '.join(again)}" if again else ""
    return f"exit status {status}: {'; '.join(never)}; running again will not help: see the warnings above{also}"


def summary(ship: ShipSession, verbosity: int = 0) -> Iterator[str]:
    """Write every report, and yield the text for the end of the session; its last line is the run in one.

    With -v it has all tables, reasons and notes; with -q only the verdicts.
    """
    from harness.report import integrations
    from harness.report.matrix import matrices
    from harness.verdicts.comparability import comparisons
    from harness.verdicts.machines import candidates

    regressions = {r.stored_name: m.regressions(r) for m in ship.machines.values() for r in m.results.values()}
    for machine in ship.machines.values():
        if len(ship.machine_names) > 1:
            yield f"machine {machine.name}{'' if machine.results else ': nothing was measured'}"
        if machine.results:
            yield from _machine_summary(ship, machine, regressions, verbosity)
    groups = list(comparisons(ship.results))
    prices = yield from _prices(ship)
    if prices or len(ship.machine_names) > 1:
        several = (one for group in groups for one in candidates(group))
        yield from (f"{matrix.title}: {' '.join(matrix.choices)}" for matrix in matrices(several, prices))
    files = _write_reports(ship, regressions, prices)
    yield from (line for line in files if verbosity >= 0 or not line.startswith("wrote "))
    yield integrations.status_line(groups, regressions)


def _machine_summary(
    ship: ShipSession, machine: Machine, regressions: dict[str, list[str]], verbosity: int
) -> Iterator[str]:
    """Yield the tables of one machine, what is red or open there, and notes."""
    from harness.report import documents, integrations, sentences
    from harness.verdicts.comparability import comparisons
    from harness.verdicts.labels import label_notes

    results = machine.results.values()
    groups = list(comparisons(results))
    notes = sorted({f"{result.task}/{result.model}: {note}" for result in results for note in result.notes})
    if verbosity > 0:
        yield documents.terminal_text(results, machine.finals)
    else:
        yield documents.summary_table(groups, machine.finals)
    yield ""
    if verbosity == 0:
        yield from filter(None, map(sentences.obstacle, groups))
        yield from (f"{sentences.place(g)}: {text}" for g in groups for text in sentences.spread_of_seeds(g))
        # Texts about the rows are the same for every backend.
        yield from dict.fromkeys(f"{sentences.place(g)}: {text}" for g in groups for r in g for text in label_notes(r))
        # The failed test shows all problems.
        yield from (text.partition("; ")[0] for text in integrations.failures(groups, regressions))
        entries = [(held.task, entry) for held in machine.finals for entry in held.entries if entry.error]
        yield from (f"finals of {task}: {e.model} on {e.backend} failed: {e.error}" for task, e in entries)
    if verbosity >= 0 or ship.status:
        yield from [*machine.notes, *_warnings(machine.open_cases(brief=verbosity <= 0))]
        if machine.baseline is not None:
            yield from machine.baseline.notes(machine.results)
    if verbosity > 0:
        yield from notes
    elif notes and not verbosity:
        page = "" if ship.options.ship_no_page else ", or see report.html"
        yield f"{count(len(notes), 'note')} on rows, builds and rounds: run with -v{page}"


def _prices(ship: ShipSession) -> Generator[str, None, dict[str, float]]:
    """Return the prices in the folder of results; yield what is wrong with them."""
    from harness.report.files import load_prices
    from harness.report.matrix import PRICES

    try:
        return load_prices(ship.results_folder, ship.results) if (ship.results_folder / PRICES).exists() else {}
    except HarnessError as error:
        yield f"no costs: {error}"
        return {}


def _warnings(cases: Iterable[str]) -> Iterator[str]:
    """Yield a line for each remedy, with the cases that lack it; sentences read `name is undecided: remedy`."""
    ways: dict[str, list[str]] = {}
    for sentence in cases:
        name, colon, way = sentence.partition(": ")
        ways.setdefault(f"{colon}{way}", []).append(name)
    yield from (f"warning: {', '.join(names)}{way}" for way, names in ways.items())


def _write_reports(ship: ShipSession, regressions: dict[str, list[str]], prices: dict[str, float]) -> Iterator[str]:
    """Write tables and pages, GitHub's job summary and the tracker's runs; yield a line about each."""
    from harness.report import integrations

    results, options = ship.results, ship.options
    yield from _write_files(ship)
    if job := os.environ.get("GITHUB_STEP_SUMMARY", ""):
        link = integrations.run_link(os.environ)
        text = integrations.github_summary(results, ship.finals, link, regressions, prices)
        try:
            with Path(job).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            yield f"nothing written to GITHUB_STEP_SUMMARY ({job}): {error}"
    if tracker := options.ship_track:
        runs = integrations.log_tables(tracker, results, ship.artifacts_folder)
        yield from _attempt(f"run of {tracker}", lambda: (f"logged {run} to {tracker}" for run in runs))


def _write_files(ship: ShipSession) -> Iterator[str]:
    """Write the tables and the page of each machine; yield a line about each folder."""
    from harness.report import files

    folder = ship.results_folder
    names = [machine.name for machine in ship.machines.values() if machine.results]
    written: list[Path] = []

    def write_page(name: str) -> None:
        written.append(files.write_page(folder, folder / name / "report.html", name))

    yield from _attempt("tables", lambda: written.extend(files.write_tables(folder, *names)))
    for name in names if not ship.options.ship_no_page else ():
        yield from _attempt("page", partial(write_page, name))
    for parent in dict.fromkeys(path.parent for path in written):
        together = ", ".join(path.name for path in written if path.parent == parent)
        yield f"wrote {together} to {min(os.path.relpath(parent), str(parent), key=len)}"


def _attempt(report: str, write: Callable[[], Iterable[str] | None]) -> Iterator[str]:
    try:
        yield from write() or ()
    except HarnessError as error:
        yield f"no {report}: {error}"
