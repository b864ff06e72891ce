"""What is built once and kept: checkpoints, artifacts and answers, each found again by its fingerprint."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.accuracy import answers
from harness.accuracy.answers import Scored
from harness.artifacts.aside import Aside
from harness.artifacts.building import Order, built, lent
from harness.cache import Entry, Store
from harness.contracts import Backend, Target
from harness.dataset import data
from harness.dataset.encoding import LIBRARIES, Encoder
from harness.dataset.inputs import Inputs
from harness.environment import accelerator, cpu_flags, versions
from harness.fingerprints import fingerprint, tree_sha256
from harness.origins import content
from harness.progress import Progress
from harness.pythons import installing
from harness.pythons.interpreter import Python, described
from harness.quiet import quiet
from harness.rounds import gpu
from harness.spec import Model, Task
from harness.training import train
from harness.workers.process import Worker

HARNESS = Path(__file__).parents[1]
CODE = (
    "training/train.py", "training/job.py", "training/loops.py", "training/checkpoint.py", "training/head.py",
    "dataset/data.py", "dataset/naming.py", "dataset/reading.py", "dataset/columns.py", "dataset/encoding.py",
    "dataset/inputs.py", "kind.py", "kinds", "accuracy/score.py", "metrics",
)  # fmt: skip
"""What makes a checkpoint: whoever changes how a model is trained must not be given an old one."""
ARTIFACTS = ("backends", "artifacts/aside.py")
"""What makes artifacts: a backend's functions stand in one file and call those of others."""
ANSWERS = (
    "accuracy/answers.py", "dataset/inputs.py", "accuracy/ragged.py", "workers/reduction.py", "workers/padding.py",
    "workers/process.py", "workers/worker.py", "backends", "accuracy/score.py", "metrics",
)  # fmt: skip
"""What makes answers."""
Part = Literal["test", "calibration", "validation"]
ASIDE: tuple[Part, Part] = ("calibration", "validation")
TRAINERS = ("torch", "evaluate", "seqeval", "sacrebleu", *LIBRARIES)
"""Packages that decide what a checkpoint holds; another ONNX Runtime is no reason to train again."""


@dataclass(frozen=True)
class Workshop:
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
    max_loss: float | None = None
    """What the gate allows to be lost, where it is known beforehand."""

    def checkpoint(self, split: data.Split) -> Entry:
        """The fine-tuned model."""
        origin = content.of_model(self.model.source, self.folder)
        rows = (self.task.kind, self.task.inputs, self.task.metric, split.labels, self._known(split))
        place = train.Place(self.folder, self.store, self._known(split), self.target.threads, self.progress)
        key = fingerprint(self.model, origin, rows, self.target.threads, versions(TRAINERS), _machine(), _digests(CODE))
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
        return installing.at_home(backend, self.store, self.progress)

    def artifact(self, backend: Backend, source: Entry, aside: Callable[[], Aside] | None = None) -> Entry:
        """What the backend, at home, runs; the source itself if it builds nothing. One that calibrates needs the rows
        `aside`."""
        if backend.build is None and backend.calibrate is None:
            return source
        rows = aside() if backend.calibrate and aside else None
        # Options are for what runs it; what is built is the same with all of them.
        bare, installed = replace(_bare(backend), options={}), _installed(backend.builds_in, backend.packages)
        made = (source.path.name, source.info, bare, installed, versions(), _machine(), _digests(ARTIFACTS))
        seen = (rows.sha256, rows.metric, rows.max_loss) if rows else ()
        order = Order(self.task.kind, rows, self.target.threads, self.timeout_s)
        with self.progress.bar(f"build {backend.name}", None):
            return self.store.get(
                self._name(backend.name), fingerprint(*made, *seen), lambda out: built(backend, source, out, order)
            )

    def inputs(self, split: data.Split, made: Entry, part: Part = "test") -> Inputs:
        """Rows of one part as every backend is given them."""
        processor = self.task.kind.load_processor(made.path)
        encoder = Encoder(self.task.kind, processor, self.task.inputs, self.model.max_length, self.store)
        with quiet():
            asked = encoder.asked(getattr(split, part), f"{self._known(split)} {part}")
        return Inputs(self.task.kind, asked, split.labels, made.info.get("order"))

    def aside(self, split: data.Split, made: Entry) -> Aside:
        """What a build may look at besides its source."""
        calibration, validation = (self.inputs(split, made, part) for part in ASIDE)
        return Aside(calibration, validation, self.task.metric, self.max_loss, self._known(split))

    def answers(self, backend: Backend, artifact: Entry, inputs: Inputs, part: Part = "test") -> Scored:
        """The answers of the backend, at home, on every row of one part, from a worker of its own."""

        def build(out: Path) -> dict[str, Any]:
            with (
                lent(artifact, out) as given,
                Worker(backend, given, self.target, self.timeout_s, kind=self.task.kind) as worker,
            ):
                return answers.collect(worker, inputs, self.task.metrics, out, self.progress)

        key = fingerprint(
            (artifact.path.name, artifact.info, _bare(backend), _installed(backend.runs_in, backend.packages)),
            (self.target, self.task.metrics, versions(), _machine(), _digests(ANSWERS), part),
        )
        entry = self.store.get(self._name(f"{backend.name}.answers"), key, build)
        return answers.read(entry.path, entry.info)

    def _known(self, split: data.Split) -> str:
        """Changes with what the rows hold, white space too: digests fold it, for duplicates; some tokenizers do not."""
        return fingerprint(split.sha256, split.content)

    def _name(self, part: str) -> str:
        return f"{self.task.name}/{self.model.name}/{part}"


def _digests(code: tuple[str, ...]) -> list[str]:
    """Of files and folders of the harness."""
    return [tree_sha256(HARNESS / name) for name in code]


def _bare(backend: Backend) -> Backend:
    """Without its environments: what is installed there counts, not where they lie."""
    return replace(backend, builds_in=None, runs_in=None)


def _installed(python: Python | None, packages: tuple[str, ...] = ()) -> dict[str, str] | None:
    """Of an environment beside pytest's, all; in pytest's own, these."""
    return described(python) if python else versions(packages) or None


def _machine() -> tuple[str, list[str], str | None]:
    """What the same instructions may give other numbers on."""
    return platform.machine(), sorted(cpu_flags()), accelerator()
