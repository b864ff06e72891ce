"""The end of a session: finals between models, undecided cases, the tables, and the paths of the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.pytest_plugin.session import ShipSession


def open_cases(ship: ShipSession) -> list[str]:
    """Return a sentence for each selected case that is undecided, or that no round measured."""
    from harness.verdicts.verdict import verdict

    if not ship.results:
        return ["nothing was measured: every case was skipped"]
    sentences = [
        f"{result.name} is {judged.word}: {'; '.join(judged.reasons)}"
        for result in ship.results.values()
        if (judged := verdict(result)) is not None and judged.word in ("undecided", "invalid")
    ]
    return [*sentences, *(ship.baseline.undecided(ship.results) if ship.baseline else ())]


def hold_finals(ship: ShipSession) -> None:
    """Measure the models of each task against each other, where this session recommends a backend for several."""
    from harness.pipeline import finals
    from harness.pytest_plugin import resume
    from harness.results import store

    folder = ship.results_folder / ship.options.ship_machine
    for lineup in finals.lineups(ship.results.values(), ship.selected):
        name = f"finals of {lineup.task} on {lineup.device}"
        fingerprint = resume.finals_fingerprint(ship.results.values(), lineup.task, lineup.device)
        resumes = ship.options.ship_resume
        stored = resume.valid_finals(folder, lineup.task, lineup.device, fingerprint) if resumes else None
        if stored is not None:
            ship.note_resumed(name, stored.created)
            ship.finals.append(stored)
            continue
        try:
            held = finals.hold_finals(lineup, ship.pipeline_options(), ship.progress, fingerprint)
            store.save_finals(ship.results_folder, held)
        except HarnessError as error:
            ship.problems.append(f"no {name}: {error}")
        else:
            ship.finals.append(held)


def summary(ship: ShipSession) -> Iterator[str]:
    """Write the tables, and yield the text for the end of the session: tables, notes, and paths."""
    from harness.report import files, tables

    yield tables.terminal_text(ship.results.values(), ship.finals)
    yield from ship.problems
    yield from ship.resumed
    yield from (f"warning: {sentence}" for sentence in open_cases(ship))
    if ship.baseline is not None:
        yield from ship.baseline.notes(ship.results)
    yield from sorted({f"{r.task}/{r.model}: {note}" for r in ship.results.values() for note in r.notes})
    try:
        paths = files.write_tables(ship.results_folder, ship.options.ship_machine)
    except HarnessError as error:
        yield f"no tables written: {error}"
    else:
        yield from (f"wrote {path}" for path in paths)
    yield from _published(ship)
    if ship.options.ship_track:
        from harness.report.integrations import log_tables

        try:
            for run in log_tables(ship.options.ship_track, ship.results.values(), ship.artifacts_folder):
                yield f"logged {run} to {ship.options.ship_track}"
        except HarnessError as error:
            yield str(error)


def _published(ship: ShipSession) -> Iterator[str]:
    """Write the page and GitHub's job summary; end with the run in one line."""
    from harness.report import files, integrations
    from harness.verdicts.comparability import comparisons

    machine = ship.options.ship_machine
    regressions = {name: ship.regressions(result) for name, result in ship.results.items()} if ship.baseline else {}
    if not ship.options.ship_no_page:
        path = ship.results_folder / machine / "report.html"
        try:
            yield f"wrote {files.write_page(ship.results_folder, path, machine)}"
        except HarnessError as error:
            yield f"no page written: {error}"
    job = os.environ.get("GITHUB_STEP_SUMMARY")
    if job:
        link = integrations.run_link(os.environ)
        text = integrations.github_summary(ship.results.values(), ship.finals, link, regressions)
        try:
            with Path(job).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            yield f"nothing written to GITHUB_STEP_SUMMARY ({job}): {error}"
    yield integrations.status_line(list(comparisons(ship.results.values())), regressions)
