"""All that is pytest: options, markers, the `bench` fixture, and the summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.errors import NOT_DECIDED, HarnessError
from harness.pytest_plugin import closing, options, session
from harness.pytest_plugin.bench import Bench, ReplayTimer, replay
from harness.pytest_plugin.session import ShipSession
from harness.spec import Case

SHIP = pytest.StashKey[ShipSession]()

REPLAY = pytest.StashKey[ReplayTimer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a measurement; which cases run is chosen with pytest's own -k and -m."""
    options.declare(parser.getgroup("shipbench", "which backend may this model ship on?").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and hold on to the terminal before anything captures it."""
    config.addinivalue_line("markers", "cuda: needs a CUDA device")
    config.addinivalue_line("markers", "hub: reads the Hugging Face Hub; runs with --ship-hub")
    # Without an ini file, pytest's rootdir moves with whatever paths the command line holds.
    root = config.rootpath if config.inipath else config.invocation_params.dir
    config.stash[SHIP] = ShipSession.from_options(config.option, root, config.invocation_params.args)
    config.pluginmanager.register(Lines(config), "shipbench-lines")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the terminal back."""
    if SHIP in config.stash:
        config.stash[SHIP].close()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark CUDA and Hub cases, group timings by comparison, and give every case a timer of its own."""
    case = case_of(item)
    if case is None:
        return
    if case.device == "cuda":
        item.add_marker(pytest.mark.cuda)
    if case.reads_hub:
        item.add_marker(pytest.mark.hub)
    timer = item.stash[REPLAY] = ReplayTimer()
    group = f"{case.task.name}/{case.model.name} {case.device}"
    item.add_marker(pytest.mark.benchmark(timer=timer, group=group))
    # A case that failed before it was timed has nothing to replay.
    item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what --ship-device and --ship-backends ask for; refuse to measure under xdist."""
    found = [(item, case) for item in items if (case := case_of(item)) is not None]
    if found and hasattr(config, "workerinput"):
        config.workeroutput["shipbench"] = (  # type: ignore[attr-defined]  # xdist's
            "shipbench measures, and parallel processes would disturb what they measure: run suites without -n "
            "(or with -p no:xdist)"
        )
        items[:] = []
        return
    try:
        unwanted = session.unwanted([case for _, case in found], config.option)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    # A case that is named in full is asked for, whatever its backend.
    named = set() if config.option.ship_backends else set(config.args)
    gone = [item for item, case in found if str(case) in unwanted and item.nodeid not in named]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """End a session whose xdist workers were asked to measure."""
    message = getattr(node, "workeroutput", {}).get("shipbench")
    if message:
        raise pytest.UsageError(message)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Know every selected case, and check all that can be checked before anything expensive starts."""
    selected = [(case, item.path.parent) for item in session.items if (case := case_of(item)) is not None]
    if not selected or session.config.option.collectonly:
        return
    try:
        session.config.stash[SHIP].begin(selected)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture
def bench(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Bench]:
    """Call it with a case, and hold what comes back to a gate: `bench(case).meets(gate)`."""
    ship, measured = request.config.stash[SHIP], list[Case]()

    def run(case: Case) -> Any:
        reason = session.skip_reason(case, ship.options)
        if reason is not None:
            request.node.user_properties.append(("ship", reason))
            pytest.skip(reason)
        outcome = ship.outcome(case, request.node.nodeid)
        request.node.user_properties.append(("ship", ship.line(case)))
        measured.append(case)
        replay(benchmark, request.node.stash[REPLAY], outcome.result)
        return outcome

    yield Bench(run)
    for case in measured:  # by now the gate is known that it was held to
        request.node.user_properties.extend(ship.properties(case))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """No letter for a measured case: it gets a line of its own."""
    line = ship_line(report)
    return None if line is None else (report.outcome, "", report.outcome.upper())


class Lines:
    """Writes the line of every measured case, where pytest itself would write a letter."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One line: the case, how it ended, what was found."""
        line = ship_line(report)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if line is None or terminal is None or self._config.option.verbose < 0:
            return
        terminal.ensure_newline()
        terminal.write(f"  {report.nodeid.partition('[')[2][:-1]}  {report.outcome}  {line}")
        # Else pytest would write the file's name again before the next case.
        terminal.currentfspath = self._config.rootpath / report.nodeid.partition("::")[0]


def ship_line(report: object) -> str | None:
    """What happened to a measured case, if the report is of one."""
    if not isinstance(report, pytest.TestReport) or report.when != "call":
        return None
    found = dict(report.user_properties).get("ship")
    return None if found is None else str(found)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hold the finals; and tell a run that is not decided from one that is, if asked to: CI may repeat the one."""
    ship = session.config.stash[SHIP]
    if ship.results and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        closing.hold_finals(ship)
    asked = ship.options.ship_require and ship.selected
    if asked and session.exitstatus == pytest.ExitCode.OK and closing.open_cases(ship):
        session.exitstatus = NOT_DECIDED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The comparison tables, the backend each would choose, and where the files are."""
    ship = config.stash[SHIP]
    if not ship.results:
        return
    terminalreporter.section("shipbench")
    from harness.util.text import terminal_safe

    for text in closing.summary(ship):
        terminalreporter.write_line(terminal_safe(text))


def case_of(item: pytest.Item) -> Case | None:
    """The case a test is parametrised with, if any."""
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec is not None else None
    return case if isinstance(case, Case) else None
