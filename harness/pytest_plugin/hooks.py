"""The hooks of a run that has cases: selection, preflight, the line of each case, and the summary at the end."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.expression import Expression

from harness.errors import NOT_DECIDABLE, NOT_DECIDED, HarnessError
from harness.pytest_plugin import session as sessions
from harness.pytest_plugin.bench import Bench, Outcome, ReplayTimer, replay
from harness.pytest_plugin.session import ShipSession
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


def leave_out_full(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect cases marked `full` unless --ship-full or the command line asks for them; count what could have run.

    It asks by the name of a file or test, by `-m` with the word full, and by `-k` with a name that a test must have:
    `-k "not int8"` names none.
    """
    option, ship = config.option, session_of(config)
    by_name = option.keyword and not Expression.compile(option.keyword).evaluate(lambda *_, **__: False)
    if option.ship_full or by_name or "full" in re.findall(r"\w+", option.markexpr):
        return
    files = {(config.invocation_params.dir / word.partition("::")[0]).resolve() for word in config.args}
    cases = {item: case for item in items if item.get_closest_marker("full") and (case := case_of(item)) is not None}
    full = {item: case for item, case in cases.items() if item.path.resolve() not in files}
    runnable = sum(sessions.skip_reason(case, option) is None for case in full.values())
    if runnable:
        ship.left_out["--ship-full"] = runnable
    if full:
        config.hook.pytest_deselected(items=list(full))
        items[:] = [item for item in items if item not in full]


