"""What is built once and kept: checkpoints, artifacts and answers, each found again by its fingerprint."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness import answers, content, data, train
from harness.answers import Scored
from harness.cache import Entry, Store, fingerprint, tree_sha256
from harness.contracts import Backend, Target
from harness.encoding import LIBRARIES, Encoder
from harness.environment import accelerator, cpu_flags, versions
from harness.inputs import Inputs
from harness.process import Worker
from harness.progress import Progress
from harness.quiet import quiet
from harness.spec import Model, Task

HERE = Path(__file__).parent
Rows = Literal["test", "validation"]
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

    def checkpoint(self, split: data.Split) -> Entry:
        """The fine-tuned model."""
        origin = content.of_model(self.model.source, self.folder)
        # Code counts too: whoever changes how a model is trained must not be given an old one.
        names = (
            "train.py", "loops.py", "checkpoint.py", "head.py", "data.py", "naming.py", "reading.py", "columns.py",
            "encoding.py", "inputs.py", "contracts.py", "kinds", "score.py", "metrics",
        )  # fmt: skip
        code = [tree_sha256(HERE / name) for name in names]
        rows = (self.task.kind, self.task.inputs, self.task.metric, split.labels, self._known(split))
        place = train.Place(self.folder, self.store, self._known(split), self.target.threads, self.progress)
        key = fingerprint(self.model, origin, rows, self.target.threads, versions(TRAINERS), _machine(), code)
        return self.store.get(
            self._name("checkpoint"),
            key,
            lambda out: train.fine_tune(self.task, self.model, split, place, out),
            fresh=self.retrain,
        )

    def artifact(self, backend: Backend, source: Entry) -> Entry:
        """What the backend runs; the source itself if it builds nothing."""
        build = backend.build
        if build is None:
            return source
        # Options are for what runs it; what is built is the same with all of them.
        key = fingerprint(source.path.name, source.info, replace(backend, options={}), versions(), _machine())
        with self.progress.bar(f"build {backend.name}", None):
            return self.store.get(self._name(backend.name), key, lambda out: build(source.path, out, self.task.kind))

    def inputs(self, split: data.Split, made: Entry, rows: Rows = "test") -> Inputs:
        """The test rows, or others, as every backend is given them."""
        processor = self.task.kind.load_processor(made.path)
        encoder = Encoder(self.task.kind, processor, self.task.inputs, self.model.max_length, self.store)
        with quiet():
            asked = encoder.asked(getattr(split, rows), f"{self._known(split)} {rows}")
        return Inputs(self.task.kind, asked, split.labels, made.info.get("order"))

    def answers(self, backend: Backend, artifact: Entry, inputs: Inputs, rows: Rows = "test") -> Scored:
        """The backend's answers on every one of these rows, from a worker of its own."""

        def build(out: Path) -> dict[str, Any]:
            with Worker(backend, artifact.path, self.target, self.timeout_s, kind=self.task.kind) as worker:
                return answers.collect(worker, inputs, self.task.metrics, out, self.progress)

        names = ("answers.py", "inputs.py", "ragged.py", "reduction.py", "worker.py", "score.py", "metrics")
        code = [tree_sha256(HERE / name) for name in names]
        key = fingerprint(
            artifact.path.name,
            artifact.info,
            backend,
            self.target,
            self.task.metrics,
            versions(),
            _machine(),
            code,
            rows,
        )
        entry = self.store.get(self._name(f"{backend.name}.answers"), key, build)
        return answers.read(entry.path, entry.info)

    def _known(self, split: data.Split) -> str:
        """Changes with what the rows hold, white space too: digests fold it, for duplicates; some tokenizers do not."""
        return fingerprint(split.sha256, split.content)

    def _name(self, part: str) -> str:
        return f"{self.task.name}/{self.model.name}/{part}"


def _machine() -> tuple[str, list[str], str | None]:
    """What the same instructions may give other numbers on."""
    return platform.machine(), sorted(cpu_flags()), accelerator()
