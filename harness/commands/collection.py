"""The cases of a suite, as pytest itself collects them, for commands that are not pytest."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.pytest_plugin.plugin import SHIP, case_of
from harness.spec import Case


@dataclass
class Collected:
    """A plug-in of pytest's that remembers what was collected."""

    cases: list[tuple[Case, Path]] = field(default_factory=list)
    """Each with its suite's folder."""
    artifacts: Path = Path(".artifacts")
    """Where a run of pytest would keep checkpoints."""
    errors: list[str] = field(default_factory=list)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember what could not be collected, and why."""
        if report.failed:
            self.errors.append(f"{report.nodeid}: {report.longreprtext.strip()}")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember the cases that are left after -k and the options."""
        self.artifacts = session.config.stash[SHIP].artifacts_folder
        self.cases = [(case, item.path.parent) for item in session.items if (case := case_of(item)) is not None]


def collect(suite: str, expression: str | None = None) -> Collected:
    """The cases of `suite`, a file, folder or test id, that pytest's `-k expression` selects.

    HarnessError where there is no such suite, it cannot be collected, or nothing is selected.
    """
    if not Path(suite.partition("::")[0]).exists():
        raise HarnessError(f"{suite}: no such suite")
    found = Collected()
    chosen = ["-k", expression] if expression else []
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        status = pytest.main(
            [suite, "--collect-only", "-q", "-p", "harness.pytest_plugin.plugin", *chosen], plugins=[found]
        )
    if found.errors:
        raise HarnessError("\n".join(found.errors))
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise HarnessError(f"{suite} cannot be collected: {said.getvalue().strip().removeprefix('ERROR: ')}")
    if not found.cases:
        raise HarnessError(f"{suite}: no case{f' matches -k {expression!r}' if expression else ' in it'}")
    return found
