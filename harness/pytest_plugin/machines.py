"""The machines of a session: this one, which measures here, or the nodes of a cluster that have one name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pytest_plugin import options
from harness.pytest_plugin.context import Context
from harness.pytest_plugin.selection import Place, Selected, name_of, place_of
from harness.spec import Case
from harness.util.console import format_seconds

if TYPE_CHECKING:
    import pandas as pd

    from harness.cluster.driver import Nodes
    from harness.pipeline.finals import Lineup
    from harness.pipeline.state import Comparison, Options
    from harness.regression.baseline import Baseline
    from harness.results.schema import Finals, Result
    from harness.util.machine import Environment


@dataclass(eq=False)
class Machine(ABC):
    """The comparisons of one machine, and what came of them."""

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

    @abstractmethod
    def environment(self, folder: Path | None = None) -> Environment:
        """Return the environment that measures; its commit is that of the suites' `folder`."""

    @abstractmethod
    def skip_reason(self, case: Case) -> str | None:
        """Return why a case cannot run after all."""

    @abstractmethod
    def measure(self, case: Case) -> None:
        """Have the case's result, by measuring its comparison unless that was done."""

    @abstractmethod
    def measure_finals(self, lineup: Lineup, fingerprint: str) -> Finals:
        """Return the finals of a task; HarnessError if they fail."""

    @abstractmethod
    def begin(self) -> None:
        """Start what need not wait for the first case's test."""

    @abstractmethod
    def close(self) -> None:
        """Release what this machine holds."""

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


@dataclass(eq=False)
class ThisMachine(Machine):
    """This machine, which measures a whole comparison when the first of its cases is run."""

    def environment(self, folder: Path | None = None) -> Environment:
        """Return this environment."""
        return self.ship.environment(self.name, folder)

    def begin(self) -> None:
        """Start nothing: a comparison is measured when the first of its cases is run."""

    def close(self) -> None:
        """Release nothing: workers end with their comparison."""

    def skip_reason(self, case: Case) -> str | None:
        """Return None: what cannot run here was known before."""

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


@dataclass(eq=False, kw_only=True)
class ClusterMachine(Machine):
    """The nodes of a cluster that have this machine's name; all comparisons are sent there at the beginning."""

    nodes: Nodes
    recorded: Mapping[str, float]
    """Case → how long it took in the committed results."""

    def environment(self, folder: Path | None = None) -> Environment:
        """Return the nodes' environment, with the threads that their sessions choose."""
        here, there = self.ship.environment(self.name, folder), self.nodes.there
        threads = self.ship.options.ship_threads or options.default_threads(there.cores)
        return replace(there, machine=self.name, threads=threads, wait_policy=here.wait_policy)

    def skip_reason(self, case: Case) -> str | None:
        """Wait until the case's comparison is over; return why its node could not run it."""
        if str(case) in self.results and str(case) not in self.nodes.kept:  # resumed
            return None
        self.nodes.wait(str(case))
        if node := self.nodes.kept.get(str(case)):
            self.ship.head(self.name, place_of(case), f"on {node}")
        return self.nodes.skipped.get(str(case))

    def measure(self, case: Case) -> None:
        """Nodes measure on their own; `skip_reason` has waited for the result."""

    def hold_finals(self) -> None:
        """Wait for the nodes' sessions, whose finals come last."""
        self.nodes.finish()
        self.notes += self.nodes.notes
        super().hold_finals()

    def measure_finals(self, lineup: Lineup, fingerprint: str) -> Finals:
        """Return the finals that a node held at the end of its session, if that had all entrants."""
        models = {case.model.name for case, _ in lineup.entrants}
        for held in self.nodes.finals:
            if (held.task, held.device, {entry.model for entry in held.entries}) == (
                lineup.task,
                lineup.device,
                models,
            ):
                return replace(held, fingerprint=fingerprint)
        raise HarnessError("its models were not measured by one session on one node")

    def close(self) -> None:
        """Leave the cluster."""
        self.nodes.cluster.close()

    def begin(self) -> None:
        """Send every comparison to the nodes, unless it is resumed; those of a task stay together for its finals.

        The batch that costs most goes first, so that at the end no node is left with a long one while others are idle.
        """
        from harness.cluster import driver
        from harness.pytest_plugin import shards

        batches: dict[tuple[str, str], driver.Batch] = {}
        for place, several in self.places.items():
            comparison = self.comparison(place)
            if self.resume(place, comparison):
                continue
            task, _, device = place
            batch = batches.setdefault((task, device), driver.Batch(f"{task} on {device}", [], device == "cuda"))
            tests = {str(one.case): one.test for one in several}
            batch.comparisons.append(driver.Comparison(tests, comparison.fingerprint))
        cases = [one.case for one in self.selected.values()]
        costs = shards.case_costs(cases, self.recorded, self.ship.options.ship_hub)
        for batch in sorted(batches.values(), key=lambda batch: -sum(map(costs.__getitem__, batch.cases))):
            self.nodes.submit(batch)


def connect(ship: Context, selected: Mapping[str, dict[str, Selected]]) -> dict[str, ClusterMachine]:
    """Connect to the cluster; return a machine for each name, with the cases that are selected for it."""
    from harness.cluster import connect as connecting
    from harness.pytest_plugin import shards

    def keep(result: Result, answers: pd.DataFrame | None, trace: str) -> None:
        machines[result.environment.machine].keep(result, answers, trace)

    words, environments = options.for_nodes(ship.arguments), [ship.environment(name) for name in selected]
    alone, say = len(ship.machine_names) == 1, ship.progress.say
    several = connecting.connect(ship.options.ship_ray, ship.root, words, environments, alone, keep, say)
    recorded = shards.recorded_seconds(ship.root / "results")
    machines = {
        name: ClusterMachine(name, ship, own, nodes=nodes, recorded=recorded)
        for (name, own), nodes in zip(selected.items(), several, strict=True)
    }
    return machines
