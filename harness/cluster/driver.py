"""The driver's books: what runs on each machine's nodes, the results that come back, nodes that fail on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from harness.cluster.node import Ended, Measured, Work
from harness.cluster.streams import Streams
from harness.errors import HarnessError
from harness.results import store
from harness.results.schema import Finals, Result
from harness.util.machine import Environment

if TYPE_CHECKING:
    import pandas as pd

ATTEMPTS = 3
"""Nodes on which a comparison is tried before it is given up."""
LINES = 8
"""Lines of a session's output in a message."""


class Comparison(NamedTuple):
    """Cases that are measured together: the test of each, and their fingerprint as the driver computes it."""

    tests: dict[str, str]
    fingerprint: str


@dataclass
class Batch:
    """Comparisons of one task and device, which share a node with the task's finals."""

    name: str
    comparisons: list[Comparison]
    gpu: bool
    attempt: int = 1
    lost: str = ""
    """The end of an earlier attempt."""
    avoided: tuple[str, ...] = ()
    """Nodes on which a session of it ended early."""

    @property
    def cases(self) -> list[str]:
        """The names of all cases."""
        return [case for comparison in self.comparisons for case in comparison.tests]


@dataclass
class Cluster:
    """A connected Ray cluster."""

    options: tuple[str, ...]
    """Options of the nodes' sessions."""
    streams: Streams = field(default_factory=Streams)
    running: dict[int, tuple[Nodes, Batch]] = field(default_factory=dict)
    """Number of a session → what it runs, and the nodes one of which runs it."""
    started: int = 0

    def start(self, nodes: Nodes, batch: Batch) -> None:
        """Queue a session for the next of the nodes that is free."""
        tests = [test for comparison in batch.comparisons for test in comparison.tests.values()]
        self.started += 1
        self.running[self.started] = nodes, batch
        self.streams.start(self.started, Work(tests, self.options, nodes.there), batch.gpu, nodes.labels, batch.avoided)

    def is_at_work(self, nodes: Nodes) -> bool:
        """Return whether a session runs on one of the nodes, or waits for one."""
        return any(busy is nodes for busy, _ in self.running.values())

    def advance(self) -> None:
        """Take what comes next from any node; give up what a lost cluster, or nodes that all died, were to measure."""
        try:
            arrival = self.streams.next()
            if arrival is None:
                self._give_up_without_nodes()
                return
        except HarnessError as error:
            lost, self.running = self.running, {}
            for nodes, batch in lost.values():
                nodes.give_up(batch, str(error))
            return
        number, piece = arrival
        nodes, batch = self.running[number]
        if isinstance(piece, Measured):
            nodes.take(batch, piece)
            return
        del self.running[number]
        if isinstance(piece, str):
            nodes.try_again(batch, piece)
        elif piece.why:
            nodes.try_again(replace(batch, avoided=(*batch.avoided, piece.node_id)), piece.why, _tail(piece))
        else:
            nodes.end(batch, piece)

    def _give_up_without_nodes(self) -> None:
        """Give up what waits for nodes none of which is left: Ray would wait for ever."""
        for number, (nodes, batch) in list(self.running.items()):
            if not self.streams.nodes(nodes.labels):
                del self.running[number]
                self.streams.forget(number)
                nodes.give_up(
                    batch, f"no node of {nodes.here.machine} is left; start one, and go on with --ship-resume"
                )

    def close(self) -> None:
        """Leave the cluster, which ends whatever still runs there for this session."""
        import ray

        ray.shutdown()


