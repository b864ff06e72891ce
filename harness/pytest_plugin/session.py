"""One pytest session: the selected cases, the machines that measure them, and what is open at the end."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pytest_plugin import options
from harness.pytest_plugin.bench import Outcome
from harness.pytest_plugin.cluster_machine import connect
from harness.pytest_plugin.context import Context
from harness.pytest_plugin.machine import Machine
from harness.pytest_plugin.selection import Selected, place_of, skip_reason
from harness.spec import Case, Task
from harness.util.console import Progress, format_seconds
from harness.util.files import sweep_results, sweep_store
from harness.util.text import count

if TYPE_CHECKING:
    from harness.pytest_plugin.shards import Shard
    from harness.results.schema import Finals, Result


@dataclass
class ShipSession(Context):
    """The selected cases, the machines that measure them, and what is open at the end."""

    items: dict[str, Selected] = field(default_factory=dict)
    """A test's id → its case."""
    selected: dict[tuple[str, str], Selected] = field(default_factory=dict)
    """The same by machine and name."""
    machines: dict[str, Machine] = field(default_factory=dict)
    """Those that can run a case, by name."""
    status: int = 0
    """Exit status instead of pytest's where required decisions are missing; 0 if none is."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Option that selects more cases → how many it would add."""

    @classmethod
    def from_options(cls, namespace: Namespace, root: Path, arguments: Sequence[str] = ()) -> ShipSession:
        """Create the session while pytest does not capture, so that the copy of stderr stays a terminal if it was one.

        pytest captures inside tests and while it imports test modules, but not when it announces a collected item.
        """
        stderr = os.fdopen(os.dup(2), "w", errors="backslashreplace")
        live = os.isatty(2) and not os.environ.get("PYTEST_XDIST_WORKER")
        progress = Progress(stderr) if live else Progress(log=stderr)
        return cls(namespace, root, progress, options.ship_arguments(namespace, arguments))

    def close(self) -> None:
        """Leave the cluster, release the terminal, and remove locks that no other process holds."""
        for machine in self.machines.values():
            machine.close()
        if self.items:
            self._sweep()
        for stream in (self.progress.terminal, self.progress.log):
            if stream is not None:
                stream.close()

    @property
    def results(self) -> list[Result]:
        """The results so far, machine by machine."""
        return [result for machine in self.machines.values() for result in machine.results.values()]

    def result(self, test: str) -> Result | None:
        """Return the result of a test's case, by the test's id, once it is there."""
        item = self.items.get(test)
        machine = self.machines.get(item.machine) if item else None
        return machine.results.get(str(item.case)) if item and machine else None

    @property
    def finals(self) -> list[Finals]:
        """The finals of all machines."""
        return [held for machine in self.machines.values() for held in machine.finals]

    def take_shard(self, cases: Sequence[Case]) -> Shard:
        """Deal the tasks of the cases out, and keep this session's; HarnessError for an option that makes no sense."""
        from harness.pytest_plugin.shards import take

        runnable = [case for case in cases if skip_reason(case, self.options) is None]
        results, with_hub = self.root / "results", self.options.ship_hub
        self.shard = take(self.options.ship_shard, cases, runnable, results, with_hub)
        return self.shard

    def begin(self, items: Mapping[str, Selected]) -> None:
        """Raise HarnessError with every problem of the options and of the selected cases; send them to a cluster."""
        # Spinning threads would slow training several times beside any other load. OpenMP reads this once, when the
        # preflight's imports load it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        options.check(self.options, self.root)
        self._sweep()
        self.items = dict(items)
        self.selected = {(one.machine, str(one.case)): one for one in items.values()}
        self._check_names()
        self._check_batches()
        runnable = [one for one in items.values() if skip_reason(one.case, self.options) is None]
        if not runnable:  # saves a session that only skips the imports below
            return
        self._open_machines(runnable)
        for machine in self.machines.values():
            machine.begin()

    def _open_machines(self, runnable: Sequence[Selected]) -> None:
        """Create the machines that can run a case; check stored runs, rows and models, and the cluster's nodes."""
        stored = None
        if self.options.ship_baseline:
            from harness.regression.baseline import Baseline

            stored = Baseline.load(self.options.ship_baseline)
        selected: dict[str, dict[str, Selected]] = {}
        for one in runnable:
            selected.setdefault(one.machine, {})[str(one.case)] = one
        if not self.options.ship_ray:
            self.machines |= {name: Machine(name, self, cases) for name, cases in selected.items()}
            for machine in self.machines.values():
                machine.take_baseline(stored)
        self._preflight(runnable)
        if self.options.ship_ray:
            self.machines |= connect(self, selected)
            for machine in self.machines.values():
                machine.take_baseline(stored)
        self.comparisons = sum(len(machine.places) for machine in self.machines.values())

    def _preflight(self, runnable: Sequence[Selected]) -> None:
        from harness.pytest_plugin.preflight import check_cases

        # A folder of results that is there may be another user's.
        tasks = [self.results_folder / one.machine / one.case.task.name for one in runnable]
        places = dict.fromkeys(tasks, "--ship-results") | {self.artifacts_folder: "--ship-artifacts"}
        cases = {str(one.case): (one.case, one.folder) for one in runnable}
        for note in check_cases(list(cases.values()), self.progress, places, self.remote):
            self.progress.say(note)

    def _check_names(self) -> None:
        """Raise HarnessError unless names of cases and of tasks mean one thing each."""
        selected: dict[str, Case] = {}
        declared: dict[str, tuple[Task, Path]] = {}
        for case, *_ in self.items.values():
            if selected.setdefault(str(case), case) != case:
                raise HarnessError(f"{case}: two suites declare different cases of this name; rename a task or a model")
        for case, folder, *_ in self.items.values():
            if declared.setdefault(case.task.name, (case.task, folder)) != (case.task, folder):
                raise HarnessError(
                    f"task {case.task.name}: two suites declare different tasks of this name, in "
                    f"{declared[case.task.name][1]} and {folder}; their results would overwrite each other: rename one"
                )

    def _check_batches(self) -> None:
        """Raise HarnessError unless a run measures what gates judge, and those of one comparison judge one batch."""
        judged: dict[tuple[str, str, str], int] = {}
        for case, *_ in self.items.values():
            batch = case.batches(options.batch_sizes(self.options))[0]
            if judged.setdefault(place_of(case), batch) != batch:
                raise HarnessError(
                    f"{case}: its gate judges speed at batch {batch}, that of another backend of its comparison at "
                    f"batch {judged[place_of(case)]}; declare one batch for all backends of a model"
                )

    def plan(self, selected: Collection[Selected], earlier: Mapping[str, float]) -> list[str]:
        """Say what will run, what is skipped and why, and what was left out; `earlier` are seconds of earlier runs."""
        machines = dict.fromkeys(one.machine for one in selected)
        cases = list({str(one.case): one.case for one in selected}.values())
        reasons = [skip_reason(case, self.options) for case in cases]
        run = [case for case, reason in zip(cases, reasons, strict=True) if reason is None]
        lines = [self.shard.sentence] if self.shard else []
        lines += [f"skipped: {count(n, 'case')}: {reason}" for reason, n in Counter(reasons).items() if reason]
        if self.left_out:
            more = ", ".join(f"{count(n, 'case')} (run with {option})" for option, n in self.left_out.items())
            lines.append(f"left out: {more}")
        if not run:
            return lines
        places = dict.fromkeys(place_of(case) for case in run)
        devices = " and ".join(dict.fromkeys(case.device for case in run))
        threads = "each node's own threads" if self.options.ship_ray else count(options.threads(self.options), "thread")
        text = f"shipbench: {count(len(places), 'comparison')} of {count(len(run), 'case')} on {devices}, {threads}"
        if len(machines) > 1:
            text += f", on each of {', '.join(machines)}"
        names = [f"{task}/{model} on {device}" for task, model, device in places]
        held = dict.fromkeys(f"finals of {task} on {device}" for task, _, device in places)
        if all(name in earlier for name in names):
            took = sum(earlier.get(name, 0) for name in (*names, *held))
            return [text, f"last time they took {format_seconds(took)}", *lines]
        limit = f"each has at most {self.options.ship_budget:g} s of rounds, after training, builds and answers"
        return [text, limit, *lines]

    def selected_case(self, case: Case, machine: str) -> Selected:
        """Return a case among those that were collected for a machine; HarnessError if it is not."""
        if (machine, str(case)) not in self.selected:
            raise HarnessError(f"{case}: not collected; use @pytest.mark.parametrize('case', cases(…), ids=str)")
        return self.selected[machine, str(case)]

    def skip_reason(self, selected: Selected) -> str | None:
        """Return why a case cannot run, if so; with a cluster, once its comparison is over."""
        case, machine = selected.case, self.machines.get(selected.machine)
        return skip_reason(case, self.options) or (machine.skip_reason(case) if machine else None)

    def outcome(self, selected: Selected, node: str) -> Outcome:
        """Return the case's outcome; run its comparison unless this session has. `node` names the test from here."""
        from harness.results import store

        machine = self.machines[selected.machine]
        machine.measure(selected.case)
        again = shlex.join(["pytest", node, *self.arguments])
        result = machine.results[str(selected.case)]
        log = store.failure_log(self.results_folder, result)
        log = Path(os.path.relpath(log)) if log and log.is_relative_to(self.root) else log
        return Outcome(result, again, tuple(machine.regressions(result)), log)

    def open_cases(self) -> dict[str, bool]:
        """Return the undecided cases of all machines, as `Machine.open_cases` has them."""
        if not self.machines:
            return {"nothing was measured: every case was skipped": False}
        several = len(self.machine_names) > 1
        return {
            f"{name}/{sentence}" if several else sentence: by_repeating
            for name, machine in self.machines.items()
            for sentence, by_repeating in machine.open_cases().items()
        }

    def hold_finals(self) -> None:
        """Have every machine measure the models of each task against each other."""
        for machine in self.machines.values():
            machine.hold_finals()

    def _sweep(self) -> None:
        """Remove what killed sessions left behind."""
        sweep_results(self.results_folder)
        sweep_store(self.artifacts_folder)
