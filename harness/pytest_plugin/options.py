"""The plug-in's command-line options, and their translation for the pipeline.

Every run of pytest imports this module; so the rest of the harness is imported inside the functions that need it.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import NOT_DECIDABLE, NOT_DECIDED, HarnessError

if TYPE_CHECKING:
    from harness.pipeline.state import Options
    from harness.util.remote import Remote

DEVICES = ("cpu", "cuda")
TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")
MACHINE = "ship_machine"
"""The fixture that names the machine of a test."""
LOCAL = "local"  # that of `util.machine`, which only runs with cases import
WAITS = ("sleep", "deployed")
DRIVERS = {
    *("--ship-ray", "--ship-machine", "--ship-machines", "--ship-results", "--ship-resume", "--ship-baseline"),
    *("--ship-track", "--ship-require", "--ship-no-page", "--ship-full", "--ship-backends", "--ship-device"),
}
"""Options that no node's session gets: what it runs is named test by test, and the rest is done with its results."""
CONSTRAINTS = {"max_latency_ms": "more latency", "max_memory_mb": "more memory", "max_size_mb": "a larger artifact"}


def declare(add: Callable[..., None]) -> None:
    """Declare every option with pytest's `addoption`."""
    flag = partial(add, action="store_true")
    number = partial(add, type=int, metavar="N")
    seconds = partial(add, type=float, metavar="SECONDS")
    folder = partial(add, type=Path, metavar="DIR")
    add("--ship-device", choices=[*DEVICES, "all"], default="all", help="measure on this device only (default: all)")
    flag("--ship-hub", help="also run suites whose models or rows come from the Hugging Face Hub")
    flag("--ship-full", help="also run the cases marked `full`, which pytest leaves out unless they are named")
    add("--ship-backends", metavar="A,B", help="backends to measure: names, `default` or `all` (default: default)")
    number("--ship-threads", help="threads per worker (default: the usable cores, at most 8)")
    waits = "how idle threads wait: asleep, or as each runtime's do by default, which takes a machine of one's own"
    add("--ship-wait", choices=WAITS, default=WAITS[0], help=f"{waits} (default: {WAITS[0]})")
    seconds("--ship-budget", default=60.0, help="longest time from a comparison's first to last round (default: 60)")
    number("--ship-launches", default=4, help="fewest launches of a comparison, each with fresh workers (default: 4)")
    seconds("--ship-timeout", default=300.0, help="fail a worker that does not answer in this time (default: 300)")
    named = f"store results under this name (default: {LOCAL}); with --ship-ray, measure on the nodes of each name"
    add("--ship-machine", "--ship-machines", default=LOCAL, metavar="NAME,…", help=named)
    folder("--ship-results", help="folder of results (default: results/ beside the suites)")
    stored = "folder of checkpoints and artifacts (default: .artifacts/ beside the results), or a URL such as s3://…"
    add("--ship-artifacts", type=place, metavar="DIR", help=f"{stored}, where checkpoints are shared")
    number("--ship-tail", default=0, help="time N single calls after the decision, for percentiles (p99 needs 459)")
    sizes = "rows per call of each workload, rising, in the place of those that tasks declare (default there: 1,16)"
    add("--ship-batch-sizes", metavar="1,N", help=sizes)
    for name, excess in CONSTRAINTS.items():
        option, unit = f"--ship-{name.replace('_', '-')}", name.rpartition("_")[2].upper()
        add(option, type=float, metavar=unit, help=f"recommend no backend with {excess} than this")
    folder("--ship-baseline", help="compare with the stored runs in this folder; a proven regression fails its test")
    required = (
        f"if a verdict is undecided or invalid and no gate is broken, exit with {NOT_DECIDED} where running again may "
        f"decide, with {NOT_DECIDABLE} where it cannot"
    )
    add("--ship-require", choices=["decided"], help=required)
    spread = "fine-tune with N seeds to see the spread of their scores; the first is measured (default: 1)"
    number("--ship-seeds", default=1, help=spread)
    flag("--ship-resume", help="keep the results of an earlier session that are still valid; measure the rest")
    shard = "run one of N shards of about the same length: whole tasks, dealt out alike in every job of a commit"
    add("--ship-shard", metavar="I/N", help=shard)
    add("--ship-track", choices=TRACKERS, help="log each comparison to a new run of this tracker")
    ray = "measure on a Ray cluster's nodes: auto, HOST:PORT, ray://HOST:PORT, or local for one of this machine"
    add("--ship-ray", metavar="ADDRESS", help=ray)
    flag("--ship-no-page", help="write no report.html, which takes a second or two per comparison")
    flag("--ship-retrain", help="fine-tune again even if a checkpoint is stored")


def place(text: str) -> Path | str:
    """Return the folder that a path or a `file://` URL names, or any other URL; ArgumentTypeError for half of one."""
    scheme, mark, path = text.partition("://")
    if not mark:
        return Path(text)
    if not path.strip("/") or (scheme == "file" and not path.startswith("/")):
        raise ArgumentTypeError(f"{text}: names no place; write all of it, as in s3://bucket/folder or file:///folder")
    if re.match("[^/]*:[^/]*@", path):
        raise ArgumentTypeError(f"{scheme}://…: has a password that notes would show; leave it to its package's files")
    return Path(path) if scheme == "file" else text.rstrip("/")


def folder_of(text: str) -> Path:
    """Return the folder that a path or a `file://` URL names; ArgumentTypeError for another URL."""
    if isinstance(folder := place(text), str):
        raise ArgumentTypeError(f"{text}: is no folder; runs with a URL keep their artifacts in ~/.cache/shipbench")
    return folder


