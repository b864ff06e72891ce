"""This project's options on pytest's command line: what they may be, and what they mean to the pipeline."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts.backend import DEVICES, NAME
from harness.errors import NOT_DECIDED, HarnessError
from harness.spec import TRACKERS
from harness.util.machine import check_installed, commit_of, usable_cores

if TYPE_CHECKING:
    from harness.pipeline.plan import Options

LOCAL = "local"

MOST_THREADS = 8

CONSTRAINTS = ("max_latency_ms", "max_memory_mb", "max_size_mb")


def declare(add: Callable[..., None]) -> None:
    """Every option, told to pytest's `addoption`."""
    add("--ship-device", choices=[*DEVICES, "all"], default="all", help="measure on this device only (default: all)")
    add("--ship-hub", action="store_true", help="run suites whose models or rows come from the Hugging Face Hub, too")
    add("--ship-backends", metavar="A,B", help="measure these backends, by name; or default, or all (default: default)")
    add("--ship-threads", type=int, metavar="N", help="threads of every worker (default: the usable cores, at most 8)")
    add("--ship-spin", action="store_true", help="let idle threads of workers spin, as runtimes do by default")
    add(
        "--ship-budget",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="longest time from first to last round of a comparison (default: 60)",
    )
    add("--ship-launches", type=int, default=4, metavar="N", help="generations of fresh workers (default: 4)")
    add(
        "--ship-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="a worker that gives no answer for so long has failed (default: 300)",
    )
    add("--ship-machine", default="local", metavar="NAME", help="name the results are stored under (default: local)")
    add("--ship-results", type=Path, metavar="DIR", help="where results go (default: results/ beside the suites)")
    add(
        "--ship-artifacts",
        type=Path,
        metavar="DIR",
        help="where checkpoints and artifacts are kept (default: .artifacts/ beside the results)",
    )
    add(
        "--ship-tail",
        type=int,
        default=0,
        metavar="N",
        help="after the decision, time N single calls of every backend, for percentiles (p99 takes 459; default: 0)",
    )
    add(
        "--ship-batch-sizes",
        metavar="1,N",
        help="rows of a call: 1, which gates are judged by, then others, each larger (default: 1,16); a backend has no "
        "figures of those that it finds no memory for",
    )
    for name, unit in (("latency", "ms"), ("memory", "mb"), ("size", "mb")):
        add(
            f"--ship-max-{name}-{unit}",
            type=float,
            metavar=unit.upper(),
            help=f"recommend no backend with more {name} than this",
        )
    add(
        "--ship-baseline",
        type=Path,
        metavar="DIR",
        help="hold speed-ups and answers against the stored runs in this folder; a proven regression fails its test",
    )
    add(
        "--ship-require",
        choices=["decided"],
        help=f"exit with {NOT_DECIDED} when a verdict is undecided or invalid and no gate is broken",
    )
    add(
        "--ship-seeds",
        type=int,
        default=1,
        metavar="N",
        help="fine-tune with N seeds, to see how far their scores lie apart; the first is measured (default: 1)",
    )
    add(
        "--ship-resume",
        action="store_true",
        help="measure only what no earlier session finished; whatever has changed since is measured again",
    )
    add("--ship-track", choices=TRACKERS, help="log each comparison to a new run of this tracker")
    add("--ship-no-page", action="store_true", help="write no report.html, which takes a second or two a comparison")
    add("--ship-retrain", action="store_true", help="fine-tune again, even where a checkpoint is kept")


def check(given: Namespace, root: Path) -> None:
    """HarnessError for values that make no sense, alone or together."""
    from harness.stats.speedup import LOOKS

    for name in ("threads", "budget", "launches", "timeout", "seeds", *CONSTRAINTS):
        value = getattr(given, f"ship_{name}")
        if value is not None and value <= 0:
            raise HarnessError(f"--ship-{name.replace('_', '-')} {value:g}: must be positive")
    if given.ship_launches > LOOKS[0]:
        raise HarnessError(f"--ship-launches {given.ship_launches}: the first look takes {LOOKS[0]} rounds, one each")
    batch_sizes(given)
    if given.ship_track:
        check_installed(given.ship_track, f"--ship-track {given.ship_track}")
    if given.ship_tail < 0:
        raise HarnessError(f"--ship-tail {given.ship_tail}: a number of calls, 459 for the 99th percentile")
    if given.ship_threads and given.ship_threads > usable_cores():
        raise HarnessError(f"--ship-threads {given.ship_threads}: this process may use {usable_cores()} cores")
    if not NAME.fullmatch(given.ship_machine):
        raise HarnessError(
            f"--ship-machine {given.ship_machine!r}: use letters, digits, '-' and '_', the first a letter or digit"
        )
    commit, dirty = commit_of(root)
    if given.ship_machine != LOCAL and (dirty or commit is None):
        raise HarnessError(
            f"--ship-machine {given.ship_machine}: results under a name are for others to rely on, and the tree "
            f"{'has changes that no commit holds' if commit else 'is under no commit'}; commit or stash them, or "
            "leave the machine unnamed"
        )


def threads(given: Namespace) -> int:
    """Of every worker."""
    return given.ship_threads or min(usable_cores(), MOST_THREADS)


def batch_sizes(given: Namespace) -> tuple[int, ...]:
    """Of a run's workloads; HarnessError unless they grow from 1."""
    from harness.measure.samples import BATCHES

    text = given.ship_batch_sizes
    if text is None:
        return BATCHES
    found = tuple(int(size) for size in re.findall(r"\d{1,9}", text, re.ASCII))
    if not found or ",".join(map(str, found)) != text or found[0] != 1 or list(found) != sorted(set(found)):
        raise HarnessError(
            f"--ship-batch-sizes {text}: give whole numbers with commas between them, the first 1, since gates are "
            "judged by single rows, and each larger than the one before: 1,16,64,256"
        )
    return found


def of_pipeline(given: Namespace, artifacts: Path) -> Options:
    """The options as the pipeline knows them."""
    from harness.pipeline.plan import Options
    from harness.results.schema import Constraints

    return Options(
        artifacts=artifacts,
        machine=given.ship_machine,
        threads=threads(given),
        spinning=given.ship_spin,
        launches=given.ship_launches,
        budget_s=given.ship_budget,
        timeout_s=given.ship_timeout,
        retrain=given.ship_retrain,
        tail=given.ship_tail,
        batches=batch_sizes(given),
        constraints=Constraints(**{name: getattr(given, f"ship_{name}") for name in CONSTRAINTS}),
        seeds=given.ship_seeds,
    )


def own_words(given: Namespace, line: Sequence[str]) -> tuple[str, ...]:
    """This project's options as they stand on the command line, each with its value."""
    found: list[str] = []
    for at, word in enumerate(line):
        if word.startswith("--ship-"):
            name, equals, _ = word.partition("=")
            alone = equals or isinstance(getattr(given, name[2:].replace("-", "_"), True), bool)
            found += line[at : at + (1 if alone else 2)]
    return tuple(found)
