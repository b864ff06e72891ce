"""What is built once and kept: checkpoints, artifacts and answers, each found again by its fingerprint."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.artifacts import build
from harness.artifacts.build import BuildOrder, HeldOutRows, build_artifact, lend_calibration
from harness.contracts.backend import Backend, Python, Target
from harness.data import reading, splits
from harness.data.encoding import LIBRARIES, Encoder
from harness.data.inputs import Inputs
from harness.environments import interpreters
from harness.environments.interpreters import describe_interpreter
from harness.evaluation import predictions
from harness.evaluation.predictions import Scored
from harness.measure import gpu, worker
from harness.measure.client import Worker
from harness.metrics import METRICS
from harness.spec import Model, Task
from harness.training import train
from harness.util.console import Progress, quiet
from harness.util.fingerprints import code_digest, fingerprint, module_file
from harness.util.machine import accelerator, cpu_flags, versions
from harness.util.store import Entry, Store

Part = Literal["test", "calibration", "validation"]

ASIDE: tuple[Part, Part] = ("calibration", "validation")

TRAINERS = ("torch", "evaluate", "seqeval", "sacrebleu", *LIBRARIES)
"""Packages that decide what a checkpoint holds; another ONNX Runtime is no reason to train again."""


@dataclass(frozen=True)
class Artifacts:
    """Where the parts of one comparison are made. Holds nothing but what it was told."""

    task: Task
    model: Model
    folder: Path
    """The suite's: native modules are found from here."""
    target: Target
    store: Store
    progress: Progress
    timeout_s: float
    """Longest wait for a worker's answer."""
    retrain: bool
    max_drop: float | None = None
    """What the gate allows to be lost, where it is known beforehand."""

    def checkpoint(self, split: splits.Split) -> Entry:
        """The fine-tuned model."""
        origin = reading.of_model(self.model.source, self.folder)
        rows = (self.task.kind, self.task.inputs, self.task.metric, split.labels, self._known(split))
        place = train.Place(self.folder, self.store, self._known(split), self.target.threads, self.progress)
        key = fingerprint(
            self.model, origin, rows, self.target.threads, versions(TRAINERS), _machine(), self._code(train.__file__)
        )
        made = self.store.get(
            self._name("checkpoint"),
            key,
            lambda out: train.fine_tune(self.task, self.model, split, place, out),
            fresh=self.retrain,
        )
        gpu.release()
        return made

    def at_home(self, backend: Backend) -> Backend:
        """The backend, with an interpreter for every environment that it names."""
        return interpreters.resolve_environments(backend, self.store, self.progress)

    def artifact(self, backend: Backend, source: Entry, aside: Callable[[], HeldOutRows] | None = None) -> Entry:
        """What the backend, at home, runs; the source itself if it builds nothing. One that calibrates needs the rows
        `aside`."""
        if backend.build is None and backend.calibrate is None:
            return source
        rows = aside() if backend.calibrate and aside else None
        # Options are for what runs it; what is built is the same with all of them.
        bare, installed = replace(_bare(backend), options={}), _installed(backend.builds_in, backend.packages)
        made = (
            source.path.name,
            source.info,
            bare,
            installed,
            versions(),
            _machine(),
            code_digest(Path(build.__file__)),
        )
        seen = (rows.sha256, rows.metric, rows.max_drop) if rows else ()
        order = BuildOrder(self.task.kind, rows, self.target.threads, self.timeout_s)
        with self.progress.bar(f"build {backend.name}", None):
            return self.store.get(
                self._name(backend.name),
                fingerprint(*made, *seen),
                lambda out: build_artifact(backend, source, out, order),
            )

    def inputs(self, split: splits.Split, made: Entry, part: Part = "test") -> Inputs:
        """Rows of one part as every backend is given them."""
        processor = self.task.kind.load_processor(made.path)
        encoder = Encoder(self.task.kind, processor, self.task.inputs, self.model.max_length, self.store)
        with quiet():
            asked = encoder.asked(getattr(split, part), f"{self._known(split)} {part}")
        return Inputs(self.task.kind, asked, split.labels, made.info.get("order"))

    def aside(self, split: splits.Split, made: Entry) -> HeldOutRows:
        """What a build may look at besides its source."""
        calibration, validation = (self.inputs(split, made, part) for part in ASIDE)
        return HeldOutRows(calibration, validation, self.task.metric, self.max_drop, self._known(split))

    def answers(self, backend: Backend, artifact: Entry, inputs: Inputs, part: Part = "test") -> Scored:
        """The answers of the backend, at home, on every row of one part, from a worker of its own."""

        def answer(out: Path) -> dict[str, Any]:
            with (
                lend_calibration(artifact, out) as given,
                Worker(backend, given, self.target, self.timeout_s, kind=self.task.kind) as process,
            ):
                return predictions.collect(process, inputs, self.task.metrics, out, self.progress)

        key = fingerprint(
            (artifact.path.name, artifact.info, _bare(backend), _installed(backend.runs_in, backend.packages)),
            (
                self.target,
                self.task.metrics,
                versions(),
                _machine(),
                self._code(predictions.__file__, worker.__file__),
                part,
            ),
        )
        entry = self.store.get(self._name(f"{backend.name}.answers"), key, answer)
        return predictions.read(entry.path, entry.info)

    def _known(self, split: splits.Split) -> str:
        """Changes with what the rows hold, white space too: digests fold it, for duplicates; some tokenizers do not."""
        return fingerprint(split.sha256, split.content)

    def _code(self, *files: str) -> str:
        """Digest the code of these modules and of the task's metrics; functions of kinds and backends bring their own."""
        metrics = {METRICS[name].path.partition(":")[0] for name in self.task.metrics}
        return code_digest(*map(Path, files), *map(module_file, sorted(metrics)))

    def _name(self, part: str) -> str:
        return f"{self.task.name}/{self.model.name}/{part}"


def _bare(backend: Backend) -> Backend:
    """Without its environments: what is installed there counts, not where they lie."""
    return replace(backend, builds_in=None, runs_in=None)


def _installed(python: Python | None, packages: tuple[str, ...] = ()) -> dict[str, str] | None:
    """Of an environment beside pytest's, all; in pytest's own, these."""
    return describe_interpreter(python) if python else versions(packages) or None


def _machine() -> tuple[str, list[str], str | None]:
    """What the same instructions may give other numbers on."""
    return platform.machine(), sorted(cpu_flags()), accelerator()
