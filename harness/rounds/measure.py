"""Rounds over workers: every arm answers the same batch once, in random order, start after start, until decided."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from harness.progress import Progress
from harness.rounds import leaks, schedule
from harness.rounds.crew import Check, Crew
from harness.rounds.disturbance import Span, total
from harness.rounds.glances import Glances
from harness.rounds.honesty import probe
from harness.rounds.samples import Arm, Lives, Load, Measurement, Samples, Settings

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
    loads: Sequence[Load],
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
                run.start(stack, lambda: bar.update())
    run.found.samples = [samples for load, samples in run.pairs() if run.fits(load)]
    for samples in run.found.samples:  # the budget may have ended before a look
        samples.settled = samples.settled or (samples.cut and settled(samples))
    run.found.disturbance = total(run.spans)
    return run.found


class _Run:
    """One measurement under way."""

    def __init__(
        self, arms: Sequence[Arm], loads: Sequence[Load], settings: Settings, check: Check, settled: Settled
    ) -> None:
        self.arms, self.loads, self.settings, self.check, self.settled = arms, loads, settings, check, settled
        samples = [Samples(load.batch, load.order_seed) for load in loads]
        self.found = Measurement(samples=samples, lives={arm.name: Lives() for arm in arms})
        self.spans: list[Span] = []
        self.glances = Glances(settings, self.found.gpu, self.found.unsteady)

    def due(self) -> list[tuple[Load, Samples]]:
        """What gets another start."""
        pairs = [(load, samples) for load, samples in self.pairs() if self.fits(load)]
        return [(load, samples) for load, samples in pairs if schedule.is_due(samples, self.settings, len(self.loads))]

    def pairs(self) -> Iterator[tuple[Load, Samples]]:
        """Every load, and what it gave."""
        return zip(self.loads, self.found.samples, strict=True)

    def fits(self, load: Load) -> bool:
        """Whether the reference has memory for it, as far as is known."""
        return self.found.fits(self.arms[0].name, load.batch)

    def start(self, stack: ExitStack, tick: Callable[[], object]) -> None:
        """Fresh workers, which end with `stack`; their rounds of every load that is due; and what they say."""
        crew, due = Crew(self.found, self.arms[0].name, self.check), self.due()
        crew.turn_to(due[0][0].batch, gated=due[0][0] is self.loads[0])  # whose memory is asked for by loading, too
        for arm in self.arms:
            if arm.name not in self.found.failed and self.found.fits(arm.name, due[0][0].batch):
                crew.hire(arm, self.settings, stack)
        if self.settings.probes and not due[0][1].rows:
            probe(crew, due[0][0], self.settings.seed)
        for load, samples in due:
            crew.turn_to(load.batch, gated=load is self.loads[0])
            self._warm(crew, load, samples)
            crew.switches.clear()
            if not self.fits(load):
                break
            self.glances.take(crew)
            before = self.settings.machine.take(crew.pids())
            limit_ns = schedule.limit_ns(samples, self.settings, len(self.loads))
            for _ in _rounds(crew, load, samples, self.settings, limit_ns):
                tick()
            self.glances.take(crew)
            after = self.settings.machine.take(crew.pids())
            switches = dict(crew.switches)
            self.spans.append(Span(before=before, after=after, elapsed_ns=samples.last_ns, switches=switches))
            if not self.fits(load):
                break
            if schedule.is_look(samples, self.settings):
                samples.settled = self.settled(samples)
            if load is self.loads[0] and not schedule.is_due(samples, self.settings, len(self.loads)):
                _tail(crew, load, samples, self.settings)
        crew.note_lives()

    def _warm(self, crew: Crew, load: Load, samples: Samples) -> None:
        """All that goes before the rounds; in the very first start that is the look for leaks, too."""
        call_ns = _warm_up(crew, load, samples)
        if self.settings.probes and load is self.loads[0] and not samples.rows:
            leaks.look(crew, load, call_ns, self.settings.timeout_s)
        self.glances.warm(crew, load, samples)


def _warm_up(crew: Crew, load: Load, samples: Samples) -> dict[str, float]:
    """Calls that count for nothing but the first answer and, in the first start, the number of calls in a block.

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


def _rounds(crew: Crew, load: Load, samples: Samples, settings: Settings, limit_ns: float) -> Iterator[None]:
    """One start's rounds of one load, until they are done or what it may spend is spent."""
    start, first = len(samples.rows), samples.rounds
    dice = random.Random(f"{settings.seed} {start} {load.batch}")
    samples.rows.append([])
    samples.lengths.append([])
    for name in crew.workers:
        samples.ns.setdefault(name, []).append([])
    began = samples.last_ns = 0
    for number in range(first, first + schedule.plan(settings)[start]):
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


def _tail(crew: Crew, load: Load, samples: Samples, settings: Settings) -> None:
    """Single calls of every arm, for percentiles: a block's mean has no tail."""
    dice = random.Random(f"{settings.seed} tail")
    for number in range(settings.tail):
        rows = load.rows(number)
        crew.answer(dice.sample(list(crew.workers), len(crew.workers)), rows, load.arrays(rows), 1)
        for name in crew.workers:
            samples.tail_ns.setdefault(name, []).append(crew.last[name].ended_ns - crew.last[name].began_ns)
