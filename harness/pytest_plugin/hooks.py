"""The hooks of a run that has cases: selection, preflight, the line of each case, finals, and the summary."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.errors import NOT_DECIDABLE, NOT_DECIDED, HarnessError
from harness.pytest_plugin.bench import Bench, Outcome, ReplayTimer, replay
from harness.pytest_plugin.items import case_of, cases_of, leave_out_unwanted, local_id, selected_of
from harness.pytest_plugin.options import MACHINE
from harness.pytest_plugin.session import ShipSession
from harness.pytest_plugin.summary import status_reason, summary
from harness.spec import Case
from harness.util.console import accept_any_text, wrapped
from harness.util.text import terminal_safe

SESSION = pytest.StashKey[ShipSession]()
TIMER = pytest.StashKey[ReplayTimer]()
SECONDS = "shipbench/seconds"
"""Key of pytest's cache: how long each comparison took when it last ran."""
NO_XDIST = (
    "shipbench measures, and parallel processes would disturb what they measure: run suites without -n (or with "
    "-p no:xdist)"
)


def session_of(config: pytest.Config) -> ShipSession:
    """Return the session; the first call creates it and registers the hooks that need it."""
    if SESSION not in config.stash:
        # Without an ini file, pytest's rootdir moves with the paths on the command line.
        root = config.rootpath if config.inipath else config.invocation_params.dir
        accept_any_text()
        config.stash[SESSION] = ShipSession.from_options(config.option, root, config.invocation_params.args)
        config.pluginmanager.register(Hooks(config, config.stash[SESSION]), "shipbench-cases")
    return config.stash[SESSION]


def collect(item: pytest.Item) -> None:
    """Mark a CUDA or Hub case, group timings by comparison, and give the case a timer; the first opens the session."""
    case = case_of(item)
    if case is None:
        return
    session_of(item.config)
    if case.device == "cuda":
        item.add_marker(pytest.mark.cuda)
    if case.reads_hub:
        item.add_marker(pytest.mark.hub)
    timer = item.stash[TIMER] = ReplayTimer()
    group, machine = f"{case.task.name}/{case.model.name} {case.device}", item.callspec.params.get(MACHINE)  # type: ignore[attr-defined]
    item.add_marker(pytest.mark.benchmark(timer=timer, group=f"{group} of {machine}" if machine else group))
    # A case that failed before it was timed has nothing to replay.
    item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))


def bench(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Bench]:
    """Yield the value of the `bench` fixture; after the test, record the measured cases for JUnit's XML."""
    ship, properties = session_of(request.config), request.node.user_properties
    measured: list[Outcome] = []

    def run(case: Case) -> Outcome:
        selected = ship.selected_case(case, request.getfixturevalue(MACHINE))
        reason = ship.skip_reason(selected)
        if reason is not None:
            properties.append(("ship", reason))
            pytest.skip(reason)
        from harness.report.documents import case_line

        outcome = ship.outcome(selected, local_id(request.node))
        log = f" (full log: {outcome.log})" if outcome.log else ""
        properties.append(("ship", case_line(outcome.result) + log))
        measured.append(outcome)
        replay(benchmark, request.node.stash[TIMER], outcome.result)
        return outcome

    yield Bench(run)
    for outcome in measured:
        from harness.report.integrations import junit_properties

        regressions = (("ship_regressed", sentence) for sentence in outcome.regressions)
        properties.extend([*junit_properties(outcome.result).items(), *regressions])


