"""pytest's items that have cases: a test's case, its id, and the items that a run leaves out."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.mark.expression import Expression

from harness.errors import HarnessError
from harness.pytest_plugin.options import MACHINE, machines
from harness.pytest_plugin.selection import Selected, skip_reason, unwanted
from harness.spec import Case

if TYPE_CHECKING:
    from harness.pytest_plugin.session import ShipSession


def case_of(item: pytest.Item) -> Case | None:
    """Return the case that parametrizes a test, if any."""
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec is not None else None
    return case if isinstance(case, Case) else None


def selected_of(item: pytest.Item, root: Path) -> Selected | None:
    """Return the case that parametrizes a test, and its machine; None without a case.

    Where a session has several machines, also None for a test that does not measure, and so has none.
    """
    case, option = case_of(item), item.config.option
    if case is None:
        return None
    machine, test, prefix = option.ship_machine, local_id(item, root), ""
    if len(machines(option)) > 1:
        callspec: Any = item.callspec  # type: ignore[attr-defined]  # it has one: it has a case
        machine = callspec.params.get(MACHINE)
        prefix = f"{machine}-"
        if machine is None:
            return None
        if not callspec.id.startswith(prefix):
            raise HarnessError(f"{item.nodeid}: its id must begin with its machine; parametrize it by decorators alone")
    return Selected(case, item.path.parent, machine, test.replace(f"[{prefix}", "[", 1))


def cases_of(items: Iterable[pytest.Item]) -> dict[pytest.Item, Case]:
    """Return the tests that a case parametrizes, each with its case."""
    return {item: case for item in items if (case := case_of(item)) is not None}


def local_id(item: pytest.Item, folder: Path | None = None) -> str:
    """Return a test's id as a command in `folder` takes it, by default where this one runs; pytest's is for rootdir."""
    path = os.path.relpath(item.path, folder or item.config.invocation_params.dir)
    return "::".join((path, *item.nodeid.split("::")[1:]))


def leave_out_unwanted(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the cases that --ship-device and --ship-backends leave out."""
    cases = cases_of(items)
    with _usage_errors(items):
        names = unwanted(list(cases.values()), config.option)
    # A test id on the command line selects its case, whatever the backend.
    named = set() if config.option.ship_backends else set(config.args)
    _deselect(
        config, items, [i for i, case in cases.items() if str(case) in names and not {i.nodeid, local_id(i)} & named]
    )


def leave_out_full(config: pytest.Config, items: list[pytest.Item], ship: ShipSession) -> None:
    """Deselect cases marked `full` unless --ship-full or the command line asks for them; count what could have run.

    It asks by the name of a file or test, by `-m` with the word full, and by `-k` with a name that a test must have:
    `-k "not int8"` names none, and the name of a machine is none of a test.
    """
    option = config.option
    by_name = bool(option.keyword) and not any(map(Expression.compile(option.keyword).evaluate, _no_tests(option)))
    if option.ship_full or by_name or "full" in re.findall(r"\w+", option.markexpr):
        return
    files = {(config.invocation_params.dir / word.partition("::")[0]).resolve() for word in config.args}
    marked = cases_of(item for item in items if item.get_closest_marker("full"))
    full = {item: case for item, case in marked.items() if item.path.resolve() not in files}
    if runnable := {str(case) for case in full.values() if skip_reason(case, option) is None}:
        ship.left_out["--ship-full"] = len(runnable)
    _deselect(config, items, full)


def _no_tests(option: Namespace) -> Iterator[Callable[..., bool]]:
    """Yield what `-k` matches where no test is named: nothing, or the names of the session's machines."""
    names = machines(option) if len(machines(option)) > 1 else []
    yield lambda name, **_: False
    yield lambda name, **_: any(name.lower() in machine.lower() for machine in names)


def leave_out_other_shards(config: pytest.Config, items: list[pytest.Item], ship: ShipSession) -> None:
    """Deselect the tasks of other shards, and tests without a case in all shards but the first."""
    if not config.option.ship_shard:
        return
    cases = cases_of(items)
    with _usage_errors(items):
        shard = ship.take_shard(list(cases.values()))
    is_first = config.option.ship_shard.startswith("1/")
    others = [item for item in items if not (cases[item].task.name in shard.tasks if item in cases else is_first)]
    _deselect(config, items, others)


def _deselect(config: pytest.Config, items: list[pytest.Item], others: Collection[pytest.Item]) -> None:
    if others:
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]


@contextmanager
def _usage_errors(items: list[pytest.Item]) -> Iterator[None]:
    """Turn a HarnessError into pytest's error for wrong options."""
    try:
        yield
    except HarnessError as error:
        items[:] = []  # else pytest checks them before it reports this
        raise pytest.UsageError(str(error)) from error
