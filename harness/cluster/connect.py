"""Connect to a Ray cluster, choose the nodes that may measure, and refuse those whose environment is another."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cluster import node
from harness.cluster.driver import Cluster, Nodes
from harness.cluster.streams import RESOURCE, RemoteStreams, Streams, first_sentence
from harness.contracts.declarations import unknown
from harness.errors import HarnessError
from harness.results.schema import Result
from harness.util.identity import PACKAGE
from harness.util.machine import LOCAL, Environment

if TYPE_CHECKING:
    import pandas as pd

OURS = ("python", "packages")
"""Fields in which a node must be as the driver is."""
LEFT_HERE = ["/results/*/", "/.artifacts", ".git", ".venv", "venv", ".tox", "__pycache__", "*_cache"]
"""Parts of the folder of suites that do not travel, as patterns of a `.gitignore`; Ray applies them to the harness too.
"""
CONNECT_S = 5.0
"""Time in which an address must answer."""
CLIENT = "ray://"
"""Beginning of the address of a cluster for a machine outside of it."""
ADDRESSES = (
    "expected auto on a node of a running cluster, its HOST:PORT, ray://HOST:10001 from another machine, or local; a "
    "cluster with a token needs RAY_AUTH_MODE=token here, too"
)
LABEL = "machine"
"""Label of the nodes of one kind: `--ship-machine` with its value takes these nodes alone."""
OPTION, FLAG = "--ship-machine", f"--labels={LABEL}="
OFFER = f"""ray start --address=… --resources='{{"{RESOURCE}": 1}}'"""


def connect(
    address: str,
    root: Path,
    options: Sequence[str],
    machines: Sequence[Environment],
    alone: bool,
    keep: Callable[[Result, pd.DataFrame | None, str], None],
    say: Callable[[str], None],
) -> list[Nodes]:
    """Connect to the cluster at `address`, or start one of this machine alone for "local"; return each machine's nodes.

    `machines` is this environment under the name of each; one `alone` may be all nodes, if they have no labels. The
    suites under `root` and this very harness travel to every node. HarnessError where no node offers itself for a
    machine, or one has another environment.
    """
    import ray

    _check_address(address)
    os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")  # LEFT_HERE has them; Ray would say so
    with _explained(address):
        ray.init(
            address=address,
            resources={RESOURCE: 1} if address == "local" else None,
            runtime_env={"working_dir": str(root), "py_modules": [str(PACKAGE)], "excludes": LEFT_HERE},
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=False,
        )
        alive = [entry for entry in ray.nodes() if entry["Alive"]]
        chosen = [_choose(address, alive, here.machine, alone) for here in machines]
        nodes = [_described(entries, say) for entries, _ in chosen]
    cluster = Cluster(tuple(options), RemoteStreams() if address.startswith(CLIENT) else Streams())
    several = []
    for here, (_, labels), (named, gpus) in zip(machines, chosen, nodes, strict=True):
        if not named:
            raise HarnessError(f"--ship-ray {address}: no node of {here.machine} is left; start new ones with {OFFER}")
        _check_alike([("this machine", here), *named], OURS, "install the same there")
        advice = f"give nodes of one kind a label of their own ({FLAG}NAME), and name it with {OPTION}"
        _check_alike(named, node.SAME, advice)
        several.append(Nodes(cluster, here, named[0][1], keep, say, gpus, labels))
    return several


def _choose(
    address: str, alive: Sequence[dict[str, Any]], machine: str, alone: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the nodes that may measure for `machine`, and the label that they share; HarnessError if there is none.

    One machine `alone` may be all nodes, if they have no labels.
    """
    offered = [entry for entry in alive if entry["Resources"].get(RESOURCE)]
    if not offered:
        raise HarnessError(
            f"--ship-ray {address}: none of {len(alive)} nodes offers itself; start each that may measure with {OFFER}"
        )
    labelled = {name for entry in offered if (name := entry["Labels"].get(LABEL))}
    if machine in labelled:
        return [entry for entry in offered if entry["Labels"].get(LABEL) == machine], {LABEL: machine}
    if not labelled and not alone:
        raise HarnessError(f"{OPTION}: names several, and no node has a label; start each with {FLAG}NAME")
    if labelled and (machine != LOCAL or not alone):
        raise HarnessError(f"{OPTION}: {unknown('label of nodes', machine, sorted(labelled))}")
    return offered, {}


def _check_address(address: str) -> None:
    """Raise HarnessError where nothing answers; Ray itself would try for minutes, and then end the process."""
    host, colon, port = address.removeprefix(CLIENT).rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise HarnessError(f"--ship-ray {address}: nothing answers there: {error}; {ADDRESSES}") from error


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn an error of connecting into a HarnessError."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise HarnessError(f"--ship-ray {address}: cannot connect: {first_sentence(error)}; {ADDRESSES}") from error


def _described(
    entries: Sequence[dict[str, Any]], say: Callable[[str], None]
) -> tuple[list[tuple[str, Environment]], bool]:
    """Return name and environment of each node, but for those that die meanwhile; and whether one has a GPU."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    tasks = [
        ray.remote(node.environment).options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=entry["NodeID"], soft=False)
        )
        for entry in entries
    ]
    died = ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError, ray.exceptions.WorkerCrashedError
    described, gpus = [], False
    for entry, running in zip(entries, [task.remote() for task in tasks], strict=True):
        name = entry["NodeManagerHostname"]
        try:
            described.append((name, ray.get(running)))
            gpus |= bool(entry["Resources"].get("GPU"))
        except died as error:
            say(f"node {name} is left out: {first_sentence(error)}")
    return described, gpus


def _check_alike(nodes: Sequence[tuple[str, Environment]], fields: Sequence[str], advice: str) -> None:
    """Raise HarnessError that names every field in which a node differs from the first."""
    (first, expected), *others = nodes
    for name, environment in others:
        if unequal := node.differences(expected, environment, fields):
            raise HarnessError(f"--ship-ray: node {name} differs from {first}: {'; '.join(unequal)}; {advice}")
