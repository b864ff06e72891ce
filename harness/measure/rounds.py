"""Rounds over workers: every arm answers the same batch once, in random order, launch after launch, until decided."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from time import perf_counter_ns

import numpy as np

from harness.measure.gpu import GpuSnapshot, is_steady
from harness.measure.samples import Arm, Measurement, Samples, Settings, WorkerFigures, WorkloadInputs
from harness.measure.system import Snapshot, Span, Window, host, summarize
from harness.measure.worker_pool import Check, WorkerPool
from harness.util.console import Progress

BLOCK_NS = 8_000_000
"""Calls are timed in blocks of at least this length, so that handing over a batch costs little beside them."""
MAX_BLOCK_NS = 200_000_000
"""The slowest arm's block is no longer, or a very fast arm would have all others spend the budget."""
WARM_UP_BLOCKS = 2
"""The first call at a shape allocates memory for it; the second shows how long calls take."""
MAX_GPU_WARM_UP_BLOCKS = 100
"""Blocks of every arm after which rounds begin even if the GPU's clock is not steady: some seconds."""
MIN_LATER_LAUNCHES, MAX_LAUNCH_ROUNDS = 2, 40
"""Launches between two looks, and rounds in each of them: more rounds do not reduce the spread between launches."""
UNGATED_ROUNDS = 16
"""Rounds of each batch size other than the gate's. No verdict hangs on them, and launches differ more than rounds."""
ORDER_SEED = 0

Decides = Callable[[Samples], bool]
"""Returns True if the rounds so far decide every arm."""


def measure(
    arms: Sequence[Arm],
    workloads: Sequence[WorkloadInputs],
    settings: Settings,
    check: Check,
    decides: Decides,
    progress: Progress,
) -> Measurement:
    """Time every workload on all arms, the first of which is the reference; raise WorkerError when it fails.

    Rounds go on until `decides` returns True at a look, or the budget is spent. The first workload is the gate's; the
    others rise in batch size and end at their first look. An arm that runs out of memory at a larger batch than the
    gate's has no samples of it nor of larger ones; a workload for which the reference runs out of memory is dropped.
    """
    most = settings.looks[-1] + UNGATED_ROUNDS * (len(workloads) - 1)
    with settings.machine.lock(progress.say, settings.target.device), progress.bar(f"rounds, at most {most}") as bar:
        run = _Run(arms, workloads, settings, check, decides, bar.update)
        while run.due():
            began = _now()
            with ExitStack() as stack:
                run.launch(stack)
            run.measurement.windows.append(Window(host=host(), began=began, ended=_now()))
    return run.finish()


