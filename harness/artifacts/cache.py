"""Checkpoints, artifacts and answers of one comparison, each kept under its fingerprint."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from harness.artifacts.build import Builders, build_artifact, lend_copy
from harness.contracts.vetting import vet
from harness.data.encoding import LIBRARIES, Encoder
from harness.data.inputs import Inputs
from harness.environments.interpreters import describe_interpreter, resolve_environment, resolve_environments
from harness.evaluation import predictions, score
from harness.measure import client, gpu, worker
from harness.measure.client import Worker
from harness.metrics import METRICS
from harness.training import train
from harness.util.console import Progress, quiet
from harness.util.identity import code_digest, fingerprint, module_file
from harness.util.machine import accelerator, cpu_flags, versions
from harness.util.store import Entry, Store

if TYPE_CHECKING:
    from harness.contracts.backend import Backend, Python, Target
    from harness.contracts.kind import Arrays
    from harness.data.splits import Split
    from harness.evaluation.predictions import Evaluation
    from harness.metrics import Metric
    from harness.spec import Model, Task

SplitName = Literal["test", "calibration", "validation"]

TRAINING_PACKAGES = ("torch", "keras", "peft", "evaluate", "seqeval", "sacrebleu", *LIBRARIES)
"""Packages that decide what a checkpoint holds. ONNX Runtime is not one: an upgrade retrains nothing."""


@dataclass(frozen=True)
class HeldOutRows:
    """Encoded calibration and validation rows: the `Calibration` that a build receives.

    Splits are disjoint by digest, so none of them is a test row or a row that the model was trained on.
    """

    calibration: Inputs
    validation: Inputs
    metric: Metric
    max_drop: float | None
    sha256: str
    """Digest of the rows' contents."""

    def score(self, outputs: Sequence[Arrays]) -> float:
        """Score outputs, one for each validation row; NaN where the metric is undefined on these rows.

        Where less is better it is the negative score: a build keeps what loses no more than `max_drop`.
        """
        return self.metric.sign * score.score(
            self.metric, self.validation.predictions(outputs), self.validation.truths()
        )


