"""A measured case: its result, its comparison, and where its model lies; or why there is none to publish."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from harness import cache
from harness.backends.usage import check_graphs
from harness.contracts import DEVICES, NAME, REFERENCE
from harness.errors import HarnessError
from harness.records import results
from harness.records.compare import comparisons, recommend
from harness.records.schema import Built, Result
from harness.verdicts.judge import verdict

CASE = re.compile(rf"{NAME.pattern}/{NAME.pattern}\.{NAME.pattern}\.({'|'.join(DEVICES)})")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be published, and from where."""

    case: str
    to: Path
    results: Path
    artifacts: Path
    machine: str | None = None
    repo: str | None = None
    """`owner/name` on the Hub, if it goes there."""
    demo: bool = False
    """Whether an app goes with it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A case's result, those of its comparison, and where its model lies."""

    result: Result
    group: list[Result]
    checkpoint: Path
    artifact: Path
    """The checkpoint itself, where the backend runs that."""


def find(order: Order) -> Found:
    """The case as it was measured; HarnessError if it was not, or if what was measured is gone or changed."""
    path = _path(order)
    result = results.load(path)
    if result.name != order.case or result.environment.machine != path.parents[1].name:
        raise HarnessError(f"{path} is of {result.name}, measured on {result.environment.machine}; move it there")
    if result.status != "ok" or result.error is not None:
        why = f" at {result.error.stage}: {result.error.message}" if result.error else ""
        raise HarnessError(f"{order.case} {result.status}{why}; there is nothing to publish before it is measured")
    if result.checkpoint is None or result.artifact is None or result.answers is None or result.data is None:
        raise HarnessError(f"{path} names no model or no answers; measure it again: {_measure(order)}")
    others = path.parent.glob(f"{result.model}.*.{result.device}.json")
    (group,) = comparisons(map(results.load, others))
    folder = order.artifacts / result.task / result.model
    made = _kept(folder, result.checkpoint, order)
    artifact = made if result.artifact.key == result.checkpoint.key else _kept(folder, result.artifact, order)
    if artifact != made:
        check_graphs(artifact)
    return Found(result=result, group=group, checkpoint=made, artifact=artifact)


def check_may_ship(found: Found) -> None:
    """HarnessError unless the evidence says that the case may ship."""
    result, said = found.result, verdict(found.result)
    if result.backend == REFERENCE:
        chosen, why = recommend(found.group)
        if chosen is None or chosen.backend != REFERENCE:
            raise HarnessError(
                f"{result.name}: the reference has no verdict, and its comparison would choose "
                f"{chosen.backend if chosen else 'nothing'}: {why}; publish that, or pass --anyway"
            )
    elif said is None or said.word != "ship":
        told = f"{said.word}: {'; '.join(said.reasons)}" if said else "none"
        raise HarnessError(f"{result.name}: its verdict is not ship but {told}; pass --anyway to push it all the same")


def _path(order: Order) -> Path:
    """The file of the case's result."""
    if not order.results.is_dir():
        raise HarnessError(f"{order.results}: no such results folder; name it with --ship-results")
    if not CASE.fullmatch(order.case):
        raise HarnessError(f"{order.case!r} is no case: write task/model.backend.device{_meant(order)}")
    there = sorted(order.results.glob(f"*/{order.case}.json"))
    machines = [path.parents[1].name for path in there]
    if not there:
        raise HarnessError(
            f"{order.case} was never measured, by the results in {order.results}; measure it: {_measure(order)}"
            f"{_meant(order)}"
        )
    if order.machine is not None and order.machine not in machines:
        raise HarnessError(f"{order.case} was not measured on {order.machine}, but on {', '.join(machines)}")
    if order.machine is None and len(there) > 1:
        raise HarnessError(f"{order.case} was measured on {', '.join(machines)}: name one with --machine")
    return there[0] if order.machine is None else there[machines.index(order.machine)]


def _meant(order: Order) -> str:
    known = {path.relative_to(order.results).as_posix().partition("/")[2] for path in order.results.glob("*/*/*.json")}
    names = {name.removesuffix(".json") for name in known}
    close = difflib.get_close_matches(order.case, sorted(name for name in names if CASE.fullmatch(name)), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _measure(order: Order) -> str:
    """The command that measures the case, and builds what it needs."""
    return f'pytest suites -k "{order.case}" --ship-artifacts {order.artifacts} --ship-results {order.results}'


def _kept(folder: Path, built: Built, order: Order) -> Path:
    """Where a checkpoint or an artifact is kept that a result names; HarnessError if it is not what was measured."""
    there = [path for path in folder.glob(f"*-{built.key}") if path.is_dir()]
    path = there[0] if there else folder / f"…-{built.key}"
    again = f"build it again: {_measure(order)} (in place of suites, your own suite's file)"
    try:
        entry, _ = cache.opened(path)
    except HarnessError as error:
        raise HarnessError(f"{order.case}: {error}; {again}") from error
    if entry.info != built.info:
        raise HarnessError(f"{order.case}: {path} was built again since, and is not what was measured; {again}")
    return path
