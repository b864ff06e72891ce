"""The hooks of a run that has cases: selection, preflight, the line of each case, and the summary at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import NOT_DECIDABLE, NOT_DECIDED, HarnessError
from harness.pytest_plugin import session as sessions
from harness.pytest_plugin.bench import Bench, Outcome, ReplayTimer, replay
from harness.pytest_plugin.session import ShipSession
from harness.spec import Case
from harness.util.console import accept_any_text
from harness.util.text import terminal_safe

SESSION = pytest.StashKey[ShipSession]()
TIMER = pytest.StashKey[ReplayTimer]()
NO_XDIST = (
    "shipbench measures, and parallel processes would disturb what they measure: run suites without -n (or with "
    "-p no:xdist)"
)


def case_of(item: pytest.Item) -> Case | None:
    """Return the case that parametrizes a test, if any."""
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec is not None else None
    return case if isinstance(case, Case) else None


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
    item.add_marker(pytest.mark.benchmark(timer=timer, group=f"{case.task.name}/{case.model.name} {case.device}"))
    # A case that failed before it was timed has nothing to replay.
    item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))


def local_id(item: pytest.Item) -> str:
    """Return a test's id as a command in the folder of this one takes it; pytest's own begins at its rootdir."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return "::".join((path, *item.nodeid.split("::")[1:]))


def bench(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Bench]:
    """Yield the value of the `bench` fixture; after the test, record the measured cases for JUnit's XML."""
    ship, properties = session_of(request.config), request.node.user_properties
    measured: list[Outcome] = []

    def run(case: Case) -> Outcome:
        reason = sessions.skip_reason(case, ship.options)
        if reason is not None:
            properties.append(("ship", reason))
            pytest.skip(reason)
        from harness.report.tables import case_line

        outcome = ship.outcome(case, local_id(request.node))
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

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect what --ship-device and --ship-backends leave out; refuse to measure under xdist."""
        cases = {item: case for item in items if (case := case_of(item)) is not None}
        if cases and hasattr(config, "workerinput"):
            config.workeroutput["shipbench"] = NO_XDIST  # type: ignore[attr-defined]  # xdist's
            items[:] = []
            return
        try:
            unwanted = sessions.unwanted(list(cases.values()), config.option)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error
        # A test id on the command line selects its case, whatever the backend.
        named = set() if config.option.ship_backends else set(config.args)
        deselected = [
            item for item, case in cases.items() if str(case) in unwanted and not {item.nodeid, local_id(item)} & named
        ]
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = [item for item in items if item not in deselected]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Select the cases, and check everything that can be checked before anything expensive starts."""
        selected = [(case, item.path.parent) for item in session.items if (case := case_of(item)) is not None]
        if not selected or session.config.option.collectonly:
            return
        try:
            self.ship.begin(selected)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Suppress the letter of a case: it gets a line."""
        return None if _line(report) is None else (report.outcome, "", report.outcome.upper())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write one line: the case, its outcome, its figures."""
        line = _line(report)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if line is None or terminal is None or self.config.option.verbose < 0:
            return
        terminal.ensure_newline()
        terminal.write(f"  {report.nodeid.partition('[')[2][:-1]}  {report.outcome}  {line}")
        # Else pytest would write the file's name again before the next case.
        terminal.currentfspath = self.config.rootpath / report.nodeid.partition("::")[0]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hold the finals; with --ship-require, give an undecided run a status of its own, so that CI can repeat it."""
        ship = self.ship
        if ship.results and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            ship.hold_finals()
        required = ship.options.ship_require and ship.selected
        if required and session.exitstatus == pytest.ExitCode.OK and (cases := ship.open_cases()):
            ship.status = session.exitstatus = NOT_DECIDED if all(cases.values()) else NOT_DECIDABLE

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the comparison tables, the recommended backends, the paths of the files, and the reason of a status."""
        lines = list(summary(self.ship)) if self.ship.results else []
        if self.ship.status:
            lines.insert(-1, status_reason(self.ship.status, self.ship.open_cases()))
        if lines:
            terminalreporter.section("shipbench")
            for text in lines:
                terminalreporter.write_line(terminal_safe(text))

    def pytest_unconfigure(self) -> None:
        """Close the session."""
        self.ship.close()


def status_reason(status: int, cases: Mapping[str, bool]) -> str:
    """Say why a run whose tests passed ends with NOT_DECIDED or NOT_DECIDABLE; `cases` are the session's open ones."""
    names = {name.partition(": ")[0]: repeatable for name, repeatable in cases.items()}
    again = [name for name, repeatable in names.items() if repeatable]
    never = [name for name, repeatable in names.items() if not repeatable]
    if not never:
        return f"exit status {status}: {'; '.join(again)}; running again may decide"
    also = f"; running again may only decide that {'; '.join(again)}" if again else ""
    return f"exit status {status}: {'; '.join(never)}; running again will not help: see the warnings above{also}"


def summary(ship: ShipSession) -> Iterator[str]:
    """Write every report, and yield the text for the end of the session; its last line is the run in one."""
    from harness.report import integrations, tables
    from harness.verdicts.comparability import comparisons

    results = ship.results.values()
    regressions = {result.name: ship.regressions(result) for result in results}
    yield tables.terminal_text(results, ship.finals)
    yield from [*ship.notes, *(f"warning: {sentence}" for sentence in ship.open_cases())]
    if ship.baseline is not None:
        yield from ship.baseline.notes(ship.results)
    yield from sorted({f"{result.task}/{result.model}: {note}" for result in results for note in result.notes})
    yield from _write_reports(ship, regressions)
    yield integrations.status_line(list(comparisons(results)), regressions)


def _write_reports(ship: ShipSession, regressions: dict[str, list[str]]) -> Iterator[str]:
    """Write the tables, the page, GitHub's job summary and the tracker's runs; yield a line about each."""
    from harness.report import files, integrations

    results, folder, options = ship.results.values(), ship.results_folder, ship.options
    machine = options.ship_machine

    def attempt(report: str, write: Callable[[], Iterable[object]], verb: str = "wrote") -> Iterator[str]:
        try:
            yield from (f"{verb} {name}" for name in write())
        except HarnessError as error:
            yield f"no {report}: {error}"

    yield from attempt("tables", lambda: files.write_tables(folder, machine))
    if not options.ship_no_page:
        yield from attempt("page", lambda: [files.write_page(folder, folder / machine / "report.html", machine)])
    if job := os.environ.get("GITHUB_STEP_SUMMARY", ""):
        text = integrations.github_summary(results, ship.finals, integrations.run_link(os.environ), regressions)
        try:
            with Path(job).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            yield f"nothing written to GITHUB_STEP_SUMMARY ({job}): {error}"
    if tracker := options.ship_track:
        runs = integrations.log_tables(tracker, results, ship.artifacts_folder)
        yield from attempt(f"run of {tracker}", lambda: (f"{run} to {tracker}" for run in runs), "logged")


def _line(report: object) -> str | None:
    """Return the line of a measured case, if the report is about one."""
    if not isinstance(report, pytest.TestReport) or report.when != "call":
        return None
    line = dict(report.user_properties).get("ship")
    return None if line is None else str(line)
