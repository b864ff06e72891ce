"""This machine: what it measures in a session, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pytest_plugin.context import Context
from harness.pytest_plugin.selection import Place, Selected, name_of, place_of
from harness.spec import Case
from harness.util.console import format_seconds

if TYPE_CHECKING:
    import pandas as pd

    from harness.pipeline.finals import Lineup
    from harness.pipeline.state import Comparison, Options
    from harness.regression.baseline import Baseline
    from harness.results.schema import Finals, Result
    from harness.util.machine import Environment


@dataclass(eq=False)
class Machine:
    """The comparisons of this machine, and what came of them."""

    name: str
    ship: Context
    selected: dict[str, Selected]
    """Name → case, of those that can run here."""
    results: dict[str, Result] = field(default_factory=dict)
    finals: list[Finals] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences for the summary: finals that failed, comparisons taken from disk, why others were measured again."""
    baseline: Baseline | None = None
    """Stored runs that the results are compared with."""

    @cached_property
    def places(self) -> dict[Place, list[Selected]]:
        """The comparisons and their cases."""
        places: dict[Place, list[Selected]] = {}
        for one in self.selected.values():
            places.setdefault(place_of(one.case), []).append(one)
        return places

    @cached_property
    def settings(self) -> Options:
        """The pipeline's options."""
        return self.ship.pipeline_options(self.name)

    def environment(self, folder: Path | None = None) -> Environment:
        """Return this environment."""
        return self.ship.environment(self.name, folder)

    def begin(self) -> None:
        """Start what need not wait for a case's test: nothing here."""

    def close(self) -> None:
        """Release what is held: nothing here."""

    def skip_reason(self, case: Case) -> str | None:
        """Return why a case cannot run after all; None here, where that was known before."""

    def measure(self, case: Case) -> None:
        """Measure the selected cases that share the case's rounds, or resume them."""
        from harness.pipeline.compare import compare

        place, ship = place_of(case), self.ship
        if str(case) in self.results or self.resume(place, comparison := self.comparison(place)):
            return
        with ship.progress.bar(ship.numbered(self.name, place)) as stage:
            compare(comparison, self.settings, ship.progress, self.keep)
        ship.seconds[name_of(place)] = stage.seconds
        ship.head(self.name, place, format_seconds(stage.seconds))

    def measure_finals(self, lineup: Lineup, fingerprint: str) -> Finals:
        """Measure the entrants here."""
        from harness.pipeline import finals

        name = _finals_name(lineup)
        with self.ship.progress.bar(name) as stage:
            held = finals.hold_finals(lineup, self.settings, self.ship.progress, fingerprint)
        self.ship.seconds[name] = stage.seconds
        return held

    def comparison(self, place: Place) -> Comparison:
        """Return the comparison in one place."""
        from harness.pipeline.state import Comparison
        from harness.pytest_plugin import resume

        several = self.places[place]
        cases, folder = tuple(one.case for one in several), several[0].folder
        return Comparison(cases, folder, resume.comparison_fingerprint(cases, folder, self.settings))

    def resume(self, place: Place, comparison: Comparison) -> bool:
        """Take the comparison's results from an earlier session, if asked to; return whether all are still valid."""
        from harness.pytest_plugin import resume

        if not self.ship.options.ship_resume:
            return False
        name, folder = self.ship.name(self.name, place), self.ship.results_folder / self.name
        here = self.environment(comparison.folder)
        try:
            results = resume.valid_results(comparison.cases, folder, comparison.fingerprint, here)
        except HarnessError as reason:
            self.notes.append(f"{name}: measured again: {reason}")
            return False
        self.results |= {result.name: result for result in results}
        self._note_resumed(name, results[0].created)
        self.ship.head(self.name, place, "not measured again")
        return True

    def _note_resumed(self, name: str, created: str) -> None:
        self.notes.append(f"{name}: taken from {created}, not measured again")
        self.ship.progress.say(self.notes[-1])

    def keep(self, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
        """Write a result, its answers, and the log of a failure."""
        from harness.results import store

        if self.ship.shard:
            result = replace(result, shards=self.ship.shard.every)
        self.results[result.name] = result
        store.keep(self.ship.results_folder, result, answers, trace)

    def hold_finals(self) -> None:
        """Have the models of each task measured against each other, where several have a recommended backend."""
        from harness.pipeline import finals

        cases = {name: (one.case, one.folder) for name, one in self.selected.items()}
        for lineup in finals.lineups(self.results.values(), cases):
            try:
                self.finals.append(self._held(lineup))
            except HarnessError as error:
                self.notes.append(f"no {_finals_name(lineup)}: {error}")

    def _held(self, lineup: Lineup) -> Finals:
        """Return the finals, from an earlier session if they are valid."""
        from harness.pytest_plugin import resume
        from harness.results import store

        ship, folder = self.ship, self.ship.results_folder / self.name
        fingerprint = resume.finals_fingerprint(self.results.values(), lineup.task, lineup.device)
        stored = resume.valid_finals(folder, lineup.task, lineup.device, fingerprint)
        if ship.options.ship_resume and stored is not None:
            self._note_resumed(_finals_name(lineup), stored.created)
            return stored
        held = self.measure_finals(lineup, fingerprint)
        store.save_finals(ship.results_folder, held)
        return held

    def take_baseline(self, stored: Baseline | None) -> None:
        """Compare the results with stored runs; HarnessError if none is of this environment."""
        if stored is not None:
            self.baseline = stored.of(self.name) if len(self.ship.machine_names) > 1 else stored
            self.baseline.check(self.selected, self.environment())

    def regressions(self, result: Result) -> list[str]:
        """Return the result's proven regressions against the baseline, one sentence each."""
        return self.baseline.regressions(result) if self.baseline else []

    def open_cases(self, brief: bool = False) -> dict[str, bool]:
        """Return a sentence for each undecided case, with its remedies → whether another run may decide it.

        A brief sentence has the reasons only where the remedies tell nothing.
        """
        from harness.verdicts.remedy import NO_REPEAT, remedies
        from harness.verdicts.verdict import verdict

        if not self.results:
            return {"nothing was measured: every case was skipped": False}
        sentences = {}
        for result in self.results.values():
            judged = verdict(result)
            if judged is not None and judged.word in ("undecided", "invalid"):
                ways = remedies(result)
                reasons = () if brief and ways[0].text != NO_REPEAT else judged.reasons
                sentence = f"{result.name} is {judged.word}: {'; '.join((*reasons, *(w.text for w in ways)))}"
                sentences[sentence] = all(way.by_repeating for way in ways)
        return sentences | (self.baseline.undecided(self.results) if self.baseline else {})


def _finals_name(lineup: Lineup) -> str:
    return f"finals of {lineup.task} on {lineup.device}"
