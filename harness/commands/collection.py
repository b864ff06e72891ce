"""The cases of a suite, collected by pytest, for commands that are not pytest."""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.backends.variants import unavailable_reason
from harness.errors import HarnessError
from harness.pipeline.state import Options
from harness.pytest_plugin import options as pytest_options
from harness.pytest_plugin.hooks import session_of
from harness.pytest_plugin.items import cases_of
from harness.pytest_plugin.preflight import check_cases
from harness.spec import Case
from harness.util.console import Progress
from harness.util.machine import LOCAL, no_cuda, usable_cores


@dataclass
class Collection:
    """A pytest plug-in that keeps the cases that pytest collects."""

    cases: list[tuple[Case, Path]] = field(default_factory=list)
    """Each with its suite's folder."""
    artifacts: Path = Path(".artifacts")
    """The folder of checkpoints and artifacts."""
    errors: list[str] = field(default_factory=list)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep the errors of modules that cannot be collected."""
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.strip()}")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the cases that -k and the options leave."""
        self.cases = [(case, item.path.parent) for item, case in cases_of(session.items).items()]
        if self.cases:
            self.artifacts = session_of(session.config).artifacts_folder


def declare_suite(parser: ArgumentParser) -> None:
    """Declare the arguments of a command that runs a suite's cases."""
    parser.add_argument("suite", help="file, folder or test id of the suite")
    parser.add_argument("-k", dest="expression", metavar="EXPR", help="select cases as pytest's -k does")
    backends = "choose among these backends: names, `default` or `all` (default: default)"
    parser.add_argument("--ship-backends", metavar="A,B", help=backends)
    kept = "keep checkpoints and artifacts in DIR"
    parser.add_argument("--ship-artifacts", type=pytest_options.folder_of, metavar="DIR", help=kept)
    parser.add_argument("--ship-threads", type=int, metavar="N", help="use N threads (default: all cores, at most 8)")


def select(options: Namespace, budget_s: float = 60.0) -> tuple[list[tuple[Case, Path]], Options]:
    """Return the selected cases, ready to run, and the pipeline's options; HarnessError for a bad choice of either."""
    cores = usable_cores()
    if options.ship_threads is not None and not 1 <= options.ship_threads <= cores:
        raise HarnessError(f"--ship-threads {options.ship_threads}: must be at most {cores}, the usable cores")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before anything loads OpenMP; see ShipSession.begin
    collection = collect(options.suite, options.expression, options.ship_backends)
    progress, artifacts = stderr_progress(), options.ship_artifacts or collection.artifacts
    for note in check_cases(collection.cases, progress, {artifacts: "--ship-artifacts"}):
        progress.say(note)
    return collection.cases, Options(
        artifacts=artifacts,
        machine=LOCAL,
        threads=pytest_options.threads(options),
        spinning=False,
        launches=4,
        budget_s=budget_s,
        timeout_s=300.0,
        retrain=False,
    )


def collect(suite: str, expression: str | None = None, backends: str | None = None) -> Collection:
    """Collect the cases of a suite (file, folder or test id) that `-k expression` and `--ship-backends` select.

    Raise HarnessError if the suite does not exist, cannot be collected, or no case is selected.
    """
    if not Path(suite.partition("::")[0]).exists():
        raise HarnessError(f"{suite}: no such suite; give a file, a folder or a test id")
    collection = Collection()
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(output):
        words = [
            suite,
            "--collect-only",
            "-q",
            "--ship-full",
            "-k",
            expression or "",
            f"--ship-backends={backends or 'default'}",
        ]
        status = pytest.main(words, plugins=[collection])
    if collection.errors:
        raise HarnessError("\n".join(collection.errors))
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        problem = output.getvalue().strip().rpartition("ERROR: ")[2]
        raise HarnessError(f"{suite} cannot be collected: {problem}")
    if not collection.cases:
        problem = f"no case matches -k {expression!r}" if expression else "no test is parametrized with cases(…)"
        raise HarnessError(
            f"{suite}: {problem}; run pytest --collect-only {suite} to see its tests, and name backends that are no "
            "default with --ship-backends"
        )
    return collection


def single_case(command: str, suite: str, cases: list[tuple[Case, Path]]) -> tuple[Case, Path]:
    """Return the one selected case and its folder; raise HarnessError if there are more or it cannot run here."""
    if len(cases) > 1:
        names = ", ".join(str(case) for case, _ in cases[:10]) + (", …" if len(cases) > 10 else "")
        raise HarnessError(
            f"{suite}: {command} takes one case, and {len(cases)} are selected: {names}; select one with -k"
        )
    case, folder = cases[0]
    reason = (no_cuda() if case.device == "cuda" else None) or unavailable_reason(case.backend, case.device)
    if reason is not None:
        raise HarnessError(f"{case} cannot run here; choose another with -k: {reason}")
    return case, folder


def stderr_progress() -> Progress:
    """Return the progress of a command: lines on stderr, and a bar if it is a terminal."""
    return Progress(sys.stderr if sys.stderr.isatty() else None, log=sys.stderr)
