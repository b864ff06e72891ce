"""The workers of one launch, and what happens to one that fails, remembers answers or leaks memory."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from harness.contracts.kind import Arrays
from harness.errors import OutOfMemory, WorkerError
from harness.measure.client import Answer, Worker
from harness.measure.samples import Arm, Measurement, MemoryLimit, Settings, WorkloadInputs
from harness.stats.intervals import median_interval

PAIRS = 16
"""Different batches of one shape, each timed when new and when just seen."""
CONFIDENCE = 0.998
"""15 of 16 pairs must agree, so that an honest arm on a noisy machine is not refused."""
SEEN_BEFORE = 1.10
"""Honest calls on rows of one shape differ by a thousandth; by this much only if work was left out."""
SEARCHED_ROUNDS = 200
"""Rounds whose batches are searched for equal shapes."""
LEAK_PARTS = 8
"""Memory readings after the first; the later half is judged, since allocators settle."""
MAX_CALLS, MIN_CALLS = 8, 2
"""Calls between two readings."""
CALLING_S = 1.0
"""Intended duration of all calls, if that many are enough."""
MAX_CALLING_S = 10.0
"""An arm whose fewest calls take longer is not checked, nor one that would be silent for half its timeout."""
LEAK_BYTES = 64 * 1024
"""Growth per call. Five models on eight backends each stood still in at least one of the judged parts; an LSTM on
PyTorch rose and fell by 368 KiB per call, the others rose by 34 KiB in at most one part."""

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
    """The batch size being measured, if it is beyond the gate's."""

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
        """Go on with another, larger batch size; arms known to run out of memory at it leave."""
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
    worker: Worker = settings.machine.start_worker(
        arm.backend, arm.artifact, settings.target, settings.timeout_s, arm.name, arm.preprocessing, arm.kind
    )
    return worker


def check_memoization(pool: WorkerPool, workload: WorkloadInputs, seed: int) -> None:
    """Time batches of one shape when new and when just seen; an arm that is too fast on seen ones leaves."""
    groups: dict[tuple[Any, ...], dict[tuple[int, ...], list[int]]] = defaultdict(dict)
    for number in range(SEARCHED_ROUNDS):
        rows, batch = workload.round(number)
        shapes = tuple((array.shape, array.dtype) for array in batch.values())  # a text's type includes its length
        groups[shapes][tuple(rows)] = rows
    batches = list(max(groups.values(), key=len).values())
    if len(batches) < PAIRS:
        pool.measurement.unchecked.append(
            f"not checked for remembered answers: of {SEARCHED_ROUNDS} batches only {len(batches)} different ones "
            f"share a shape; the check needs {PAIRS}"
        )
        return
    for name in list(pool.workers):
        with pool.guard(name):
            _compare_repeats(pool, name, workload, batches[-PAIRS:], random.Random(f"{seed} {name}"))


def _compare_repeats(
    pool: WorkerPool, name: str, workload: WorkloadInputs, batches: Sequence[list[int]], rng: random.Random
) -> None:
    def time_ns(rows: list[int]) -> int:
        pool.answer([name], rows, workload.arrays(rows), 1)
        if name not in pool.workers:
            raise pool.measurement.failed[name]
        return pool.last[name].elapsed_ns

    ratios = []
    for rows in batches:
        new_ns = time_ns(rows)
        # Once or twice more: some runtimes are slower at every other call, which would look like memory if always once.
        ratios.append(math.log(new_ns / median([time_ns(rows) for _ in range(rng.choice((1, 2)))])))
    interval = median_interval(ratios, CONFIDENCE)
    if interval.low > math.log(SEEN_BEFORE):
        raise WorkerError(
            f"{name}: answers rows that it has just seen {math.exp(interval.estimate):.1f} times as fast as new rows "
            "of the same shape; it remembers answers, so its time means nothing"
        )


def check_leaks(pool: WorkerPool, workload: WorkloadInputs, call_ns: Mapping[str, float], timeout_s: float) -> None:
    """Call every arm, whose calls take `call_ns`, on the same rows again and again; one that grows each time leaves."""
    _, batch = workload.round(0)
    max_s, unreadable = min(MAX_CALLING_S, timeout_s / 2), False
    for name in list(pool.workers):
        calls = plan_calls(call_ns[name], max_s)
        if calls == 0:
            fewest = LEAK_PARTS * MIN_CALLS
            pool.measurement.unchecked.append(
                f"{name}: not checked for a leak: {fewest} calls would take {fewest * call_ns[name] / 1e9:.0f} s, more "
                f"than {max_s:g}"
            )
            continue
        with pool.guard(name):
            pool.workers[name].put(batch)
            held = pool.workers[name].repeat(LEAK_PARTS, calls)
            unreadable = unreadable or not held
            if leaked := leaked_bytes(held, calls):
                raise WorkerError(
                    f"{name}: leaks memory: over {LEAK_PARTS * calls} calls on the same rows its worker grew from "
                    f"{held[0] / 1e6:.0f} to {held[-1] / 1e6:.0f} MB, in the end by {leaked / 1e6:.2g} MB per call"
                )
    if unreadable:
        pool.measurement.unchecked.append("not checked for leaks: this system does not report a process's own memory")


def plan_calls(call_ns: float, max_s: float) -> int:
    """Return the number of calls between two readings; 0 for an arm whose fewest calls take longer than `max_s`."""
    if LEAK_PARTS * MIN_CALLS * call_ns > max_s * 1e9:
        return 0
    return max(MIN_CALLS, min(MAX_CALLS, int(CALLING_S * 1e9 / LEAK_PARTS / call_ns)))


def leaked_bytes(held: Sequence[int], calls: int) -> float:
    """Return the growth per call over the later half of these readings, `calls` calls apart.

    0 unless each reading of that half is LEAK_BYTES per call above all before it: else memory has settled.
    """
    first = len(held) // 2
    rises = [held[at] - max(held[:at]) for at in range(first + 1, len(held))]
    if not rises or min(rises) < LEAK_BYTES * calls:
        return 0.0
    return (held[-1] - held[first]) / (len(rises) * calls)
