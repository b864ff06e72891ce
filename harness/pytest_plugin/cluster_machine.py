"""The nodes of a cluster that have one machine's name, in the place of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, name_some
from harness.pytest_plugin import options
from harness.pytest_plugin.context import Context
from harness.pytest_plugin.machine import Machine
from harness.pytest_plugin.selection import Selected, place_of
from harness.spec import Case

if TYPE_CHECKING:
    import pandas as pd

    from harness.cluster.driver import Nodes
    from harness.pipeline.finals import Lineup
    from harness.results.schema import Finals, Result
    from harness.util.machine import Environment


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
        asked = lineup.task, lineup.device, {case.model.name for case, _ in lineup.entrants}
        for held in self.nodes.finals:
            if (held.task, held.device, {entry.model for entry in held.entries}) == asked:
                return replace(held, fingerprint=fingerprint)
        raise HarnessError(
            f"{name_some(sorted(asked[2]))} were not measured by one session on one node; run the task again without "
            "--ship-resume"
        )

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
