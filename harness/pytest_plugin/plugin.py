"""The entry point, which every run of pytest imports: without a case, nothing else of the harness is imported."""

from __future__ import annotations

import pkgutil
import re
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError
from harness.pytest_plugin import options

if TYPE_CHECKING:
    from harness.pytest_plugin.bench import Bench

HARNESS = Path(__file__).parents[1]
MISSING_NAME = re.compile(r"cannot import name '(\w+)' from '(harness[\w.]*)'")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; pytest's own -k and -m choose the cases."""
    options.declare(parser.getgroup("shipbench", "shipbench: measure the backends of fine-tuned models").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "cuda: needs a CUDA device")
    config.addinivalue_line("markers", "hub: reads the Hugging Face Hub; runs with --ship-hub")
    config.addinivalue_line("markers", "full: a case that runs with --ship-full, or when it is named")


@pytest.hookimpl(tryfirst=True)  # so that a file's tests for one machine stand together
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a test that measures for each machine, where several are named."""
    names = options.machines(metafunc.config.option)
    if len(names) > 1 and options.MACHINE in metafunc.fixturenames:
        metafunc.parametrize(options.MACHINE, names)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Hand a test that is parametrized with a case to the hooks that know cases."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and type(callspec.params.get("case")).__module__ == "harness.spec":
        from harness.pytest_plugin import hooks

        hooks.collect(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out cases marked `full` and other shards, of what -k and -m have selected."""
    if config.pluginmanager.has_plugin("shipbench-cases"):
        from harness.pytest_plugin.hooks import session_of
        from harness.pytest_plugin.items import leave_out_full, leave_out_other_shards

        leave_out_full(config, items, session_of(config))
        leave_out_other_shards(config, items, session_of(config))


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any], report: pytest.CollectReport | pytest.TestReport
) -> None:
    """Report a suite's wrong declaration as its message and place, without a traceback through the harness."""
    if isinstance(report, pytest.CollectReport) and call.excinfo is not None and "harness" in report.longreprtext:
        report.longrepr = import_problem(call.excinfo.value, node.config.invocation_params.dir) or report.longrepr


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """End a session whose xdist workers were told to measure; their controller collects no case itself."""
    message = getattr(node, "workeroutput", {}).get("shipbench")
    if message:
        raise pytest.UsageError(message)


@pytest.fixture
def ship_machine(request: pytest.FixtureRequest) -> str:
    """Name the machine that measures the test's case."""
    return str(request.config.option.ship_machine)


@pytest.fixture
def bench(request: pytest.FixtureRequest, benchmark: Any, ship_machine: str) -> Iterator[Bench]:
    """Measure the test's case and judge it by its gate: `bench(case)`."""
    from harness.pytest_plugin import hooks

    yield from hooks.bench(request, benchmark)


def import_problem(error: BaseException, root: Path) -> str | None:
    """Return the message, with the suite's own line, for an error of a declaration or a misspelt name of the harness.

    None for any other error, whose traceback the author needs.
    """
    while not isinstance(error, HarnessError | ImportError) and error.__cause__ is not None:
        error = error.__cause__  # pytest wraps errors of imports
    problem = str(error) if isinstance(error, HarnessError) else _import_problem(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if HARNESS not in Path(f.filename).parents]
    own = [frame for frame in frames if root in Path(frame.filename).parents]
    if problem is None or not frames:
        return None
    place = (own or frames)[-1]
    path = Path(place.filename)
    return f"{path.relative_to(root) if path.is_relative_to(root) else path}:{place.lineno}: {problem}"


def _import_problem(error: BaseException) -> str | None:
    """Return the message for a name or a module that the harness lacks."""
    from harness.contracts.declarations import unknown

    if match := MISSING_NAME.match(str(error)):
        name, module = match.groups()
        names = [public for public in dir(import_module(module)) if not public.startswith("_")]
        return f"{module}: {unknown('name', name, getattr(import_module(module), '__all__', names))}"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("harness."):
        modules = [f"harness.{module.name}" for module in pkgutil.iter_modules([str(HARNESS)])]
        return unknown("module", error.name, modules)
    return None
