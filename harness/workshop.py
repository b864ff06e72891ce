"""What is built once and kept: checkpoints, artifacts and answers, each found again by its fingerprint."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import answers, content, data, installing, train
from harness.answers import Scored
from harness.builder import PATIENCE, Builder
from harness.cache import Entry, Store, changed, fingerprint, tree_sha256
from harness.contracts import Backend, Target
from harness.encoding import LIBRARIES, Encoder
from harness.environment import accelerator, cpu_flags, versions
from harness.errors import HarnessError
from harness.inputs import Inputs
from harness.interpreter import Python, described
from harness.process import Worker, environment
from harness.progress import Progress
from harness.quiet import quiet
from harness.spec import Model, Task

HERE = Path(__file__).parent
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

    def at_home(self, backend: Backend) -> Backend:
        """The backend, with an interpreter for every environment that it names."""
        return installing.at_home(backend, self.store, self.progress)

    def artifact(self, backend: Backend, source: Entry) -> Entry:
        """What the backend, at home, runs; the source itself if it builds nothing."""
        if backend.build is None:
            return source

        def build(out: Path) -> dict[str, str]:
            with lent(source, out) as given:
                return self._build(backend, given, out)

        key = fingerprint(
            source.path.name, source.info, _bare(backend), _installed(backend.builds_in), versions(), _machine()
        )
        with self.progress.bar(f"build {backend.name}", None):
            return self.store.get(self._name(backend.name), key, build)

    def _build(self, backend: Backend, source: Path, out: Path) -> dict[str, str]:
        assert backend.build is not None
        if backend.builds_in is None:
            return backend.build(source, out, self.task.kind)
        there, patience_s = environment(self.target.threads), PATIENCE * self.timeout_s
        with Builder(backend.name, "harness.builder", there, patience_s, backend.builds_in) as builder:
            return builder.build(backend, source, out, self.task.kind)

    def inputs(self, split: data.Split, made: Entry) -> Inputs:
        """The test rows as every backend is given them."""
        processor = self.task.kind.load_processor(made.path)
        encoder = Encoder(self.task.kind, processor, self.task.inputs, self.model.max_length, self.store)
        with quiet():
            asked = encoder.asked(split.test, f"{self._known(split)} test")
        return Inputs(self.task.kind, asked, split.labels, made.info.get("order"))

    def answers(self, backend: Backend, artifact: Entry, inputs: Inputs) -> Scored:
        """The answers of the backend, at home, on every test row, from a worker of its own."""

        def build(out: Path) -> dict[str, Any]:
            with (
                lent(artifact, out) as given,
                Worker(backend, given, self.target, self.timeout_s, kind=self.task.kind) as worker,
            ):
                return answers.collect(worker, inputs, self.task.metrics, out, self.progress)

        names = ("answers.py", "inputs.py", "ragged.py", "reduction.py", "worker.py", "score.py", "metrics")
        code = [tree_sha256(HERE / name) for name in names]
        key = fingerprint(
            (artifact.path.name, artifact.info, _bare(backend), _installed(backend.runs_in)),
            (self.target, self.task.metrics, versions(), _machine(), code),
        )
        entry = self.store.get(self._name(f"{backend.name}.answers"), key, build)
        return answers.read(entry.path, entry.info)

    def _known(self, split: data.Split) -> str:
        """Changes with what the rows hold, white space too: digests fold it, for duplicates; some tokenizers do not."""
        return fingerprint(split.sha256, split.content)

    def _name(self, part: str) -> str:
        return f"{self.task.name}/{self.model.name}/{part}"


@contextmanager
def lent(entry: Entry, out: Path) -> Iterator[Path]:
    """A copy of the entry while `out` is being built: what is written into that reaches nobody else.

    HarnessError afterwards if anything was.
    """
    # Named as `out` is, so that it is swept with that if this session is killed.
    with TemporaryDirectory(prefix=f"{out.name.rpartition('.')[0]}.", dir=out.parent) as folder:
        copy = Path(folder) / entry.path.name
        shutil.copytree(entry.path, copy)
        yield copy
        found = changed(copy)
    if found:
        raise HarnessError(
            f"it wrote into the folder that it was given to read ({', '.join(found[:3])}): `build` may write into "
            "`out`, `load` and what it returns into a temporary folder of their own"
        )


def _bare(backend: Backend) -> Backend:
    """Without its environments: what is installed there counts, not where they lie."""
    return replace(backend, builds_in=None, runs_in=None)


def _installed(python: Python | None) -> dict[str, str] | None:
    return described(python) if python else None


def _machine() -> tuple[str, list[str], str | None]:
    """What the same instructions may give other numbers on."""
    return platform.machine(), sorted(cpu_flags()), accelerator()
