"""One pytest session: the selected cases, the comparisons they fall into, the results so far, and the finals."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pytest_plugin import options
from harness.pytest_plugin.bench import Outcome
from harness.pytest_plugin.selection import Place, name_of, place_of, skip_reason
from harness.spec import Case, Task
from harness.util.console import Progress, format_seconds
from harness.util.files import sweep_results, sweep_store
from harness.util.machine import describe
from harness.util.remote import Remote
from harness.util.store import users_folder
from harness.util.text import count

if TYPE_CHECKING:
    import pandas as pd

    from harness.cluster.driver import Cluster
    from harness.pipeline.state import Comparison, Options
    from harness.pytest_plugin.shards import Shard
    from harness.regression.baseline import Baseline
    from harness.results.schema import Finals, Result


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
    places: dict[Place, list[tuple[Case, Path]]] = field(default_factory=dict)
    """Comparisons that can run here → their cases."""
    tests: dict[str, str] = field(default_factory=dict)
    """Name → the test's id from the root folder."""
    results: dict[str, Result] = field(default_factory=dict)
    finals: list[Finals] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences for the summary: finals that failed, comparisons taken from disk, why others were measured again."""
    status: int = 0
    """Exit status instead of pytest's where required decisions are missing; 0 if none is."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Option that selects more cases → how many it would add."""
    shard: Shard | None = None
    """This session's tasks, if it is one of several."""
    headings: dict[Place, str] = field(default_factory=dict)
    """Comparison so far → its number, name and duration."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each comparison and finals."""
    cluster: Cluster | None = None
    """Measures instead of this machine."""
    baseline: Baseline | None = None
    """Stored runs that the results are compared with."""

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
        if self.cluster is not None:
            self.cluster.close()
        if self.selected:
            self._sweep()
        for stream in (self.progress.terminal, self.progress.log):
            if stream is not None:
                stream.close()

    @property
    def results_folder(self) -> Path:
        """The folder of results."""
        return self.options.ship_results or self.root / "results"

    @property
    def artifacts_folder(self) -> Path:
        """The folder of checkpoints and artifacts."""
        place = self.options.ship_artifacts
        return users_folder() if isinstance(place, str) else place or self.root / ".artifacts"

    @property
    def remote(self) -> Remote | None:
        """The place outside this machine that has checkpoints, too."""
        place = self.options.ship_artifacts
        return Remote(place) if isinstance(place, str) else None

    def take_shard(self, cases: Sequence[Case]) -> Shard:
        """Deal the tasks of the cases out, and keep this session's; HarnessError for an option that makes no sense."""
        from harness.pytest_plugin.shards import take

        runnable = [case for case in cases if skip_reason(case, self.options) is None]
        results, with_hub = self.root / "results", self.options.ship_hub
        self.shard = take(self.options.ship_shard, cases, runnable, results, with_hub)
        return self.shard

    def begin(self, selected: Sequence[tuple[Case, Path]]) -> None:
        """Raise HarnessError with every problem of the options and of the selected cases."""
        # Spinning threads would slow training several times beside any other load. OpenMP reads this once, when the
        # preflight's imports load it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        options.check(self.options, self.root)
        self._sweep()
        for case, folder in selected:
            earlier, _ = self.selected.setdefault(str(case), (case, folder))
            if earlier != case:
                raise HarnessError(f"{case}: two suites declare different cases of this name; rename a task or a model")
        self._check_batches()
        declared: dict[str, tuple[Task, Path]] = {}
        for case, folder in selected:
            if declared.setdefault(case.task.name, (case.task, folder)) != (case.task, folder):
                raise HarnessError(
                    f"task {case.task.name}: two suites declare different tasks of this name, in "
                    f"{declared[case.task.name][1]} and {folder}; their results would overwrite each other: rename one"
                )
        runnable = [(case, folder) for case, folder in selected if skip_reason(case, self.options) is None]
        for case, folder in runnable:
            self.places.setdefault(place_of(case), []).append((case, folder))
        if not runnable:  # saves a session that only skips the imports below
            return
        if self.options.ship_baseline:
            from harness.regression.baseline import Baseline

            threads = options.threads(self.options)
            here = describe(self.options.ship_machine, threads, self.root, options.spinning(self.options))
            self.baseline = Baseline.load(self.options.ship_baseline)
            self.baseline.check([str(case) for case, _ in runnable], here)
        from harness.pytest_plugin.preflight import check_cases

        # A folder of results that is there may be another user's.
        tasks = [self.results_folder / self.options.ship_machine / case.task.name for case, _ in runnable]
        places = dict.fromkeys(tasks, "--ship-results") | {self.artifacts_folder: "--ship-artifacts"}
        for note in check_cases(runnable, self.progress, places, self.remote):
            self.progress.say(note)
        if self.options.ship_ray:
            self._send()

    def _check_batches(self) -> None:
        """Raise HarnessError unless a run measures what gates judge, and those of one comparison judge one batch."""
        judged: dict[tuple[str, str, str], int] = {}
        for case, _ in self.selected.values():
            batch = case.batches(options.batch_sizes(self.options))[0]
            if judged.setdefault(place_of(case), batch) != batch:
                raise HarnessError(
                    f"{case}: its gate judges speed at batch {batch}, that of another backend of its comparison at "
                    f"batch {judged[place_of(case)]}; declare one batch for all backends of a model"
                )

    def plan(self, cases: Sequence[Case], earlier: Mapping[str, float]) -> list[str]:
        """Say what will run, what is skipped and why, and what was left out; `earlier` are seconds of earlier runs."""
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
        names = [f"{task}/{model} on {device}" for task, model, device in places]
        held = dict.fromkeys(f"finals of {task} on {device}" for task, _, device in places)
        if all(name in earlier for name in names):
            took = sum(earlier.get(name, 0) for name in (*names, *held))
            return [text, f"last time they took {format_seconds(took)}", *lines]
        limit = f"each has at most {self.options.ship_budget:g} s of rounds, after training, builds and answers"
        return [text, limit, *lines]

    def skip_reason(self, case: Case) -> str | None:
        """Return why the case cannot run, if so; with a cluster, once its comparison is over."""
        reason = skip_reason(case, self.options)
        if reason is not None or self.cluster is None or str(case) in self.results:
            return reason
        self.cluster.wait(str(case))
        if node := self.cluster.kept.get(str(case)):
            self._head(place_of(case), f"on {node}")
        return self.cluster.skipped.get(str(case))

    def outcome(self, case: Case, node: str) -> Outcome:
        """Return the case's outcome; run its comparison unless this session has. `node` names the test from here."""
        if str(case) not in self.selected:
            raise HarnessError(f"{case}: not collected; use @pytest.mark.parametrize('case', cases(…), ids=str)")
        if str(case) not in self.results:
            self._compare(case)
        from harness.results import store

        again = shlex.join(["pytest", node, *self.arguments])
        result = self.results[str(case)]
        log = store.failure_log(self.results_folder, result)
        log = Path(os.path.relpath(log)) if log and log.is_relative_to(self.root) else log
        return Outcome(result, again, tuple(self.regressions(result)), log)

    def regressions(self, result: Result) -> list[str]:
        """Return the result's proven regressions against the baseline, one sentence each."""
        return self.baseline.regressions(result) if self.baseline else []

    def pipeline_options(self) -> Options:
        """Return the options in the form the pipeline takes."""
        return options.pipeline_options(self.options, self.artifacts_folder, self.remote)

    def open_cases(self, brief: bool = False) -> dict[str, bool]:
        """Return a sentence for each undecided case, with its remedies → whether another run may decide it.

        A brief sentence has the reasons only where the remedies tell nothing.
        """
        from harness.verdicts.remedy import NO_REPEAT, remedies
        from harness.verdicts.verdict import verdict

        if not self.results:
            return {"nothing was measured: every case was skipped": False}
        sentences = {}
        for result in self.results.values():
            judged = verdict(result)
            if judged is not None and judged.word in ("undecided", "invalid"):
                ways = remedies(result)
                reasons = () if brief and ways[0].text != NO_REPEAT else judged.reasons
                sentence = f"{result.name} is {judged.word}: {'; '.join((*reasons, *(w.text for w in ways)))}"
                sentences[sentence] = all(way.by_repeating for way in ways)
        return sentences | (self.baseline.undecided(self.results) if self.baseline else {})

    def hold_finals(self) -> None:
        """Measure the models of each task against each other, where this session recommends a backend for several."""
        from harness.pipeline import finals
        from harness.pytest_plugin import resume
        from harness.results import store

        if self.cluster is not None:
            self.cluster.finish()
            self.notes += self.cluster.notes
            for measured in self.cluster.finals:
                stamp = resume.finals_fingerprint(self.results.values(), measured.task, measured.device)
                self.finals.append(replace(measured, fingerprint=stamp))
                store.save_finals(self.results_folder, self.finals[-1])
            return
        folder = self.results_folder / self.options.ship_machine
        for lineup in finals.lineups(self.results.values(), self.selected):
            name = f"finals of {lineup.task} on {lineup.device}"
            fingerprint = resume.finals_fingerprint(self.results.values(), lineup.task, lineup.device)
            resumes = self.options.ship_resume
            held = resume.valid_finals(folder, lineup.task, lineup.device, fingerprint) if resumes else None
            try:
                if held is None:
                    with self.progress.bar(name) as stage:
                        held = finals.hold_finals(lineup, self.pipeline_options(), self.progress, fingerprint)
                    self.seconds[name] = stage.seconds
                    store.save_finals(self.results_folder, held)
                else:
                    self._note_resumed(name, held.created)
            except HarnessError as error:
                self.notes.append(f"no {name}: {error}")
            else:
                self.finals.append(held)

    def _compare(self, case: Case) -> None:
        """Measure the selected cases that share the case's rounds and can run here, or resume them."""
        from harness.pipeline.compare import compare

        place = place_of(case)
        name, settings = name_of(place), self.pipeline_options()
        comparison = self._comparison(place, settings)
        if self.options.ship_resume and self._resume(name, comparison, settings):
            self._head(place, "not measured again")
            return
        with self.progress.bar(self._numbered(place)) as stage:
            compare(comparison, settings, self.progress, self._keep)
        self.seconds[name] = stage.seconds
        self._head(place, format_seconds(stage.seconds))

    def _head(self, place: Place, how: str) -> None:
        """Set the heading of a comparison's lines, once."""
        if place not in self.headings:
            self.headings[place] = f"{self._numbered(place)}, {how}"

    def _numbered(self, place: Place) -> str:
        return f"[{len(self.headings) + 1}/{len(self.places)}] {name_of(place)}"

    def _send(self) -> None:
        """Send every comparison to the cluster, unless it is resumed; those of a task stay together for its finals.

        The longest batch goes first, so that at the end no node is left with a long one while the others are idle.
        """
        from harness.cluster import driver
        from harness.cluster.connect import connect
        from harness.pytest_plugin import shards

        settings = self.pipeline_options()
        here = describe(settings.machine, settings.threads, self.root, settings.spinning)
        words = options.for_nodes(self.arguments)
        self.cluster = connect(self.options.ship_ray, self.root, words, here, self._keep, self.progress.say)
        batches: dict[tuple[str, str], driver.Batch] = {}
        for place in self.places:
            comparison = self._comparison(place, settings)
            if self.options.ship_resume and self._resume(name_of(place), comparison, settings):
                self._head(place, "not measured again")
                continue
            task, _, device = place
            batch = batches.setdefault((task, device), driver.Batch(f"{task} on {device}", [], device == "cuda"))
            tests = {str(case): self.tests[str(case)] for case in comparison.cases}
            batch.comparisons.append(driver.Comparison(tests, comparison.fingerprint))
        cases = [case for several in self.places.values() for case, _ in several]
        costs = shards.case_costs(cases, shards.recorded_seconds(self.root / "results"), self.options.ship_hub)
        for batch in sorted(batches.values(), key=lambda batch: -sum(map(costs.__getitem__, batch.cases))):
            self.cluster.submit(batch)

    def _comparison(self, place: Place, settings: Options) -> Comparison:
        """Return the comparison in one place."""
        from harness.pipeline.state import Comparison
        from harness.pytest_plugin import resume

        cases, folder = tuple(case for case, _ in self.places[place]), self.places[place][0][1]
        return Comparison(cases, folder, resume.comparison_fingerprint(cases, folder, settings))

    def _resume(self, name: str, comparison: Comparison, settings: Options) -> bool:
        """Take the comparison's results from an earlier session; return whether all of them are still valid."""
        from harness.pytest_plugin import resume

        here = describe(settings.machine, settings.threads, comparison.folder, settings.spinning)
        if self.cluster is not None:
            there = self.cluster.there
            threads = self.options.ship_threads or options.default_threads(there.cores)
            here = replace(there, machine=here.machine, threads=threads, wait_policy=here.wait_policy)
        folder = self.results_folder / settings.machine
        try:
            results = resume.valid_results(comparison.cases, folder, comparison.fingerprint, here)
        except HarnessError as reason:
            self.notes.append(f"{name}: measured again: {reason}")
            return False
        self.results |= {result.name: result for result in results}
        self._note_resumed(name, results[0].created)
        return True

    def _note_resumed(self, name: str, created: str) -> None:
        self.notes.append(f"{name}: taken from {created}, not measured again")
        self.progress.say(self.notes[-1])

    def _keep(self, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
        from harness.results import store

        if self.shard:
            result = replace(result, shards=self.shard.every)
        self.results[result.name] = result
        store.keep(self.results_folder, result, answers, trace)

    def _sweep(self) -> None:
        """Remove what killed sessions left behind."""
        sweep_results(self.results_folder)
        sweep_store(self.artifacts_folder)