def take_shard(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tasks of other shards, and tests without a case in all shards but the first."""
    ship, option = session_of(config), config.option
    if not option.ship_shard:
        return
    cases = {item: case for item in items if (case := case_of(item)) is not None}
    try:
        shard = ship.take_shard(list(cases.values()))
    except HarnessError as error:
        items[:] = []  # else pytest checks them before it reports this
        raise pytest.UsageError(str(error)) from error
    is_first = option.ship_shard.startswith("1/")
    others = [item for item in items if not (cases[item].task.name in shard.tasks if item in cases else is_first)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


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
    headed: list[str] = field(default_factory=list)
    """Headings of comparisons above the lines of their cases."""

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
            items[:] = []  # else pytest checks them before it reports this
            raise pytest.UsageError(str(error)) from error
        # A test id on the command line selects its case, whatever the backend.
        named = set() if config.option.ship_backends else set(config.args)
        deselected = [
            item for item, case in cases.items() if str(case) in unwanted and not {item.nodeid, local_id(item)} & named
        ]
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = [item for item in items if item not in deselected]

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> list[str]:
        """Say what will run, what is skipped and why, and what was left out."""
        if self.config.option.verbose < 0 or self.config.option.collectonly:
            return []
        cache = getattr(self.config, "cache", None)
        cases = [case for item in items if (case := case_of(item)) is not None]
        return self.ship.plan(cases, cache.get(SECONDS, {}) if cache else {})

    @pytest.hookimpl(trylast=True)  # after the lines about the collection
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
        """Suppress the letter of a case: it gets a line, or was counted before the run as one that is skipped."""
        return None if _line(report) is None else (report.outcome, "", report.outcome.upper())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logstart(self, nodeid: str) -> Generator[None]:
        """Keep pytest from writing the file's name before a case: its comparison has a heading."""
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or self.config.option.verbose or _case_name(nodeid) not in self.ship.selected:
            return (yield)
        terminal.ensure_newline()
        terminal.currentfspath = self.config.rootpath / nodeid.partition("::")[0]
        yield
        terminal.currentfspath = None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write one line about a measured case, the first under its comparison's heading."""
        line, result = _line(report), self.ship.results.get(_case_name(report.nodeid))
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if line is None or result is None or terminal is None or self.config.option.verbose < 0:
            return
        if self.config.option.verbose:
            terminal.write(f"\n  {line}")
            return
        heading = self.ship.headings.get((result.task, result.model, result.device), "")
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
        required = ship.options.ship_require and ship.selected
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


def status_reason(status: int, cases: Mapping[str, bool]) -> str:
    """Say why a run whose tests passed ends with NOT_DECIDED or NOT_DECIDABLE; `cases` are the session's open ones."""
    names = {name.partition(": ")[0]: repeatable for name, repeatable in cases.items()}
    again = [name for name, repeatable in names.items() if repeatable]
    never = [name for name, repeatable in names.items() if not repeatable]
    if not never:
        return f"exit status {status}: {'; '.join(again)}; running again may decide"
    also = f"; running again may only decide that {'; '.join(again)}" if again else ""
    return f"exit status {status}: {'; '.join(never)}; running again will not help: see the warnings above{also}"


def summary(ship: ShipSession, verbosity: int = 0) -> Iterator[str]:
    """Write every report, and yield the text for the end of the session; its last line is the run in one.

    With -v it has all tables, reasons and notes; with -q only the verdicts.
    """
    from harness.report import integrations, sentences, tables
    from harness.verdicts.comparability import comparisons
    from harness.verdicts.labels import label_notes

    results = ship.results.values()
    groups, regressions = list(comparisons(results)), {result.name: ship.regressions(result) for result in results}
    notes = sorted({f"{result.task}/{result.model}: {note}" for result in results for note in result.notes})
    if verbosity > 0:
        yield tables.terminal_text(results, ship.finals)
    else:
        yield tables.summary_table(groups, ship.finals)
    yield ""
    if verbosity == 0:
        yield from filter(None, map(sentences.obstacle, groups))
        yield from (f"{sentences.place(g)}: {text}" for g in groups for text in sentences.spread_of_seeds(g))
        # Texts about the rows are the same for every backend.
        yield from dict.fromkeys(f"{sentences.place(g)}: {text}" for g in groups for r in g for text in label_notes(r))
        # The failed test shows all problems.
        yield from (text.partition("; ")[0] for text in integrations.failures(groups, regressions))
        entries = [(held.task, entry) for held in ship.finals for entry in held.entries if entry.error]
        yield from (f"finals of {task}: {e.model} on {e.backend} failed: {e.error}" for task, e in entries)
    if verbosity >= 0 or ship.status:
        yield from [*ship.notes, *_warnings(ship.open_cases(brief=verbosity <= 0))]
        if ship.baseline is not None:
            yield from ship.baseline.notes(ship.results)
    if verbosity > 0:
        yield from notes
    elif notes and not verbosity:
        page = "" if ship.options.ship_no_page else ", or see report.html"
        yield f"{sessions.count(len(notes), 'note')} on rows, builds and rounds: run with -v{page}"
    files = _write_reports(ship, regressions)
    yield from (line for line in files if verbosity >= 0 or not line.startswith("wrote "))
    yield integrations.status_line(groups, regressions)


def _warnings(cases: Iterable[str]) -> Iterator[str]:
    """Yield a line for each remedy, with the cases that lack it; sentences read `name is undecided: remedy`."""
    ways: dict[str, list[str]] = {}
    for sentence in cases:
        name, colon, way = sentence.partition(": ")
        ways.setdefault(f"{colon}{way}", []).append(name)
    yield from (f"warning: {', '.join(names)}{way}" for way, names in ways.items())


def _write_reports(ship: ShipSession, regressions: dict[str, list[str]]) -> Iterator[str]:
    """Write the tables, the page, GitHub's job summary and the tracker's runs; yield a line about each."""
    from harness.report import files, integrations

    results, folder, options = ship.results.values(), ship.results_folder, ship.options
    machine = options.ship_machine

    written: list[Path] = []

    def attempt(report: str, write: Callable[[], Iterable[str] | None]) -> Iterator[str]:
        try:
            yield from write() or ()
        except HarnessError as error:
            yield f"no {report}: {error}"

    yield from attempt("tables", lambda: written.extend(files.write_tables(folder, machine)))
    if not options.ship_no_page:
        page = folder / machine / "report.html"
        yield from attempt("page", lambda: written.append(files.write_page(folder, page, machine)))
    for parent in dict.fromkeys(path.parent for path in written):
        names = ", ".join(path.name for path in written if path.parent == parent)
        yield f"wrote {names} to {min(os.path.relpath(parent), str(parent), key=len)}"
    if job := os.environ.get("GITHUB_STEP_SUMMARY", ""):
        text = integrations.github_summary(results, ship.finals, integrations.run_link(os.environ), regressions)
        try:
            with Path(job).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            yield f"nothing written to GITHUB_STEP_SUMMARY ({job}): {error}"
    if tracker := options.ship_track:
        runs = integrations.log_tables(tracker, results, ship.artifacts_folder)
        yield from attempt(f"run of {tracker}", lambda: (f"logged {run} to {tracker}" for run in runs))


def _case_name(nodeid: str) -> str:
    """Return the case in a test's id."""
    return nodeid.partition("[")[2][:-1]


def _line(report: object) -> str | None:
    """Return the line of a measured case, if the report is about one."""
    if not isinstance(report, pytest.TestReport) or report.when != "call":
        return None
    line = dict(report.user_properties).get("ship")
    return None if line is None else str(line)
