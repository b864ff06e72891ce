"""The end of a session: finals between models, what is still open, and the tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.pytest_plugin.session import ShipSession


def open_cases(ship: ShipSession) -> list[str]:
    """What was selected and is not decided, or was not measured at all, each in a sentence."""
    from harness.verdicts.verdict import verdict

    told = []
    for result in ship.results.values():
        found = verdict(result)
        if found is not None and found.word in ("undecided", "invalid"):
            told.append(f"{result.name} is {found.word}: {'; '.join(found.reasons)}")
    if ship.baseline is not None:
        told += ship.baseline.open(ship.results)
    return told if ship.results else ["nothing was measured: every case was skipped"]


def hold_finals(ship: ShipSession) -> None:
    """Measure the models of each task against each other, where this session recommends a backend for several."""
    from harness.pipeline import finals
    from harness.pytest_plugin import resume
    from harness.results import store

    folder = ship.results_folder / ship.options.ship_machine
    for pairing in finals.pairings(ship.results.values(), ship.selected):
        inputs = resume.inputs_of_finals(ship.results.values(), pairing.task, pairing.device)
        stored = resume.finals(folder, pairing.task, pairing.device, inputs) if ship.options.ship_resume else None
        if stored is not None:
            ship.say_taken(f"finals of {pairing.task} on {pairing.device}", stored.created)
            ship.finals.append(stored)
            continue
        try:
            found = replace(finals.hold_finals(pairing, ship.pipeline_options(), ship.progress), inputs=inputs)
            store.save_finals(ship.results_folder, found)
        except HarnessError as error:
            ship.trouble.append(f"no finals of {pairing.task} on {pairing.device}: {error}")
        else:
            ship.finals.append(found)


def summary(ship: ShipSession) -> Iterator[str]:
    """For the end of the session: tables, notes, and where the files are. Writes the tables."""
    from harness import report

    yield report.terminal(ship.results.values(), ship.finals)
    yield from ship.trouble
    yield from ship.resumed
    yield from (f"warning: {told}" for told in open_cases(ship))
    if ship.baseline is not None:
        yield from ship.baseline.notes(ship.results)
    yield from sorted({f"{r.task}/{r.model}: {note}" for r in ship.results.values() for note in r.notes})
    try:
        written = report.write(ship.results_folder, ship.options.ship_machine)
    except HarnessError as error:
        yield f"no tables written: {error}"
    else:
        yield from (f"wrote {path}" for path in written)
    yield from _published(ship)
    if ship.options.ship_track:
        from harness.report.tracking import log_tables

        try:
            for run in log_tables(ship.options.ship_track, ship.results.values(), ship.artifacts_folder):
                yield f"logged {run} to {ship.options.ship_track}"
        except HarnessError as error:
            yield str(error)


def _published(ship: ShipSession) -> Iterator[str]:
    """The page, what GitHub shows of the job, and the run in a line."""
    from harness import report
    from harness.verdicts.comparability import comparisons

    machine = ship.options.ship_machine
    worse = {name: ship.baseline.proven(result) for name, result in ship.results.items()} if ship.baseline else {}
    if not ship.options.ship_no_page:
        path = ship.results_folder / machine / "report.html"
        try:
            yield f"wrote {report.write_page(ship.results_folder, path, machine)}"
        except HarnessError as error:
            yield f"no page written: {error}"
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        text = report.short(ship.results.values(), ship.finals, report.run_link(os.environ), worse)
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            yield f"nothing written to GITHUB_STEP_SUMMARY ({summary}): {error}"
    yield report.status(list(comparisons(ship.results.values())), worse)
