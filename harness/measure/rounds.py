"""The order in which test rows are asked for: drawn once, the same for every backend.

ALSO: When workers are launched anew, for how many rounds, and when it is asked whether these suffice.
ALSO: Glances at the GPU while rounds run on it, and calls until its clock is steady.
ALSO: Rounds over workers: every arm answers the same batch once, in random order, launch after launch, until decided."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from harness.measure import checks
from harness.measure.checks import check_memoization
from harness.measure.gpu import GpuReading, GpuSnapshot, is_steady
from harness.measure.samples import Arm, Measurement, Samples, Settings, WorkerFigures, WorkloadInputs
from harness.measure.system import Span, summarize
from harness.measure.worker_pool import Check, WorkerPool
from harness.util.console import Progress

ORDER_SEED = 0


def row_order(rows: int, seed: int = ORDER_SEED) -> list[int]:
    """The numbers of `rows` test rows in that order."""
    return [int(row) for row in np.random.default_rng(seed).permutation(rows)]


def batch_rows(order: list[int], first: int, size: int) -> list[int]:
    """The rows of a batch whose first stands at place `first` of the order; after its last the order begins again."""
    return [order[(first + at) % len(order)] for at in range(size)]


FURTHER_LAUNCHES, LONGEST_LAUNCH = 2, 40
"""Generations of workers between one look and the next, at least, and rounds of each, at most: rounds do not mend the
spread between launches."""


def launch_plan(settings: Settings) -> list[int]:
    """Rounds of each launch: the first look's over `settings.launches`, each later one's over FURTHER_STARTS or more."""
    rounds: list[int] = []
    for done, look in pairwise((0, *settings.looks)):
        more = look - done
        parts = max(FURTHER_LAUNCHES, math.ceil(more / LONGEST_LAUNCH)) if done else settings.launches
        rounds += [more // parts + (part < more % parts) for part in range(parts)]
    return rounds


def is_look(samples: Samples, settings: Settings) -> bool:
    """Whether the launch that ended completes a look, or is the last that the budget allowed."""
    done = len(samples.rows)
    return done >= settings.launches and (samples.cut or sum(launch_plan(settings)[:done]) in settings.looks)


def is_due(samples: Samples, settings: Settings, loads: int) -> bool:
    """Whether a workload gets another launch: one that leads to a look, at the pace so far, within the budget."""
    done, rounds = len(samples.rows), launch_plan(settings)
    if samples.settled or done >= len(rounds):
        return False
    if done < settings.launches:
        return True
    look = next(look for look in settings.looks if look > sum(rounds[:done]))
    needed_ns = samples.spent_ns / samples.rounds * (look - samples.rounds)
    samples.cut |= needed_ns > _share_ns(settings, loads) - samples.spent_ns
    return not samples.cut


def launch_limit_ns(samples: Samples, settings: Settings, loads: int) -> float:
    """What the next launch may spend; the first ones share evenly, so that none of them is left without rounds."""
    share_ns = _share_ns(settings, loads)
    return share_ns / settings.launches if len(samples.rows) < settings.launches else share_ns - samples.spent_ns


def _share_ns(settings: Settings, loads: int) -> float:
    return settings.budget_s * 1e9 / loads


MOST_CALLS = 100
"""Blocks of warm-up calls of every arm after which rounds begin, steady or not: some seconds."""


@dataclass
class GpuMonitor:
    """What was seen of the GPU during one measurement; nothing on the CPU."""

    settings: Settings
    looks: list[GpuReading] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)

    def take(self, crew: WorkerPool) -> None:
        """Put down how the GPU is, and what every worker holds of its memory."""
        found = self._seen(crew)
        if found is None:
            return
        self.looks.append(found.look)
        for name, worker in crew.workers.items():
            if (held := found.held_bytes.get(worker.pid)) is not None:
                crew.vram_bytes[name] = max(held, crew.vram_bytes.get(name, 0))

    def warm(self, crew: WorkerPool, load: WorkloadInputs, samples: Samples) -> None:
        """Calls that count for nothing, until the clock is steady."""
        rates: list[int] = []
        rows = load.rows(0)
        batch = load.arrays(rows)
        while (found := self._seen(crew)) is not None and found.look.sm_mhz:
            rates.append(found.look.sm_mhz)
            if is_steady(rates):
                return
            if len(rates) > MOST_CALLS:
                last = rates[-MOST_CALLS:]
                self.unsteady.append(
                    f"batch {load.batch}: the GPU's clock was not steady after {MOST_CALLS} blocks of warm-up calls: "
                    f"{min(last)} to {max(last)} MHz"
                )
                return
            crew.answer(list(crew.workers), rows, batch, samples.loops)
            if crew.reference not in crew.workers:
                return

    def _seen(self, crew: WorkerPool) -> GpuSnapshot | None:
        return self.settings.machine.look(crew.pids()) if self.settings.target.device == "cuda" else None


BLOCK_NS = 8_000_000
"""Calls are timed in blocks of at least this length, so that handing over a batch costs little beside them."""

LONGEST_BLOCK_NS = 200_000_000
"""But no arm's block is longer, where the fastest arm is so fast that all others would spend the budget for it."""