def check(options: Namespace, root: Path) -> None:
    """Raise HarnessError for values that make no sense, alone or together."""
    from harness.stats.speedup import LOOKS
    from harness.util.machine import check_installed, usable_cores

    for name in ("threads", "budget", "launches", "timeout", "seeds", *CONSTRAINTS):
        value = getattr(options, f"ship_{name}")
        if value is not None and value <= 0:
            raise HarnessError(f"--ship-{name.replace('_', '-')} {value:g}: must be positive")
    if options.ship_launches > LOOKS[0]:
        raise HarnessError(
            f"--ship-launches {options.ship_launches}: must be at most {LOOKS[0]}, the rounds before the first look"
        )
    batch_sizes(options)
    if options.ship_track:
        check_installed(options.ship_track, f"--ship-track {options.ship_track}")
    _check_cluster(options)
    if options.ship_tail < 0:
        raise HarnessError(f"--ship-tail {options.ship_tail}: must be 0 or more calls; the 99th percentile needs 459")
    if options.ship_threads and options.ship_threads > usable_cores():
        raise HarnessError(f"--ship-threads {options.ship_threads}: must be at most {usable_cores()}, the usable cores")
    _check_machines(options, root)


def _check_machines(options: Namespace, root: Path) -> None:
    from harness.contracts.declarations import NAME
    from harness.util.machine import commit_of

    owner, names = f"--ship-machine {options.ship_machine}", machines(options)
    for name in names:
        if not NAME.fullmatch(name):
            raise HarnessError(
                f"--ship-machine {name!r}: use letters, digits, '-' and '_', the first a letter or digit"
            )
    if len(names) > 1 and not options.ship_ray:
        raise HarnessError(f"{owner}: this machine has one name; name the cluster of several with --ship-ray")
    if len(set(names)) < len(names):
        raise HarnessError(f"{owner}: names a machine twice; name each once")
    commit, dirty = commit_of(root) if names != [LOCAL] else ("", False)
    if dirty or commit is None:
        problem = "the tree has uncommitted changes" if commit else "the tree is not in a git commit"
        raise HarnessError(
            f"{owner}: others rely on named results, and {problem}; commit first, or leave the machine unnamed"
        )


def _check_cluster(options: Namespace) -> None:
    from harness.util.machine import check_installed

    if options.ship_ray:
        check_installed("ray", f"--ship-ray {options.ship_ray}")
    folder = options.ship_artifacts
    if options.ship_ray and isinstance(folder, Path) and not folder.is_absolute():
        problem = f"--ship-artifacts {options.ship_artifacts}: with --ship-ray, this is a folder of every node"
        raise HarnessError(f"{problem}; write its whole path, which begins with /")


def machines(options: Namespace) -> list[str]:
    """Return the names of the machines to measure on."""
    return str(options.ship_machine).split(",")


def threads(options: Namespace) -> int:
    """Return the threads of every worker."""
    from harness.util.machine import usable_cores

    return options.ship_threads or default_threads(usable_cores())


def default_threads(cores: int) -> int:
    """Return the threads of a worker on a machine with so many usable cores."""
    return min(cores, 8)


def spinning(options: Namespace) -> bool:
    """Return whether idle threads wait as each runtime's do by default."""
    return bool(options.ship_wait == "deployed")


def batch_sizes(options: Namespace) -> tuple[int, ...]:
    """Return the batch sizes in the place of those that tasks declare, if any; HarnessError unless they rise."""
    text = options.ship_batch_sizes
    if text is None:
        return ()
    words = text.split(",")
    sizes = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 10]
    if list(map(str, sizes)) != words or sizes[0] < 1 or sizes != sorted(set(sizes)):
        raise HarnessError(
            f"--ship-batch-sizes {text}: must be whole numbers separated by commas, rising, the gate's batch among "
            "them: 1,16,64,256"
        )
    return tuple(sizes)


def pipeline_options(options: Namespace, machine: str, artifacts: Path, remote: Remote | None) -> Options:
    """Return the options in the form the pipeline takes."""
    from harness.pipeline.state import Options
    from harness.results.schema import Constraints

    return Options(
        artifacts=artifacts,
        machine=machine,
        threads=threads(options),
        spinning=spinning(options),
        launches=options.ship_launches,
        budget_s=options.ship_budget,
        timeout_s=options.ship_timeout,
        retrain=options.ship_retrain,
        tail=options.ship_tail,
        batches=batch_sizes(options),
        constraints=Constraints(**{name: getattr(options, f"ship_{name}") for name in CONSTRAINTS}),
        seeds=options.ship_seeds,
        remote=remote,
    )


def for_nodes(arguments: Sequence[str]) -> list[str]:
    """Return those of this plug-in's arguments that shape a measurement: the others are the driver's."""
    groups: list[list[str]] = []
    for word in arguments:
        if word.startswith("--ship-"):
            groups.append([])
        groups[-1].append(word)
    return [word for group in groups if group[0].partition("=")[0] not in DRIVERS for word in group]


def ship_arguments(options: Namespace, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return this plug-in's options as they stand on the command line, each with its value; without the shard.

    They are for running one case again, which would be dealt out anew.
    """
    own: list[str] = []
    for at, word in enumerate(arguments):
        name, equals, _ = word.partition("=")
        if name.startswith("--ship-") and name != "--ship-shard":
            is_alone = equals or isinstance(getattr(options, name[2:].replace("-", "_"), None), bool)
            own += arguments[at : at + (1 if is_alone else 2)]
    return tuple(own)