@dataclass(frozen=True)
class Artifacts:
    """Builds the parts of one comparison, or reads them from the store."""

    task: Task
    model: Model
    folder: Path
    """The suite's; native modules and local files are relative to it."""
    target: Target
    store: Store
    progress: Progress
    timeout_s: float
    """Longest wait for a worker's answer."""
    retrain: bool
    max_drop: float | None = None
    """The gate's largest drop; None where the suite declares no gate."""
    builders: Builders | None = None
    """Processes that build more than one artifact; without them, every build has one of its own."""

    def checkpoint(self, split: Split) -> Entry:
        """Return the fine-tuned model.

        Neither threads nor the processor are part of its key, though they change its weights a little: machines that
        share a store are compared on one checkpoint. The record says where it was trained.
        """
        task, rows_key = self.task, _rows_key(split)
        workspace = train.Workspace(self.folder, self.store, rows_key, self.target.threads, self.progress)
        key = fingerprint(
            (self.model, self.model.source.content(self.folder)),
            (task.kind, task.inputs, split.metrics[task.metric], split.labels, rows_key),
            (versions(TRAINING_PACKAGES), self._code_key(train)),
        )
        build = partial(train.fine_tune, task, self.model, split, workspace)
        entry = self.store.get(self._entry_name("checkpoint"), key, build, fresh=self.retrain, shared=True)
        vet(entry.path, pinned=True)  # workers load it, and the store may have been restored from anywhere
        gpu.release_memory()
        return entry

    def inputs(self, split: Split, checkpoint: Entry, part: SplitName = "test") -> Inputs:
        """Return the rows of one split, encoded; every backend receives these."""
        processor = self.task.kind.load_processor(checkpoint.path)
        encoder = Encoder(self.task.kind, processor, self.task.inputs, self.model.max_length, self.store)
        with quiet():
            encoded = encoder.encode(getattr(split, part), f"{_rows_key(split)} {part}")
        return Inputs(
            self.task.kind,
            encoded,
            split.labels,
            checkpoint.info.get("order"),
            split.metrics,
            bool(checkpoint.info.get("fixed_length")),
        )

    def calibration(self, split: Split, checkpoint: Entry) -> HeldOutRows:
        """Return the rows and the accuracy budget for builds that calibrate."""
        calibration = self.inputs(split, checkpoint, "calibration")
        validation = self.inputs(split, checkpoint, "validation")
        return HeldOutRows(calibration, validation, split.metrics[self.task.metric], self.max_drop, _rows_key(split))

    def resolve(self, backend: Backend) -> Backend:
        """Return the backend with an interpreter for each environment that this task's cases need."""
        kind = self.task.kind
        if kind.tokens is not None and not kind.continues and backend.runs_in is None:
            backend = replace(backend, runs_in=backend.generates_in)
        return resolve_environments(backend, self.store, self.progress)

    def artifact(self, backend: Backend, source: Entry, rows: Callable[[], HeldOutRows] | None = None) -> Entry:
        """Return a resolved backend's artifact, or `source` if it builds none; `rows` is called if it calibrates."""
        if not backend.builds:
            return source
        held_out = rows() if backend.calibrate and rows else None
        # Options only concern workers: all variants run the same artifact.
        builder = replace(_without_environments(backend), options={})
        key = fingerprint(
            (source.path.name, source.info, builder, _installed(backend.builds_in, backend.packages)),
            (versions(), _machine()),
            (held_out.sha256, held_out.metric, held_out.max_drop, self._code_key(score)) if held_out else (),
        )

        def build(out: Path) -> dict[str, str]:
            with self.progress.bar(f"build {backend.name}"):
                return build_artifact(
                    *(backend, source, out, self.task.kind, held_out, self.target, self.timeout_s),
                    resolve=lambda python: resolve_environment(python, self.store, self.progress),
                    builders=self.builders,
                )

        return self.store.get(self._entry_name(backend.name), key, build)

    def answers(self, backend: Backend, artifact: Entry, inputs: Inputs, part: SplitName = "test") -> Evaluation:
        """Return a resolved backend's answers to every row of `inputs`, from a worker of its own."""

        def collect(out: Path) -> dict[str, Any]:
            with (
                lend_copy(artifact, out) as folder,
                Worker(backend, folder, self.target, self.timeout_s, kind=self.task.kind) as process,
            ):
                metrics = list(inputs.metrics.values())
                return predictions.collect(process, inputs, metrics, out, self.progress, self.model.name)

        runner, installed = _without_environments(backend), _installed(backend.runs_in, backend.packages)
        key = fingerprint(
            (artifact.path.name, artifact.info, runner, installed),
            (self.target, list(inputs.metrics.values()), part),
            (versions(), _machine(), self._code_key(predictions, worker, client)),
        )
        entry = self.store.get(self._entry_name(f"{backend.name}.answers"), key, collect)
        return predictions.read(entry.path, entry.info)

    def _code_key(self, *modules: ModuleType) -> str:
        """Digest these modules, what they import, and the task's metrics.

        Functions of kinds and backends are fingerprinted where they occur as values.
        """
        metrics = {METRICS[name].module for name in self.task.metrics}
        return code_digest(*(Path(str(module.__file__)) for module in modules), *map(module_file, sorted(metrics)))

    def _entry_name(self, name: str) -> str:
        return f"{self.task.name}/{self.model.name}/{name}"


def _rows_key(split: Split) -> str:
    """Fingerprint the rows, white space included: their digest ignores it, and some tokenizers do not."""
    return fingerprint(split.sha256, split.content)


def _without_environments(backend: Backend) -> Backend:
    """Leave out the environments: keys depend on what is installed there, not on where they lie."""
    return replace(backend, builds_in=None, runs_in=None, generates_in=None)


def _installed(python: Python | None, packages: tuple[str, ...] = ()) -> dict[str, str] | None:
    """Return all packages of another environment; of pytest's own, those that the backend names."""
    return describe_interpreter(python) if python else versions(packages) or None


def _machine() -> tuple[str, list[str], str | None]:
    """Return the properties of this machine that change numbers."""
    return platform.machine(), sorted(cpu_flags()), accelerator()