WARM_UP = 2
"""The first call at a shape makes room for it; the second says how long calls take."""

Settled = Callable[[Samples], bool]
"""Whether the rounds so far decide every arm."""


def measure(
    arms: Sequence[Arm],
    loads: Sequence[WorkloadInputs],
    settings: Settings,
    check: Check,
    settled: Settled,
    progress: Progress,
) -> Measurement:
    """Run every load over all arms, the first of which is the reference; WorkerError when the reference fails.

    Rounds go on until `settled` says at a look that they suffice, or the budget is spent. Loads come by size, the first
    being the gate's. An arm that has no memory for a further one has no samples of it nor of those after it; where
    the reference has none, nobody has.
    """
    run = _Run(arms, loads, settings, check, settled)
    with settings.machine.alone(), progress.bar("measure", settings.looks[-1] * len(loads)) as bar:
        while run.due():
            with ExitStack() as stack:
                run.launch(stack, lambda: bar.update())
    run.found.samples = [samples for load, samples in run.pairs() if run.fits(load)]
    for samples in run.found.samples:  # the budget may have ended before a look
        samples.settled = samples.settled or (samples.cut and settled(samples))
    run.found.disturbance = summarize(run.spans)
    return run.found


class _Run:
    """One measurement under way."""

    def __init__(
        self, arms: Sequence[Arm], loads: Sequence[WorkloadInputs], settings: Settings, check: Check, settled: Settled
    ) -> None:
        self.arms, self.loads, self.settings, self.check, self.settled = arms, loads, settings, check, settled
        samples = [Samples(load.batch, load.order_seed) for load in loads]
        self.found = Measurement(samples=samples, lives={arm.name: WorkerFigures() for arm in arms})
        self.spans: list[Span] = []
        self.glances = GpuMonitor(settings, self.found.gpu, self.found.unsteady)

    def due(self) -> list[tuple[WorkloadInputs, Samples]]:
        """What gets another launch."""
        pairs = [(load, samples) for load, samples in self.pairs() if self.fits(load)]
        return [(load, samples) for load, samples in pairs if is_due(samples, self.settings, len(self.loads))]

    def pairs(self) -> Iterator[tuple[WorkloadInputs, Samples]]:
        """Every load, and what it gave."""
        return zip(self.loads, self.found.samples, strict=True)

    def fits(self, load: WorkloadInputs) -> bool:
        """Whether the reference has memory for it, as far as is known."""
        return self.found.fits(self.arms[0].name, load.batch)

    def launch(self, stack: ExitStack, tick: Callable[[], object]) -> None:
        """Fresh workers, which end with `stack`; their rounds of every load that is due; and what they say."""
        crew, due = WorkerPool(self.found, self.arms[0].name, self.check), self.due()
        crew.turn_to(due[0][0].batch, gated=due[0][0] is self.loads[0])  # whose memory is asked for by loading, too
        for arm in self.arms:
            if arm.name not in self.found.failed and self.found.fits(arm.name, due[0][0].batch):
                crew.hire(arm, self.settings, stack)
        if self.settings.probes and not due[0][1].rows:
            check_memoization(crew, due[0][0], self.settings.seed)
        for load, samples in due:
            crew.turn_to(load.batch, gated=load is self.loads[0])
            self._warm(crew, load, samples)
            crew.switches.clear()
            if not self.fits(load):
                break
            self.glances.take(crew)
            before = self.settings.machine.take(crew.pids())
            limit_ns = launch_limit_ns(samples, self.settings, len(self.loads))
            for _ in _rounds(crew, load, samples, self.settings, limit_ns):
                tick()
            self.glances.take(crew)
            after = self.settings.machine.take(crew.pids())
            switches = dict(crew.switches)
            self.spans.append(Span(before=before, after=after, elapsed_ns=samples.last_ns, switches=switches))
            if not self.fits(load):
                break
            if is_look(samples, self.settings):
                samples.settled = self.settled(samples)
            if load is self.loads[0] and not is_due(samples, self.settings, len(self.loads)):
                _tail(crew, load, samples, self.settings)
        crew.note_lives()

    def _warm(self, crew: WorkerPool, load: WorkloadInputs, samples: Samples) -> None:
        """All that goes before the rounds; in the very first launch that is the look for leaks, too."""
        call_ns = _warm_up(crew, load, samples)
        if self.settings.probes and load is self.loads[0] and not samples.rows:
            checks.check_leaks(crew, load, call_ns, self.settings.timeout_s)
        self.glances.warm(crew, load, samples)


