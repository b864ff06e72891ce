"""The workers of one launch, and what happens to one that fails or runs out of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from harness.contracts.kind import Arrays
from harness.errors import OutOfMemory, WorkerError
from harness.measure.client import Answer, Worker
from harness.measure.samples import Arm, Measurement, MemoryLimit, Settings

Check = Callable[[str, list[int], Arrays], None]
"""(arm, rows, outputs) of every timed block; raises WorkerError if these are not the answers that were scored."""


@dataclass
class WorkerPool:
    """One worker per arm. One that fails leaves and the others go on; a failure of the reference is raised.

    At batch sizes larger than the gate's, a worker that runs out of memory leaves without having failed: its arm's
    results at smaller sizes stand.
    """

    measurement: Measurement
    reference: str
    check: Check
    workers: dict[str, Worker] = field(default_factory=dict)
    first_ns: dict[str, int] = field(default_factory=dict)
    last: dict[str, Answer] = field(default_factory=dict)
    switches: Counter[str] = field(default_factory=Counter)
    """Arm → involuntary context switches inside its windows."""
    vram_bytes: dict[str, int] = field(default_factory=dict)
    """Arm → the most GPU memory that its worker was seen to hold."""
    started_alone: bool = True
    """One worker started after another."""
    ungated_batch: int | None = None
    """The batch size being measured, if it is larger than the gate's."""

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Remove the arm when it fails inside; re-raise a failure of the reference."""
        try:
            yield
        except WorkerError as error:
            if self.ungated_batch is not None and isinstance(error, OutOfMemory):
                self.measurement.memory_limits.setdefault(name, MemoryLimit(self.ungated_batch, str(error)))
                self.record([name])
            elif name == self.reference:
                raise
            else:
                self.measurement.failed[name] = error
            if name in self.workers:
                self.workers.pop(name).close()

    def switch_batch(self, batch: int, *, gated: bool) -> None:
        """Go on with another batch size; arms known to run out of memory at it leave."""
        self.ungated_batch = None if gated else batch
        for name in [name for name in self.workers if not self.measurement.fits(name, batch)]:
            self.record([name])
            self.workers.pop(name).close()

    def start(self, arms: Sequence[Arm], settings: Settings, stack: ExitStack, *, together: bool) -> None:
        """Start the arms' workers, which end with `stack`, one after another or as many at once as there are cores.

        Only the times of workers that started alone are recorded.
        """
        machine = settings.machine
        with ThreadPoolExecutor(machine.parallel_starts if together else 1) as threads:
            starts = {arm.name: threads.submit(_start_worker, arm, settings) for arm in arms}
        # All of them belong to the stack before a failure is raised.
        workers = {name: stack.enter_context(start.result()) for name, start in starts.items() if not start.exception()}
        for name, start in starts.items():
            with self.guard(name):
                start.result()
                self.workers[name] = workers[name]
        self.started_alone = not together

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

    def record(self, names: Sequence[str]) -> None:
        """Add these workers' figures to the measurement; a launch without an answer says nothing about starting up."""
        for name in self.first_ns.keys() & set(names):
            worker, figures = self.workers[name], self.measurement.workers[name]
            if self.started_alone:
                figures.import_ns.append(worker.loaded["import_ns"])
                figures.load_ns.append(worker.loaded["load_ns"])
                figures.compile_ns.append(worker.compile_ns)
                figures.first_ns.append(self.first_ns[name])
            figures.peak_rss_bytes.append(self.last[name].peak_rss_bytes)
            if name in self.vram_bytes:
                figures.peak_vram_bytes.append(self.vram_bytes[name])
            figures.settings = worker.loaded["settings"]


def _start_worker(arm: Arm, settings: Settings) -> Worker:
    alone = False
    worker: Worker = settings.machine.start_worker(
        arm.backend, arm.artifact, settings.target, settings.timeout_s, arm.name, arm.preprocessing, arm.kind, alone
    )
    return worker
