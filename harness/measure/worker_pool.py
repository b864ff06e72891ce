"""The workers of one launch, and what becomes of one that fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from harness.contracts.kind import Arrays
from harness.errors import OutOfMemory, WorkerError
from harness.measure.client import Answer, WorkerHandle
from harness.measure.samples import Arm, Measurement, MemoryLimit, Settings

Check = Callable[[str, list[int], Arrays], None]
"""Told (arm, rows, outputs) of every timed block; raises WorkerError if these are not the answers that were scored."""


@dataclass
class WorkerPool:
    """One worker an arm. One that fails leaves, and the others go on without it; the reference may not fail.

    Beyond the gate's workload, one that has no memory for a batch leaves too, and has not failed: what it answered to
    smaller ones stands.
    """

    found: Measurement
    reference: str
    check: Check
    workers: dict[str, WorkerHandle] = field(default_factory=dict)
    first_ns: dict[str, int] = field(default_factory=dict)
    last: dict[str, Answer] = field(default_factory=dict)
    switches: Counter[str] = field(default_factory=Counter)
    """Arm → involuntary context switches inside its windows."""
    vram_bytes: dict[str, int] = field(default_factory=dict)
    """Arm → the most that its worker was seen to hold of the GPU's memory."""
    beyond: int | None = None
    """The batch that is measured, beyond the gate's; None while it is the gate's."""

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Lets the arm leave when it fails inside; a failure of the reference goes on."""
        try:
            yield
        except WorkerError as error:
            if self.beyond is not None and isinstance(error, OutOfMemory):
                self.found.full.setdefault(name, MemoryLimit(self.beyond, str(error)))
                self._note(name)
            elif name == self.reference:
                raise
            else:
                self.found.failed[name] = error
            if name in self.workers:
                self.workers.pop(name).close()

    def turn_to(self, batch: int, *, gated: bool) -> None:
        """Go on with batches of another size, no smaller ones; whoever is known to have no memory for it leaves."""
        self.beyond = None if gated else batch
        for name in [name for name in self.workers if not self.found.fits(name, batch)]:
            self._note(name)
            self.workers.pop(name).close()

    def hire(self, arm: Arm, settings: Settings, stack: ExitStack) -> None:
        """Start the arm's worker, which ends with `stack`."""
        with self.guard(arm.name):
            hire = settings.machine.hire
            worker = hire(arm.backend, arm.artifact, settings.target, settings.timeout_s, arm.name, arm.front, arm.kind)
            self.workers[arm.name] = stack.enter_context(worker)

    def answer(self, names: Sequence[str], rows: list[int], batch: Arrays, loops: int) -> list[Answer]:
        """Hand the batch to every worker, then let them answer one after the other, in the order of `names`."""
        for name in names:
            with self.guard(name):
                self.workers[name].put(batch)
        answers = []
        for name in [name for name in names if name in self.workers]:
            with self.guard(name):
                answer = self.last[name] = self.workers[name].run(loops)
                self.first_ns.setdefault(name, answer.ended_ns - answer.began_ns)
                self.switches[name] += answer.switches
                self.check(name, rows, answer.outputs)
                answers.append(answer)
        return answers

    def pids(self) -> list[int]:
        """Of the workers that are left."""
        return [worker.pid for worker in self.workers.values()]

    def note_lives(self) -> None:
        """Put down what the workers that are left said of themselves."""
        for name in self.workers:
            self._note(name)

    def _note(self, name: str) -> None:
        if name not in self.first_ns:
            return  # a launch without an answer says nothing about starting up
        worker, lives = self.workers[name], self.found.lives[name]
        lives.import_ns.append(worker.loaded["import_ns"])
        lives.load_ns.append(worker.loaded["load_ns"])
        lives.compile_ns.append(worker.compile_ns)
        lives.first_ns.append(self.first_ns[name])
        lives.peak_rss_bytes.append(self.last[name].peak_rss_bytes)
        if name in self.vram_bytes:
            lives.peak_vram_bytes.append(self.vram_bytes[name])
        lives.settings = worker.loaded["settings"]