def _warm_up(crew: WorkerPool, load: WorkloadInputs, samples: Samples) -> dict[str, float]:
    """Calls that count for nothing but the first answer and, in the first launch, the number of calls in a block.

    What the last call of each arm that is left took, in nanoseconds.
    """
    rows = load.rows(0)
    batch = load.arrays(rows)
    loops, took_ns = 1, {}
    for _ in range(WARM_UP):
        crew.answer(list(crew.workers), rows, batch, loops)
        if crew.reference not in crew.workers:
            return {}
        last = crew.last
        took_ns = {name: (last[name].ended_ns - last[name].began_ns) / loops for name in crew.workers}
        fastest, slowest = min(took_ns.values()), max(took_ns.values())
        loops = max(1, min(math.ceil(BLOCK_NS / fastest), int(LONGEST_BLOCK_NS / slowest)))
    samples.loops = samples.loops or loops
    return took_ns


def _rounds(
    crew: WorkerPool, load: WorkloadInputs, samples: Samples, settings: Settings, limit_ns: float
) -> Iterator[None]:
    """One launch's rounds of one load, until they are done or what it may spend is spent."""
    launch, first = len(samples.rows), samples.rounds
    dice = random.Random(f"{settings.seed} {launch} {load.batch}")
    samples.rows.append([])
    samples.lengths.append([])
    for name in crew.workers:
        samples.ns.setdefault(name, []).append([])
    began = samples.last_ns = 0
    for number in range(first, first + launch_plan(settings)[launch]):
        if samples.last_ns > limit_ns:
            samples.cut = True
            break
        rows = load.rows(number)
        batch = load.arrays(rows)
        answers = crew.answer(dice.sample(list(crew.workers), len(crew.workers)), rows, batch, samples.loops)
        if crew.reference not in crew.workers:
            return
        for name in crew.workers:
            spent_ns = crew.last[name].ended_ns - crew.last[name].began_ns
            samples.ns[name][-1].append(spent_ns // samples.loops)
            samples.timed_ns[name] = samples.timed_ns.get(name, 0) + spent_ns
        samples.rows[-1].append(rows[0])
        samples.lengths[-1].append(next(iter(batch.values()))[0].size)
        began = began or answers[0].began_ns
        samples.last_ns = answers[-1].ended_ns - began
        yield
    samples.spent_ns += samples.last_ns


def _tail(crew: WorkerPool, load: WorkloadInputs, samples: Samples, settings: Settings) -> None:
    """Single calls of every arm, for percentiles: a block's mean has no tail."""
    dice = random.Random(f"{settings.seed} tail")
    for number in range(settings.tail):
        rows = load.rows(number)
        crew.answer(dice.sample(list(crew.workers), len(crew.workers)), rows, load.arrays(rows), 1)
        for name in crew.workers:
            samples.tail_ns.setdefault(name, []).append(crew.last[name].ended_ns - crew.last[name].began_ns)
