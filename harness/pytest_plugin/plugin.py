"""The entry point, which every run of pytest imports: without a case, nothing else of the harness is imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from harness.pytest_plugin import options

if TYPE_CHECKING:
    from harness.pytest_plugin.bench import Bench


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; pytest's own -k and -m choose the cases."""
    options.declare(parser.getgroup("shipbench", "shipbench: measure the backends of fine-tuned models").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "cuda: needs a CUDA device")
    config.addinivalue_line("markers", "hub: reads the Hugging Face Hub; runs with --ship-hub")
    config.addinivalue_line("markers", "full: a case that runs with --ship-full, or when it is named")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Hand a test that is parametrized with a case to the hooks that know cases."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and type(callspec.params.get("case")).__module__ == "harness.spec":
        from harness.pytest_plugin import hooks

        hooks.collect(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out cases marked `full`, of those that -k and -m have selected."""
    if config.pluginmanager.has_plugin("shipbench-cases"):
        from harness.pytest_plugin import hooks

        hooks.leave_out_full(config, items)


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any], report: pytest.CollectReport | pytest.TestReport
) -> None:
    """Report a suite's wrong declaration as its message and place, without a traceback through the harness."""
    if isinstance(report, pytest.CollectReport) and call.excinfo is not None and "harness" in report.longreprtext:
        from harness.pytest_plugin.suite_errors import import_problem

        report.longrepr = import_problem(call.excinfo.value, node.config.invocation_params.dir) or report.longrepr


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """End a session whose xdist workers were told to measure; their controller collects no case itself."""
    message = getattr(node, "workeroutput", {}).get("shipbench")
    if message:
        raise pytest.UsageError(message)


@pytest.fixture
def bench(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Bench]:
    """Measure the test's case and judge it by its gate: `bench(case)`."""
    from harness.pytest_plugin import hooks

    yield from hooks.bench(request, benchmark)
