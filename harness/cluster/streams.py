"""The sessions of all nodes, and what they send back, in the order in which it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.cluster import node
from harness.cluster.node import Ended, Measured, Work
from harness.errors import HarnessError

RESOURCE = "shipbench"
"""A node offers one of it, and one session takes it: nothing else of ours runs there meanwhile."""
HEAD = {"node:__internal_head__": 0.001}
"""A bit of the resource that Ray gives to the head of every cluster."""


class Streams:
    """The sessions that run or wait for a node, each by the number that it was started with."""

    def __init__(self) -> None:
        self._running: dict[Any, int] = {}

    def start(self, number: int, work: Work, gpu: bool, labels: Mapping[str, str]) -> None:
        """Queue a session for the next free node that has the labels."""
        import ray

        task = ray.remote(node.run).options(
            num_returns="streaming",
            num_cpus=0,
            num_gpus=int(gpu),
            resources={RESOURCE: 1},
            label_selector=dict(labels),
            max_retries=0,
        )
        self._running[task.remote(work)] = number

    def next(self) -> tuple[int, Measured | Ended | str]:
        """Wait for what comes next from any node; the text says why a session was lost."""
        import ray

        (stream, *_), _ = ray.wait([*self._running], num_returns=1)
        number = self._running[stream]
        try:
            piece: Measured | Ended = ray.get(next(stream))
        except ray.exceptions.RayError as error:
            del self._running[stream]
            return number, first_sentence(error)
        if isinstance(piece, Ended):
            del self._running[stream]
        return number, piece


class RemoteStreams(Streams):
    """The same for Ray's client, which does not stream: an actor on the head of the cluster holds the streams."""

    def __init__(self) -> None:
        import ray

        self._there = ray.remote(Streams).options(num_cpus=0, resources=HEAD).remote()

    def start(self, *arguments: Any) -> None:
        """Queue a session."""
        import ray

        ray.get(self._there.start.remote(*arguments))

    def next(self) -> tuple[int, Measured | Ended | str]:
        """Wait for what comes next from any node; HarnessError if the cluster is lost."""
        import ray

        try:
            return ray.get(self._there.next.remote())  # type: ignore[no-any-return]
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise HarnessError(f"the cluster is lost: {first_sentence(error)}; --ship-resume goes on") from error


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error, or of the one that it brought from a node, without its last stop."""
    first = getattr(error, "cause", None) or error
    return f"{type(first).__name__}: {first}".splitlines()[0].partition(". ")[0].removesuffix(".")
