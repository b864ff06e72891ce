"""One pytest session: the selected cases, the comparisons they fall into, and the results so far."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.backends.variants import unavailable_reason
from harness.errors import HarnessError
from harness.pytest_plugin import options
from harness.pytest_plugin.bench import Outcome
from harness.spec import Case
from harness.util import files
from harness.util.console import Progress
from harness.util.machine import describe, no_cuda

if TYPE_CHECKING:
    import pandas as pd

    from harness.pipeline.state import Comparison, Options
    from harness.regression.baseline import Baseline
    from harness.results.schema import Finals, Result

GROUPS = ("default", "all")
"""Words that `--ship-backends` takes besides names."""


def unwanted(cases: Sequence[Case], namespace: Namespace) -> set[str]:
    """Return the names of the cases that the options leave out; HarnessError for a backend that no case has."""
    backends = {case.backend.name for case in cases}
    names = (namespace.ship_backends or "default").split(",")
    unknown = [name for name in names if name not in (*backends, *GROUPS)]
    if unknown and cases:
        raise HarnessError(
            f"--ship-backends: unknown backend {', '.join(unknown)}; expected some of "
            f"{', '.join((*sorted(backends), *GROUPS))}"
        )
    device = namespace.ship_device
    return {str(case) for case in cases if not _is_wanted(case, names) or device not in ("all", case.device)}


def _is_wanted(case: Case, names: Sequence[str]) -> bool:
    # A backend that one suite measures on request may be another suite's own.
    return case.backend.name in names or "all" in names or ("default" in names and not case.on_request)


def skip_reason(case: Case, namespace: Namespace) -> str | None:
    """Return why the case cannot run here, if so."""
    if case.device == "cuda" and (reason := no_cuda()) is not None:
        return reason
    if case.reads_hub and not namespace.ship_hub:
        return "reads the Hugging Face Hub; run with --ship-hub"
    return unavailable_reason(case.backend, case.device)


def comparison_of(case: Case, selected: Iterable[Case], namespace: Namespace) -> tuple[Case, ...]:
    """Return the selected cases that share the case's rounds and can run here, itself included."""
    place = (case.task, case.model, case.device)
    mates = (mate for mate in selected if (mate.task, mate.model, mate.device) == place)
    return tuple(mate for mate in mates if skip_reason(mate, namespace) is None)


