"""Which cases a session measures, and why it leaves out the others.

ALSO: One pytest session's view of the pipeline: which cases were selected, and what is known of them by now."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.backends.variants import lacking
from harness.errors import HarnessError
from harness.pytest_plugin import options
from harness.pytest_plugin.bench import Outcome
from harness.spec import Case
from harness.util.console import Progress
from harness.util.machine import describe, no_cuda

if TYPE_CHECKING:
    import pandas as pd

    from harness.pipeline.plan import Comparison, Options
    from harness.regression.baseline import Baseline
    from harness.results.schema import Finals, Result

GROUPS = ("default", "all")
"""What `--ship-backends` knows beside names."""


def unwanted(cases: Sequence[Case], given: Namespace) -> set[str]:
    """Names of the cases that the options leave out; HarnessError for a backend that no case has."""
    known = {case.backend.name for case in cases}
    named = (given.ship_backends or "default").split(",")
    unknown = [name for name in named if name not in (*known, *GROUPS)]
    if unknown and cases:
        raise HarnessError(
            f"--ship-backends: no backend {', '.join(unknown)}; there are {', '.join(sorted(known))}; and default, all"
        )
    device = given.ship_device
    return {str(c) for c in cases if not _is_asked(c, named) or device not in ("all", c.device)}


def _is_asked(case: Case, named: Sequence[str]) -> bool:
    """Whether its backend is among those named; what one suite has on request may be another one's own."""
    return case.backend.name in named or "all" in named or ("default" in named and not case.on_request)


def skip_reason(case: Case, given: Namespace) -> str | None:
    """Why the case cannot run here, if so."""
    if case.device == "cuda" and (reason := no_cuda()) is not None:
        return reason
    if case.reads_hub and not given.ship_hub:
        return "it reads the Hugging Face Hub, and --ship-hub was not given"
    return lacking(case.backend, case.device)


def comparison_of(case: Case, selected: Iterable[Case], given: Namespace) -> tuple[Case, ...]:
    """The selected cases, this one among them, that are measured in its rounds; those of them that can run here."""
    place = (case.task, case.model, case.device)
    mates = (one for one in selected if (one.task, one.model, one.device) == place)
    return tuple(one for one in mates if skip_reason(one, given) is None)