@dataclass(eq=False)
class Nodes:
    """The nodes of one machine's name, which have been checked."""

    cluster: Cluster
    here: Environment
    """The driver's environment under the machine's name: this and its commit go on record."""
    there: Environment
    """The environment of every node, but for its threads."""
    keep: Callable[[Result, pd.DataFrame | None, str], None]
    """Receives each result as soon as its whole comparison has been measured."""
    say: Callable[[str], None]
    gpus: bool = False
    """True if a node has one."""
    labels: dict[str, str] = field(default_factory=dict)
    """Label that a node must have."""
    arrived: dict[str, Measured] = field(default_factory=dict)
    """Results whose comparison is not complete."""
    kept: dict[str, str] = field(default_factory=dict)
    """Case with a result → the node that measured it."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Case that no node can run → the reason."""
    failed: dict[str, str] = field(default_factory=dict)
    """Case without a result → what happened to it."""
    finals: list[Finals] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def submit(self, batch: Batch) -> None:
        """Queue the batch for the next free node."""
        if batch.gpu and not self.gpus:
            self.skipped |= dict.fromkeys(batch.cases, f"no node of {self.here.machine} has a GPU")
        else:
            self.cluster.start(self, batch)

    def wait(self, case: str) -> None:
        """Wait until the case has a result or is skipped; HarnessError if it never will."""
        while not self._is_settled(case):
            self.cluster.advance()
        if case in self.failed:
            raise HarnessError(f"{case}: {self.failed[case]}")

    def finish(self) -> None:
        """Wait for the end of every session on these nodes: finals come last."""
        while self.cluster.is_at_work(self):
            self.cluster.advance()

    def _is_settled(self, case: str) -> bool:
        return case in self.kept or case in self.skipped or case in self.failed

    def take(self, batch: Batch, piece: Measured) -> None:
        """Keep the results of a comparison once all of them are here; a part of them could not be compared again."""
        self.arrived[store.parse(piece.result, f"result of {batch.name}").name] = piece
        for comparison in batch.comparisons:
            if comparison.tests.keys() <= self.arrived.keys():
                self._keep(batch, comparison, comparison.tests)

    def _keep(self, batch: Batch, comparison: Comparison, cases: Iterable[str]) -> None:
        import pandas as pd

        for case in cases:
            piece = self.arrived.pop(case)
            result = store.parse(piece.result, f"result of {case}")
            result = replace(
                result,
                environment=self._named(result.environment),
                fingerprint=comparison.fingerprint,
                notes=(*result.notes, *([f"measured in attempt {batch.attempt}: {batch.lost}"] if batch.lost else [])),
            )
            answers = pd.read_parquet(BytesIO(piece.answers)) if piece.answers else None
            self.keep(result, answers, (piece.log or b"").decode(errors="replace"))
            self.kept[case] = piece.node

    def end(self, batch: Batch, end: Ended) -> None:
        """Settle what is left of a batch whose session is over, and take its finals."""
        for comparison in batch.comparisons:
            here = [case for case in comparison.tests if case in self.arrived]
            self._keep(batch, comparison, here)
        tests = [(case, name) for comparison in batch.comparisons for case, name in comparison.tests.items()]
        for case, name in tests:
            reason = end.skipped.get(name.rpartition("::")[2])
            if reason is not None and case not in self.kept:
                self.skipped[case] = reason
        self.give_up(batch, f"the session there ended with status {end.status} and left no result{_tail(end)}")
        if batch.lost:  # an earlier session measured other models of the task
            return
        for content in end.finals:
            finals = store.parse_finals(content, f"finals of {batch.name}")
            self.finals.append(replace(finals, environment=self._named(finals.environment)))

    def try_again(self, batch: Batch, why: str, output: str = "") -> None:
        """Submit what a lost session had not completed, or give it up, with the end of its `output` if there is any."""
        for case in batch.cases:
            self.arrived.pop(case, None)
        left = [comparison for comparison in batch.comparisons if not all(map(self._is_settled, comparison.tests))]
        if not left:
            return
        again = replace(batch, comparisons=left, attempt=batch.attempt + 1, lost=why)
        self.notes.append(f"{batch.name}: {again.lost}")
        self.say(self.notes[-1])
        if batch.attempt < ATTEMPTS:
            self.submit(again)
        else:
            self.give_up(again, f"given up after {ATTEMPTS} attempts: {again.lost}{output}")

    def give_up(self, batch: Batch, why: str) -> None:
        """Record what happened to the cases of a batch that will have no result."""
        self.failed |= {case: why for case in batch.cases if not self._is_settled(case)}

    def _named(self, environment: Environment) -> Environment:
        """Return a node's environment under the machine's name and the commit of this session."""
        return replace(environment, machine=self.here.machine, commit=self.here.commit, dirty=self.here.dirty)


def _tail(end: Ended) -> str:
    return "".join(f"\n  | {line}" for line in end.output.strip().splitlines()[-LINES:])