@dataclass
class ShipSession:
    """Measures a whole comparison when the first of its cases is run."""

    options: Namespace
    """pytest's; this plug-in's begin with `ship_`."""
    root: Path
    progress: Progress
    arguments: tuple[str, ...] = ()
    """This plug-in's options as they stand on the command line."""
    selected: dict[str, tuple[Case, Path]] = field(default_factory=dict)
    """Name → case, and its suite's folder."""
    results: dict[str, Result] = field(default_factory=dict)
    finals: list[Finals] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Sentences for the summary about failures that are no case's own."""
    resumed: list[str] = field(default_factory=list)
    """With `--ship-resume`: the comparisons taken from disk, and why others were measured again."""
    baseline: Baseline | None = None
    """Stored runs that the results are compared with."""

    @classmethod
    def from_options(cls, namespace: Namespace, root: Path, arguments: Sequence[str] = ()) -> ShipSession:
        """Create the session while pytest does not capture: the copy of stderr stays a terminal if it was one.

        pytest captures inside tests and while it imports test modules, but not when it announces a collected item.
        """
        live = os.isatty(2) and not os.environ.get("PYTEST_XDIST_WORKER")
        progress = Progress(os.fdopen(os.dup(2), "w") if live else None)
        return cls(namespace, root, progress, options.ship_arguments(namespace, arguments))

    def close(self) -> None:
        """Release the terminal, and remove locks that no other process holds."""
        if self.selected:
            self._sweep()
        if self.progress.terminal is not None:
            self.progress.terminal.close()

    @property
    def results_folder(self) -> Path:
        """The folder of results."""
        return self.options.ship_results or self.root / "results"

    @property
    def artifacts_folder(self) -> Path:
        """The folder of checkpoints and artifacts."""
        return self.options.ship_artifacts or self.root / ".artifacts"

    def begin(self, selected: Sequence[tuple[Case, Path]]) -> None:
        """Raise HarnessError with every problem of the options and of the selected cases."""
        # Threads that spin while they wait would make training several times slower beside any other load; OpenMP
        # reads this once, when the imports of the preflight load it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        options.check(self.options, self.root)
        self._sweep()
        for case, folder in selected:
            earlier, _ = self.selected.setdefault(str(case), (case, folder))
            if earlier != case:
                raise HarnessError(f"{case}: two suites declare different cases of this name; rename a task or a model")
        runnable = [(case, folder) for case, folder in selected if skip_reason(case, self.options) is None]
        if not runnable:  # saves a session that only skips the imports below
            return
        if self.options.ship_baseline:
            from harness.regression.baseline import Baseline

            threads = options.threads(self.options)
            here = describe(self.options.ship_machine, threads, self.root, self.options.ship_spin)
            self.baseline = Baseline.load(self.options.ship_baseline)
            self.baseline.check([str(case) for case, _ in runnable], here)
        from harness.pytest_plugin.preflight import check_cases

        check_cases(runnable)

    def outcome(self, case: Case, node: str) -> Outcome:
        """Return the case's outcome; run its comparison unless this session has. `node` is the test's id."""
        if str(case) not in self.selected:
            raise HarnessError(f"{case}: not collected; use @pytest.mark.parametrize('case', cases(…), ids=str)")
        if str(case) not in self.results:
            self._compare(case)
        again = shlex.join(["pytest", node, *self.arguments])
        result = self.results[str(case)]
        return Outcome(result, again, tuple(self.regressions(result)), self._log(case))

    def regressions(self, result: Result) -> list[str]:
        """Return the result's proven regressions against the baseline, one sentence each."""
        return self.baseline.regressions(result) if self.baseline else []

    def line(self, case: Case) -> str:
        """Return the case's line for the terminal."""
        from harness.report.tables import case_line

        log = self._log(case)
        return case_line(self.results[str(case)]) + (f" (full log: {log})" if log else "")

    def properties(self, case: Case) -> list[tuple[str, str]]:
        """Return the case's figures for JUnit's XML, as names and plain values."""
        from harness.report.integrations import junit_properties

        result = self.results[str(case)]
        regressions = [("ship_regressed", sentence) for sentence in self.regressions(result)]
        return [*junit_properties(result).items(), *regressions]

    def pipeline_options(self) -> Options:
        """Return the options in the form the pipeline takes."""
        return options.pipeline_options(self.options, self.artifacts_folder)

    def note_resumed(self, name: str, created: str) -> None:
        """Note and say that something from an earlier session is used."""
        self.resumed.append(f"{name}: taken from {created}, not measured again")
        self.progress.say(self.resumed[-1])

    def _compare(self, case: Case) -> None:
        from harness.pipeline.compare import compare
        from harness.pipeline.state import Comparison
        from harness.pytest_plugin import resume

        chosen, folder = self.selected[str(case)]
        mates = comparison_of(chosen, (mate for mate, _ in self.selected.values()), self.options)
        settings = self.pipeline_options()
        comparison = Comparison(mates, folder, resume.comparison_fingerprint(mates, folder, settings))
        if not (self.options.ship_resume and self._resume(comparison, settings)):
            compare(comparison, settings, self.progress, self._keep)

    def _resume(self, comparison: Comparison, settings: Options) -> bool:
        """Take the comparison's results from an earlier session; return whether all of them are still valid."""
        from harness.pytest_plugin import resume

        first = comparison.cases[0]
        name = f"{first.task.name}/{first.model.name} on {first.device}"
        here = describe(settings.machine, settings.threads, comparison.folder, settings.spinning)
        folder = self.results_folder / settings.machine
        try:
            results = resume.valid_results(comparison.cases, folder, comparison.fingerprint, here)
        except HarnessError as reason:
            self.resumed.append(f"{name}: measured again: {reason}")
            return False
        self.results |= {result.name: result for result in results}
        self.note_resumed(name, results[0].created)
        return True

    def _keep(self, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
        from harness.results import store

        self.results[result.name] = result
        store.keep(self.results_folder, result, answers, trace)

    def _log(self, case: Case) -> Path | None:
        """Return the file with the traceback and the worker's output, if the case failed."""
        from harness.results import store

        path = store.failure_log(self.results_folder, self.results[str(case)])
        return path.relative_to(self.root) if path and path.is_relative_to(self.root) else path

    def _sweep(self) -> None:
        """Remove what killed sessions left behind."""
        files.sweep_results(self.results_folder)
        files.sweep_store(self.artifacts_folder)
