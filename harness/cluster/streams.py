"""The sessions of all nodes, and what they send back, in the order in which it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.cluster import node
from harness.cluster.node import Ended, Measured, Work
from harness.errors import HarnessError

RESOURCE = "shipbench"
"""A node offers one of it, and one session takes it: nothing else of ours runs there meanwhile."""
HEAD = {"node:__internal_head__": 0.001}
"""A bit of the resource that Ray gives to the head of every cluster."""
NODE_ID = "ray.io/node-id"
"""Label that Ray gives to every node."""
LOOK_S = 30.0
"""Silence after which somebody looks whether nodes are left."""


Arrival = tuple[int, Measured | Ended | str]
"""Number of a session and what it sent back; a text says why it was lost."""


class Streams:
    """The sessions that run or wait for a node, each by the number that it was started with."""

    def __init__(self) -> None:
        self._running: dict[Any, int] = {}

    def start(self, number: int, work: Work, gpu: bool, labels: Mapping[str, str], avoided: Sequence[str] = ()) -> None:
        """Queue a session for the next free node that has the labels, and is none of those to be avoided if it can."""
        import ray

        selector = dict(labels)
        if avoided and self.nodes(labels) - set(avoided):
            selector[NODE_ID] = f"!in({','.join(avoided)})"
        task = ray.remote(node.run).options(
            num_returns="streaming",
            num_cpus=0,
            num_gpus=int(gpu),
            resources={RESOURCE: 1},
            label_selector=selector,
            max_retries=0,
        )
        self._running[task.remote(work)] = number

    def next(self) -> Arrival | None:
        """Wait for what comes next from any node; None if nothing came for a while."""
        import ray

        ready, _ = ray.wait([*self._running], num_returns=1, timeout=LOOK_S)
        if not ready:
            return None
        number = self._running[ready[0]]
        try:
            piece: Measured | Ended = ray.get(next(ready[0]))
        except ray.exceptions.RayError as error:
            del self._running[ready[0]]
            return number, f"its node failed: {first_sentence(error)}"
        if isinstance(piece, Ended):
            del self._running[ready[0]]
        return number, piece

    def nodes(self, labels: Mapping[str, str]) -> set[str]:
        """Return the ids of the nodes that are alive, offer themselves and have the labels."""
        import ray

        return {
            entry["NodeID"]
            for entry in ray.nodes()
            if entry["Alive"] and entry["Resources"].get(RESOURCE) and labels.items() <= entry["Labels"].items()
        }

    def forget(self, number: int) -> None:
        """Give up a session that waits for a node."""
        import ray

        (stream,) = [stream for stream, own in self._running.items() if own == number]
        del self._running[stream]
        ray.cancel(stream)


class RemoteStreams(Streams):
    """The same for Ray's client, which does not stream: an actor on the head of the cluster holds the streams."""

    def __init__(self) -> None:
        import ray

        self._there = ray.remote(Streams).options(num_cpus=0, resources=HEAD).remote()

    def start(self, *arguments: Any) -> None:
        """Queue a session."""
        self._ask("start", *arguments)

    def next(self) -> Arrival | None:
        """Wait for what comes next from any node."""
        return self._ask("next")  # type: ignore[no-any-return]

    def nodes(self, labels: Mapping[str, str]) -> set[str]:
        """Return the ids of the nodes that can measure."""
        return self._ask("nodes", labels)  # type: ignore[no-any-return]

    def forget(self, number: int) -> None:
        """Give up a session."""
        self._ask("forget", number)

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the actor; HarnessError if the cluster is lost."""
        import ray

        try:
            return ray.get(getattr(self._there, method).remote(*arguments))
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise HarnessError(f"the cluster is lost: {first_sentence(error)}; --ship-resume goes on") from error


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error, or of the one that it brought from a node, without its last stop."""
    first = getattr(error, "cause", None) or error
    return f"{type(first).__name__}: {first}".splitlines()[0].partition(". ")[0].removesuffix(".")
