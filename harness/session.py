"""One pytest session's view of the pipeline: which cases were selected, and what is known of them by now."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bench import Outcome
from harness.environment import commit_of, describe, no_cuda, usable_cores
from harness.errors import HarnessError
from harness.progress import Progress
from harness.spec import Case

if TYPE_CHECKING:
    import pandas as pd

    from harness.baseline import Baseline
    from harness.schema import Result

LOCAL = "local"
MOST_THREADS = 8
CONSTRAINTS = ("max_latency_ms", "max_memory_mb", "max_size_mb")


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
    baseline: Baseline | None = None
    """Stored runs that results are held against."""

    @classmethod
    def from_options(cls, options: Namespace, root: Path, line: Sequence[str] = ()) -> ShipSession:
        """Called before pytest captures anything: the copy of stderr made here stays a terminal if it was one."""
        live = os.isatty(2) and not os.environ.get("PYTEST_XDIST_WORKER")
        return cls(options, root, Progress(os.fdopen(os.dup(2), "w") if live else None), _own_words(options, line))

    def close(self) -> None:
        """Release the terminal."""
        if self.progress.terminal is not None:
            self.progress.terminal.close()

    @property
    def results_folder(self) -> Path:
        """Where results go."""
        return self.options.ship_results or self.root / "results"

    def unwanted(self, cases: Sequence[Case]) -> set[str]:
        """Names of the cases that the options leave out; HarnessError for a backend that no case has."""
        known = sorted({case.backend.name for case in cases})
        wanted = self.options.ship_backends.split(",") if self.options.ship_backends else known
        unknown = [name for name in wanted if name not in known]
        if unknown and cases:
            raise HarnessError(f"--ship-backends: no backend {', '.join(unknown)}; there are {', '.join(known)}")
        device = self.options.ship_device
        return {str(c) for c in cases if c.backend.name not in wanted or device not in ("all", c.device)}

    def begin(self, selected: Sequence[tuple[Case, Path]]) -> None:
        """Preflight: HarnessError with everything that is wrong with the options and the selected cases."""
        # Threads that spin while they wait would make training several times slower beside any other load; OpenMP
        # reads this once, when whatever preflight imports loads it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from harness.preflight import check_cases

        self._check_options()
        for case, folder in selected:
            earlier, _ = self.selected.setdefault(str(case), (case, folder))
            if earlier != case:
                raise HarnessError(f"{case}: two suites declare different cases of this name; rename a task or a model")
        runnable = [(case, folder) for case, folder in selected if self.skip_reason(case) is None]
        if self.options.ship_baseline and runnable:
            self.baseline = self._stored([str(case) for case, _ in runnable])
        check_cases(runnable)

    def skip_reason(self, case: Case) -> str | None:
        """Why the case cannot run here, if so."""
        if case.device == "cuda" and (reason := no_cuda()) is not None:
            return reason
        return case.backend.unavailable(case.device) if case.backend.unavailable else None

    def outcome(self, case: Case, node: str) -> Outcome:
        """The case's result; runs its whole comparison unless this session has. `node` is the test's id."""
        if str(case) not in self.results:
            self._compare(case)
        again = shlex.join(["pytest", node, *self.given])
        return Outcome(self.results[str(case)], self._judged, again, self.baseline.proven if self.baseline else _none)

    def open_cases(self) -> list[str]:
        """What was selected and is not decided, or was not measured at all, each in a sentence."""
        from harness.judge import verdict

        told = []
        for result in self.results.values():
            found = verdict(result)
            if found is not None and found.word in ("undecided", "invalid"):
                told.append(f"{result.name} is {found.word}: {'; '.join(found.reasons)}")
        if self.baseline is not None:
            told += self.baseline.open(self.results)
        return told if self.results else ["nothing was measured: every case was skipped"]

    def line(self, case: Case) -> str:
        """What happened to the case, in a line."""
        from harness.report.tables import line

        return line(self.results[str(case)])

    def summary(self) -> Iterator[str]:
        """For the end of the session: tables, notes, and where the files are. Writes the tables."""
        from harness import report

        yield report.terminal(self.results.values())
        yield from (f"warning: {told}" for told in self.open_cases())
        if self.baseline is not None:
            yield from self.baseline.notes(self.results)
        yield from sorted({f"{r.task}/{r.model}: {note}" for r in self.results.values() for note in r.notes})
        try:
            written = report.write(self.results_folder, self.options.ship_machine)
        except HarnessError as error:
            yield f"no tables written: {error}"
        else:
            yield from (f"wrote {path}" for path in written)

    @property
    def _threads(self) -> int:
        return self.options.ship_threads or min(usable_cores(), MOST_THREADS)

    def _stored(self, names: Sequence[str]) -> Baseline:
        from harness.baseline import Baseline

        given = self.options
        found = Baseline.load(given.ship_baseline)
        found.check(names, describe(given.ship_machine, self._threads, self.root, given.ship_spin))
        return found

    def _compare(self, case: Case) -> None:
        from harness.pipeline import Comparison, Options, compare
        from harness.schema import Constraints

        chosen, folder = self.selected[str(case)]
        mates = [
            other
            for other, _ in self.selected.values()
            if (other.task, other.model, other.device) == (chosen.task, chosen.model, chosen.device)
        ]
        given = self.options
        options = Options(
            artifacts=given.ship_artifacts or self.root / ".artifacts",
            machine=given.ship_machine,
            threads=self._threads,
            spinning=given.ship_spin,
            starts=given.ship_starts,
            budget_s=given.ship_budget,
            timeout_s=given.ship_timeout,
            retrain=given.ship_retrain,
            tail=given.ship_tail,
            constraints=Constraints(**{name: getattr(given, f"ship_{name}") for name in CONSTRAINTS}),
        )
        compare(Comparison(tuple(mates), folder), options, self.progress, self._keep)

    def _keep(self, result: Result, answers: pd.DataFrame | None) -> None:
        from harness import results

        self.results[result.name] = result
        path = results.save(self.results_folder, result)
        results.save_answers(path, answers)

    def _judged(self, result: Result) -> None:
        from harness import results

        self.results[result.name] = result
        results.save(self.results_folder, result)

    def _check_options(self) -> None:
        given = self.options
        for name in ("threads", "budget", "starts", "timeout", *CONSTRAINTS):
            value = getattr(given, f"ship_{name}")
            if value is not None and value <= 0:
                raise HarnessError(f"--ship-{name.replace('_', '-')} {value:g}: must be positive")
        if given.ship_tail < 0:
            raise HarnessError(f"--ship-tail {given.ship_tail}: a number of calls, 459 for the 99th percentile")
        if given.ship_threads and given.ship_threads > usable_cores():
            raise HarnessError(f"--ship-threads {given.ship_threads}: this process may use {usable_cores()} cores")
        if not given.ship_machine.replace("-", "").replace("_", "").isalnum():
            raise HarnessError(f"--ship-machine {given.ship_machine!r}: use letters, digits, '-' and '_'")
        commit, dirty = commit_of(self.root)
        if given.ship_machine != LOCAL and (dirty or commit is None):
            raise HarnessError(
                f"--ship-machine {given.ship_machine}: results under a name are for others to rely on, and the tree "
                f"{'has changes that no commit holds' if commit else 'is under no commit'}; commit or stash them, or "
                "leave the machine unnamed"
            )


def _none(result: Result) -> list[str]:
    return []


def _own_words(options: Namespace, line: Sequence[str]) -> tuple[str, ...]:
    """This project's options as they stand on the command line, each with its value."""
    found: list[str] = []
    for at, word in enumerate(line):
        if word.startswith("--ship-"):
            name, equals, _ = word.partition("=")
            alone = equals or isinstance(getattr(options, name[2:].replace("-", "_"), True), bool)
            found += line[at : at + (1 if alone else 2)]
    return tuple(found)