@dataclass(frozen=True, eq=False)
class Hooks:
    """Registered when the first case is collected."""

    config: pytest.Config
    ship: ShipSession
    headed: list[str] = field(default_factory=list)
    """Headings of comparisons above the lines of their cases."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect what --ship-device and --ship-backends leave out; refuse to measure under xdist."""
        if hasattr(config, "workerinput") and cases_of(items):
            config.workeroutput["shipbench"] = NO_XDIST  # type: ignore[attr-defined]  # xdist's
            items[:] = []
        else:
            leave_out_unwanted(config, items)

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> list[str]:
        """Say what will run, what is skipped and why, and what was left out."""
        if self.config.option.verbose < 0 or self.config.option.collectonly:
            return []
        cache = getattr(self.config, "cache", None)
        try:
            selected = [one for item in items if (one := selected_of(item, self.ship.root))]
        except HarnessError:  # which the next hook raises
            return []
        return self.ship.plan(selected, cache.get(SECONDS, {}) if cache else {})

    @pytest.hookimpl(trylast=True)  # after the lines about the collection
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Select the cases, and check everything that can be checked before anything expensive starts."""
        if session.config.option.collectonly:
            return
        try:
            selected = {item.nodeid: one for item in session.items if (one := selected_of(item, self.ship.root))}
            if selected:
                self.ship.begin(selected)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Suppress the letter of a case: it gets a line, or was counted before the run as one that is skipped."""
        return None if _line(report) is None else (report.outcome, "", report.outcome.upper())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logstart(self, nodeid: str) -> Generator[None]:
        """Keep pytest from writing the file's name before a case: its comparison has a heading."""
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or self.config.option.verbose or nodeid not in self.ship.items:
            return (yield)
        terminal.ensure_newline()
        terminal.currentfspath = self.config.rootpath / nodeid.partition("::")[0]
        yield
        terminal.currentfspath = None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write one line about a measured case, the first under its comparison's heading."""
        line, result = _line(report), self.ship.result(report.nodeid)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if line is None or result is None or terminal is None or self.config.option.verbose < 0:
            return
        if self.config.option.verbose:
            terminal.write(f"\n  {line}")
            return
        place = result.task, result.model, result.device
        heading = self.ship.headings.get((result.environment.machine, place), "")
        if self.headed[-1:] != [heading]:
            terminal.write_line(heading)
            self.headed.append(heading)
        outcome = f"  ({report.outcome})" if report.failed and result.status == "ok" else ""
        self._write(terminal, f"  {result.backend:19}  {line}{outcome}", red=report.failed)
        terminal.flush()

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_benchmark_group_stats(self) -> Generator[None, list[Any], list[Any]]:
        """Leave cases out of pytest-benchmark's wide tables, unless they are asked for."""
        groups, option = (yield), self.config.option
        if self.config.option.verbose > 0 or option.benchmark_compare or option.benchmark_histogram:
            return groups
        own = [(name, [b for b in group if "shipbench" not in b["extra_info"]]) for name, group in groups]
        return [(name, group) for name, group in own if group]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hold the finals; with --ship-require, give an undecided run a status of its own, so that CI can repeat it."""
        ship = self.ship
        if ship.shard and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK  # more shards than tasks; the others have all of them
        if ship.results and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            ship.hold_finals()
            if (cache := getattr(self.config, "cache", None)) is not None:
                cache.set(SECONDS, cache.get(SECONDS, {}) | ship.seconds)
        required = ship.options.ship_require and ship.items
        if required and session.exitstatus == pytest.ExitCode.OK and (cases := ship.open_cases()):
            ship.status = session.exitstatus = NOT_DECIDED if all(cases.values()) else NOT_DECIDABLE

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the summary, and the reason of a status."""
        lines = list(summary(self.ship, self.config.option.verbose)) if self.ship.results else []
        if self.ship.status:
            lines.insert(-1, status_reason(self.ship.status, self.ship.open_cases()))
        if lines:
            terminalreporter.section("shipbench")
            for text in lines:
                self._write(terminalreporter, text)

    def _write(self, terminal: pytest.TerminalReporter, text: str, **markup: bool) -> None:
        """Write sentences, broken between words where a person reads them; the wide tables of -v stay as they are."""
        breaks = terminal.isatty and self.config.option.verbose <= 0
        for line in wrapped(terminal_safe(text), shutil.get_terminal_size().columns if breaks else sys.maxsize) or [""]:
            terminal.write_line(line, **markup)

    def pytest_unconfigure(self) -> None:
        """Close the session."""
        self.ship.close()


def _line(report: object) -> str | None:
    """Return the line of a measured case, if the report is about one."""
    if not isinstance(report, pytest.TestReport) or report.when != "call":
        return None
    line = dict(report.user_properties).get("ship")
    return None if line is None else str(line)
