"""The workers of one launch, and what happens when one fails."""

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
"""(arm, rows, outputs) of every timed block; raises WorkerError if these are not the answers that were scored."""


@dataclass
class WorkerPool:
    """One worker per arm. One that fails leaves and the others go on; a failure of the reference is raised.

    At batch sizes beyond the gate's, a worker that runs out of memory leaves without having failed: its arm's results
    at smaller sizes stand.
    """

    measurement: Measurement
    reference: str
    check: Check
    workers: dict[str, WorkerHandle] = field(default_factory=dict)
    first_ns: dict[str, int] = field(default_factory=dict)
    last: dict[str, Answer] = field(default_factory=dict)
    switches: Counter[str] = field(default_factory=Counter)
    """Arm → involuntary context switches inside its windows."""
    vram_bytes: dict[str, int] = field(default_factory=dict)
    """Arm → the most GPU memory that its worker was seen to hold."""
    ungated_batch: int | None = None
    """The batch size being measured, if it is beyond the gate's."""

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Remove the arm when it fails inside; re-raise a failure of the reference."""
        try:
            yield
        except WorkerError as error:
            if self.ungated_batch is not None and isinstance(error, OutOfMemory):
                self.measurement.memory_limits.setdefault(name, MemoryLimit(self.ungated_batch, str(error)))
                self._record(name)
            elif name == self.reference:
                raise
            else:
                self.measurement.failed[name] = error
            if name in self.workers:
                self.workers.pop(name).close()

    def switch_batch(self, batch: int, *, gated: bool) -> None:
        """Go on with another, larger batch size; arms known to run out of memory at it leave."""
        self.ungated_batch = None if gated else batch
        for name in [name for name in self.workers if not self.measurement.fits(name, batch)]:
            self._record(name)
            self.workers.pop(name).close()

    def start(self, arm: Arm, settings: Settings, stack: ExitStack) -> None:
        """Start the arm's worker; it ends with `stack`."""
        with self.guard(arm.name):
            worker = settings.machine.start_worker(
                arm.backend, arm.artifact, settings.target, settings.timeout_s, arm.name, arm.preprocessing, arm.kind
            )
            self.workers[arm.name] = stack.enter_context(worker)

    def answer(self, names: Sequence[str], rows: list[int], batch: Arrays, loops: int) -> list[Answer]:
        """Hand the batch to every worker, then time them one after the other, in the order of `names`."""
        for name in names:
            with self.guard(name):
                self.workers[name].put(batch)
        answers = []
        for name in [name for name in names if name in self.workers]:
            with self.guard(name):
                answer = self.last[name] = self.workers[name].run(loops)
                self.first_ns.setdefault(name, answer.elapsed_ns)
                self.switches[name] += answer.switches
                self.check(name, rows, answer.outputs)
                answers.append(answer)
        return answers

    def pids(self) -> list[int]:
        """Return the process ids of the remaining workers."""
        return [worker.pid for worker in self.workers.values()]

    def record_workers(self) -> None:
        """Add the remaining workers' figures to the measurement."""
        for name in self.workers:
            self._record(name)

    def _record(self, name: str) -> None:
        if name not in self.first_ns:
            return  # a launch without an answer says nothing about starting up
        worker, figures = self.workers[name], self.measurement.workers[name]
        figures.import_ns.append(worker.loaded["import_ns"])
        figures.load_ns.append(worker.loaded["load_ns"])
        figures.compile_ns.append(worker.compile_ns)
        figures.first_ns.append(self.first_ns[name])
        figures.peak_rss_bytes.append(self.last[name].peak_rss_bytes)
        if name in self.vram_bytes:
            figures.peak_vram_bytes.append(self.vram_bytes[name])
        figures.settings = worker.loaded["settings"]