@dataclass
class ShipSession:
    """Results are made comparison by comparison, when the first of its cases is asked for."""

    options: Namespace
    """pytest's; this project's begin with `ship_`."""
    root: Path
    progress: Progress
    given: tuple[str, ...] = ()
    """The options of this project on the command line, as they were written."""
    selected: dict[str, tuple[Case, Path]] = field(default_factory=dict)
    """Name → case, and its suite's folder."""
    results: dict[str, Result] = field(default_factory=dict)
    finals: list[Finals] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    """What the end of the session should say went wrong, beside the cases' own failures."""
    resumed: list[str] = field(default_factory=list)
    """With `--ship-resume`: which comparisons were taken from disk, and why others were not."""
    baseline: Baseline | None = None
    """Stored runs that results are held against."""

    @classmethod
    def from_options(cls, given: Namespace, root: Path, line: Sequence[str] = ()) -> ShipSession:
        """Called before pytest captures anything: the copy of stderr made here stays a terminal if it was one."""
        live = os.isatty(2) and not os.environ.get("PYTEST_XDIST_WORKER")
        return cls(given, root, Progress(os.fdopen(os.dup(2), "w") if live else None), options.own_words(given, line))

    def close(self) -> None:
        """Release the terminal, and leave no lock behind that nobody needs."""
        if self.selected:
            self._sweep()
        if self.progress.terminal is not None:
            self.progress.terminal.close()

    @property
    def results_folder(self) -> Path:
        """Where results go."""
        return self.options.ship_results or self.root / "results"

    @property
    def artifacts_folder(self) -> Path:
        """Where checkpoints and artifacts are kept."""
        return self.options.ship_artifacts or self.root / ".artifacts"

    def begin(self, selected: Sequence[tuple[Case, Path]]) -> None:
        """Preflight: HarnessError with everything that is wrong with the options and the selected cases."""
        # Threads that spin while they wait would make training several times slower beside any other load; OpenMP
        # reads this once, when whatever preflight imports loads it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        options.check(self.options, self.root)
        self._sweep()
        for case, folder in selected:
            earlier, _ = self.selected.setdefault(str(case), (case, folder))
            if earlier != case:
                raise HarnessError(f"{case}: two suites declare different cases of this name; rename a task or a model")
        runnable = [(case, folder) for case, folder in selected if skip_reason(case, self.options) is None]
        if self.options.ship_baseline and runnable:
            self.baseline = self._stored([str(case) for case, _ in runnable])
        if runnable:  # whoever has nothing to run need not wait for the imports either
            from harness.pytest_plugin.preflight import check_cases

            check_cases(runnable)

    def outcome(self, case: Case, node: str) -> Outcome:
        """The case's result; runs its whole comparison unless this session has. `node` is the test's id."""
        if str(case) not in self.results:
            self._compare(case)
        again = shlex.join(["pytest", node, *self.given])
        result = self.results[str(case)]
        regressions = self.baseline.proven(result) if self.baseline else ()
        return Outcome(result, again, tuple(regressions), self._log(case))

    def line(self, case: Case) -> str:
        """What happened to the case, in a line."""
        from harness.report.tables import line

        log = self._log(case)
        return line(self.results[str(case)]) + (f" (all of it: {log})" if log else "")

    def _log(self, case: Case) -> Path | None:
        """The file with the whole story of the case's failure, if it failed."""
        from harness.results import store

        path = store.story(self.results_folder, self.results[str(case)])
        return path.relative_to(self.root) if path and path.is_relative_to(self.root) else path

    def properties(self, case: Case) -> list[tuple[str, str]]:
        """For JUnit's XML: what happened to the case, as names and plain values."""
        from harness.report import properties

        result = self.results[str(case)]
        worse = self.baseline.proven(result) if self.baseline else []
        return [*properties(result).items(), *(("ship_regressed", told) for told in worse)]

    def _stored(self, names: Sequence[str]) -> Baseline:
        from harness.regression.baseline import Baseline

        given = self.options
        found = Baseline.load(given.ship_baseline)
        found.check(names, describe(given.ship_machine, options.threads(given), self.root, given.ship_spin))
        return found

    def _compare(self, case: Case) -> None:
        from harness.pipeline.compare import compare
        from harness.pipeline.plan import Comparison
        from harness.pytest_plugin import resume

        chosen, folder = self.selected[str(case)]
        mates = comparison_of(chosen, (other for other, _ in self.selected.values()), self.options)
        given = self.pipeline_options()
        comparison = Comparison(mates, folder, resume.inputs(mates, folder, given))
        if not (self.options.ship_resume and self._take(comparison, given)):
            compare(comparison, given, self.progress, self._keep)

    def pipeline_options(self) -> Options:
        """What the pipeline is told of the options."""
        return options.of_pipeline(self.options, self.artifacts_folder)

    def _take(self, comparison: Comparison, options: Options) -> bool:
        """Whether results of an earlier session stand for the comparison, which it then need not measure again."""
        from harness.pytest_plugin import resume

        first = comparison.cases[0]
        name = f"{first.task.name}/{first.model.name} on {first.device}"
        here = describe(options.machine, options.threads, comparison.folder, options.spinning)
        folder = self.results_folder / options.machine
        try:
            found = resume.standing(comparison.cases, folder, comparison.inputs, here)
        except HarnessError as why:
            self.resumed.append(f"{name}: measured, as {why}")
            return False
        self.results |= {result.name: result for result in found}
        self.say_taken(name, found[0].created)
        return True

    def say_taken(self, name: str, created: str) -> None:
        """Tell that something of an earlier session stands."""
        self.resumed.append(f"{name}: taken from {created}, not measured again")
        self.progress.say(self.resumed[-1])

    def _sweep(self) -> None:
        """Remove what killed sessions left behind."""
        from harness.util import files

        files.sweep_results(self.results_folder)
        files.sweep_store(self.artifacts_folder)

    def _keep(self, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
        from harness.results import store

        self.results[result.name] = result
        store.keep(self.results_folder, result, answers, trace)