@dataclass
class _Run:
    """A measurement in progress."""

    arms: Sequence[Arm]
    workloads: InitVar[Sequence[WorkloadInputs]]
    settings: Settings
    check: Check
    decides: Decides
    tick: Callable[[], object]
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self, workloads: Sequence[WorkloadInputs]) -> None:
        self.pairs = [(workload, Samples(workload.batch, workload.order_seed)) for workload in workloads]
        self.measurement = Measurement(samples=[], workers={arm.name: WorkerFigures() for arm in self.arms})

    def due(self) -> list[tuple[WorkloadInputs, Samples]]:
        """Return the workloads that get another launch, and their samples."""
        return [(workload, samples) for workload, samples in self.pairs if self._fits(workload) and self._due(samples)]

    def launch(self, stack: ExitStack) -> None:
        """Start fresh workers, which end with `stack`, and run their rounds of every workload that is due."""
        pool = WorkerPool(self.measurement, self.arms[0].name, self.check)
        arms = [arm for arm in self.arms if arm.name not in self.measurement.failed]
        began_ns = perf_counter_ns()
        pool.start(arms, self.settings, stack, together=bool(self.pairs[0][1].rows))
        self.measurement.starting_ns += perf_counter_ns() - began_ns
        for workload, samples in self.due():
            pool.switch_batch(workload.batch, gated=workload.batch <= self.pairs[0][0].batch)
            self._run_workload(pool, workload, samples)
            if not self._fits(workload):
                break
        pool.record(list(pool.workers))

    def finish(self) -> Measurement:
        """Return the measurement."""
        self.measurement.samples = [samples for workload, samples in self.pairs if self._fits(workload)]
        for samples in self.measurement.samples:
            if samples.cut_short and not samples.decided:  # the budget may have ended before a look
                samples.decided = self.decides(samples)
        self.measurement.disturbance = summarize(self.spans)
        return self.measurement

    def _run_workload(self, pool: WorkerPool, workload: WorkloadInputs, samples: Samples) -> None:
        """Warm up, run this launch's rounds and record how the machine was meanwhile."""
        _warm_up(pool, workload, samples)
        self._await_steady_gpu(pool, workload, samples)
        pool.switches.clear()
        if not self._fits(workload):
            return
        before = self._read_machine(pool)
        self._run_rounds(pool, workload, samples)
        after = self._read_machine(pool)
        self.spans.append(Span(before=before, after=after, elapsed_ns=samples.last_ns, switches=dict(pool.switches)))
        if not self._fits(workload):
            return
        if is_look(samples, self.settings):
            samples.decided = self.decides(samples)
        if samples is self.pairs[0][1] and not self._due(samples):
            self._run_tail(pool, workload, samples)

    def _run_rounds(self, pool: WorkerPool, workload: WorkloadInputs, samples: Samples) -> None:
        """Run one launch's rounds of a workload, until they are complete or the launch has spent its budget."""
        launch, first = len(samples.rows), samples.rounds
        limit_ns = launch_limit_ns(samples, self.settings, len(self.pairs))
        rng = random.Random(f"{self.settings.seed} {launch} {workload.batch}")
        samples.rows.append([])
        samples.lengths.append([])
        for name in pool.workers:
            samples.ns.setdefault(name, []).append([])
            samples.first_token_ns.setdefault(name, []).append([])
        began_ns = samples.last_ns = 0
        for number in range(first, first + self._rounds_due(samples, launch)):
            if samples.last_ns > limit_ns:
                samples.cut_short = True
                break
            rows, batch = workload.round(number)
            answers = pool.answer(rng.sample(list(pool.workers), len(pool.workers)), rows, batch, samples.loops)
            if pool.reference not in pool.workers:
                return
            for name in pool.workers:
                block_ns = pool.last[name].elapsed_ns
                samples.ns[name][-1].append(block_ns // samples.loops)
                samples.first_token_ns[name][-1].append(pool.last[name].first_token_ns)
                samples.timed_ns[name] = samples.timed_ns.get(name, 0) + block_ns
            samples.rows[-1].append(rows[0])
            samples.lengths[-1].append(next(iter(batch.values()))[0].size)
            began_ns = began_ns or answers[0].began_ns
            samples.last_ns = answers[-1].ended_ns - began_ns
            self.tick()
        samples.spent_ns += samples.last_ns

    def _run_tail(self, pool: WorkerPool, workload: WorkloadInputs, samples: Samples) -> None:
        """Time single calls of every arm, for percentiles: the mean of a block has no tail."""
        rng = random.Random(f"{self.settings.seed} tail")
        for number in range(self.settings.tail):
            pool.answer(rng.sample(list(pool.workers), len(pool.workers)), *workload.round(number), 1)
            for name in pool.workers:
                samples.tail_ns.setdefault(name, []).append(pool.last[name].elapsed_ns)

    def _rounds_due(self, samples: Samples, launch: int) -> int:
        """Return the rounds of a launch; other batches than the gate's have few."""
        if samples is self.pairs[0][1]:
            return launch_plan(self.settings)[launch]
        return math.ceil(min(UNGATED_ROUNDS, self.settings.looks[0]) / self.settings.launches)

    def _fits(self, workload: WorkloadInputs) -> bool:
        """Return False if the reference has run out of memory for it."""
        return self.measurement.fits(self.arms[0].name, workload.batch)

    def _due(self, samples: Samples) -> bool:
        """Return whether the samples get another launch; batches other than the gate's end at their first look."""
        is_gated = samples is self.pairs[0][1]
        return (
            is_due(samples, self.settings, len(self.pairs)) if is_gated else len(samples.rows) < self.settings.launches
        )

    def _read_machine(self, pool: WorkerPool) -> Snapshot:
        """Record the GPU's state and how much of its memory every worker holds; return the machine's counters."""
        if (snapshot := self._read_gpu(pool)) is not None:
            self.measurement.gpu.append(snapshot.reading)
            for name, worker in pool.workers.items():
                if (held := snapshot.held_bytes.get(worker.pid)) is not None:
                    pool.vram_bytes[name] = max(held, pool.vram_bytes.get(name, 0))
        return self.settings.machine.read_counters(pool.pids())

    def _await_steady_gpu(self, pool: WorkerPool, workload: WorkloadInputs, samples: Samples) -> None:
        """Run blocks that do not count until the GPU's clock is steady, or for MAX_GPU_WARM_UP_BLOCKS."""
        rates: list[int] = []
        rows, batch = workload.round(0)
        while (snapshot := self._read_gpu(pool)) is not None and snapshot.reading.sm_mhz:
            rates.append(snapshot.reading.sm_mhz)
            if is_steady(rates):
                return
            if len(rates) > MAX_GPU_WARM_UP_BLOCKS:
                last = rates[-MAX_GPU_WARM_UP_BLOCKS:]
                self.measurement.unsteady.append(
                    f"batch {workload.batch}: the GPU's clock was not steady after {MAX_GPU_WARM_UP_BLOCKS} blocks of "
                    f"warm-up calls: {min(last)} to {max(last)} MHz"
                )
                return
            pool.answer(list(pool.workers), rows, batch, samples.loops)
            if pool.reference not in pool.workers:
                return

    def _read_gpu(self, pool: WorkerPool) -> GpuSnapshot | None:
        return self.settings.machine.read_gpu(pool.pids()) if self.settings.target.device == "cuda" else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _warm_up(pool: WorkerPool, workload: WorkloadInputs, samples: Samples) -> None:
    """Run blocks that count only for the first answer and, in the first launch, set the number of calls in a block."""
    rows, batch = workload.round(0)
    loops = 1
    for _ in range(WARM_UP_BLOCKS):
        pool.answer(list(pool.workers), rows, batch, loops)
        if pool.reference not in pool.workers:
            return
        call_ns = [pool.last[name].elapsed_ns / loops for name in pool.workers]
        loops = max(1, min(math.ceil(BLOCK_NS / min(call_ns)), int(MAX_BLOCK_NS / max(call_ns))))
        if samples.loops == 1 and pool.ungated_batch is not None:
            return  # a later launch knows how long calls take, and smaller batches have warmed the worker up
    samples.loops = samples.loops or loops


def launch_plan(settings: Settings) -> list[int]:
    """Return the rounds of each launch: `settings.launches` up to the first look, more between later ones."""
    plan: list[int] = []
    for done, look in pairwise((0, *settings.looks)):
        more = look - done
        launches = max(MIN_LATER_LAUNCHES, math.ceil(more / MAX_LAUNCH_ROUNDS)) if done else settings.launches
        plan += [more // launches + (launch < more % launches) for launch in range(launches)]
    return plan


def is_look(samples: Samples, settings: Settings) -> bool:
    """Return True if the latest launch completes a look, or is the last that the budget allows."""
    done = len(samples.rows)
    return done >= settings.launches and (samples.cut_short or sum(launch_plan(settings)[:done]) in settings.looks)


def is_due(samples: Samples, settings: Settings, workloads: int) -> bool:
    """Return True if the workload gets another launch: one that leads to a look, at the pace so far, within the budget.

    If only the budget forbids it, mark the samples as cut short.
    """
    done, plan = len(samples.rows), launch_plan(settings)
    if samples.decided or done >= len(plan):
        return False
    if done < settings.launches:
        return True
    look = next(look for look in settings.looks if look > sum(plan[:done]))
    needed_ns = samples.spent_ns / samples.rounds * (look - samples.rounds)
    samples.cut_short |= needed_ns > launch_limit_ns(samples, settings, workloads)
    return not samples.cut_short


def launch_limit_ns(samples: Samples, settings: Settings, workloads: int) -> float:
    """Return what the next launch may spend of the workload's share of the budget.

    Launches before the first look share evenly, so that each gets rounds.
    """
    budget_ns = settings.budget_s * 1e9 / workloads
    return budget_ns / settings.launches if len(samples.rows) < settings.launches else budget_ns - samples.spent_ns


def row_order(rows: int, seed: int = ORDER_SEED) -> list[int]:
    """Return the numbers of `rows` test rows in random order, the same for every backend."""
    return [int(row) for row in np.random.default_rng(seed).permutation(rows)]


def batch_rows(order: list[int], first: int, size: int) -> list[int]:
    """Return `size` rows from position `first` of the order, which begins again after its last."""
    return [order[(first + at) % len(order)] for at in range(size)]
