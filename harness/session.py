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
from harness.environment import commit_of, no_cuda, usable_cores
from harness.errors import HarnessError
from harness.progress import Progress
from harness.spec import Case

if TYPE_CHECKING:
    import pandas as pd

    from harness.finals import Finals
    from harness.pipeline import Options
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
    finals: list[Finals] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    """What the end of the session should say went wrong, beside the cases' own failures."""

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
        check_cases([(case, folder) for case, folder in selected if self.skip_reason(case) is None])

    def skip_reason(self, case: Case) -> str | None:
        """Why the case cannot run here, if so."""
        if case.device == "cuda" and (reason := no_cuda()) is not None:
            return reason
        return case.backend.unavailable(case.device) if case.backend.unavailable else None

    def outcome(self, case: Case, node: str) -> Outcome:
        """The case's result; runs its whole comparison unless this session has. `node` is the test's id."""
        if str(case) not in self.results:
            self._compare(case)
        return Outcome(self.results[str(case)], self._judged, shlex.join(["pytest", node, *self.given]))

    def open_cases(self) -> list[str]:
        """What was selected and is not decided, or was not measured at all, each in a sentence."""
        from harness.judge import verdict

        told = []
        for result in self.results.values():
            found = verdict(result)
            if found is not None and found.word in ("undecided", "invalid"):
                told.append(f"{result.name} is {found.word}: {'; '.join(found.reasons)}")
        return told if self.results else ["nothing was measured: every case was skipped"]

    def hold_finals(self) -> None:
        """Measure the models of each task against each other, where this session recommends a backend for several."""
        from harness import contest, results
        from harness.compare import comparisons, recommend

        groups: dict[tuple[str, str], list[list[Result]]] = {}
        for group in comparisons(self.results.values()):
            groups.setdefault((group[0].task, group[0].device), []).append(group)
        order = list(dict.fromkeys(case.model.name for case, _ in self.selected.values()))
        for (task, device), found in groups.items():
            entrants, absent = [], {}
            for group in sorted(found, key=lambda group: order.index(group[0].model)):
                chosen, why = recommend(group)
                if chosen is None:
                    absent[group[0].model] = why
                else:
                    entrants.append(contest.Entrant(*self.selected[chosen.name]))
            if len(entrants) < 2:
                continue
            try:
                finals = contest.hold(entrants, absent, self._pipeline_options(), self.progress)
                results.save_finals(self.results_folder, finals)
            except HarnessError as error:
                self.trouble.append(f"no finals of {task} on {device}: {error}")
            else:
                self.finals.append(finals)

    def line(self, case: Case) -> str:
        """What happened to the case, in a line."""
        from harness.report.tables import line

        return line(self.results[str(case)])

    def summary(self) -> Iterator[str]:
        """For the end of the session: tables, notes, and where the files are. Writes the tables."""
        from harness import report

        yield report.terminal(self.results.values(), self.finals)
        yield from self.trouble
        yield from (f"warning: {told}" for told in self.open_cases())
        yield from sorted({f"{r.task}/{r.model}: {note}" for r in self.results.values() for note in r.notes})
        try:
            written = report.write(self.results_folder, self.options.ship_machine)
        except HarnessError as error:
            yield f"no tables written: {error}"
        else:
            yield from (f"wrote {path}" for path in written)

    def _compare(self, case: Case) -> None:
        from harness.pipeline import Comparison, compare

        chosen, folder = self.selected[str(case)]
        mates = [
            other
            for other, _ in self.selected.values()
            if (other.task, other.model, other.device) == (chosen.task, chosen.model, chosen.device)
        ]
        compare(Comparison(tuple(mates), folder), self._pipeline_options(), self.progress, self._keep)

    def _pipeline_options(self) -> Options:
        from harness.pipeline import Options
        from harness.schema import Constraints

        given = self.options
        return Options(
            artifacts=given.ship_artifacts or self.root / ".artifacts",
            machine=given.ship_machine,
            threads=given.ship_threads or min(usable_cores(), MOST_THREADS),
            spinning=given.ship_spin,
            starts=given.ship_starts,
            budget_s=given.ship_budget,
            timeout_s=given.ship_timeout,
            retrain=given.ship_retrain,
            tail=given.ship_tail,
            constraints=Constraints(**{name: getattr(given, f"ship_{name}") for name in CONSTRAINTS}),
            seeds=given.ship_seeds,
        )

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
        for name in ("threads", "budget", "starts", "timeout", "seeds", *CONSTRAINTS):
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


def _own_words(options: Namespace, line: Sequence[str]) -> tuple[str, ...]:
    """This project's options as they stand on the command line, each with its value."""
    found: list[str] = []
    for at, word in enumerate(line):
        if word.startswith("--ship-"):
            name, equals, _ = word.partition("=")
            alone = equals or isinstance(getattr(options, name[2:].replace("-", "_"), True), bool)
            found += line[at : at + (1 if alone else 2)]
    return tuple(found)
