"""Rounds over workers: every arm answers the same batch once, in random order, start after start."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from harness.errors import WorkerError
from harness.process import Answer, Worker
from harness.progress import Progress
from harness.samples import Arm, Lives, Load, Measurement, Samples, Settings
from harness.spec import Arrays

BLOCK_NS = 8_000_000
"""Calls are timed in blocks of at least this length, so that handing over a batch costs little beside them."""
WARM_UP = 3
Check = Callable[[str, list[int], Arrays], None]
"""Told (arm, rows, outputs) of every timed block; raises WorkerError if these are not the answers that were scored."""


@contextmanager
def machine_lock() -> Iterator[None]:
    """Held while anything is timed, so that two sessions on one machine never measure at once."""
    with FileLock(Path(tempfile.gettempdir()) / "shipbench-measuring.lock", mode=0o666):
        yield


def measure(
    arms: Sequence[Arm], loads: Sequence[Load], settings: Settings, check: Check, progress: Progress
) -> Measurement:
    """Run every load over all arms, the first of which is the reference; WorkerError when the reference fails."""
    found = Measurement(
        samples=[Samples(load.batch, load.order_seed) for load in loads], lives={arm.name: Lives() for arm in arms}
    )
    share_ns = settings.budget_s * 1e9 / len(loads) / settings.starts
    with machine_lock(), progress.bar("measure", settings.starts * sum(load.rounds for load in loads)) as bar:
        for start in range(settings.starts):
            with ExitStack() as stack:
                crew = _Crew(found, arms[0].name, check)
                for arm in arms:
                    if arm.name not in found.failed:
                        crew.hire(arm, settings, stack)
                for load, samples in zip(loads, found.samples, strict=True):
                    _warm_up(crew, load, samples)
                    dice = random.Random(f"{settings.seed} {start} {load.batch}")
                    for _ in _rounds(crew, load, samples, dice, share_ns):
                        bar.update()
                crew.note_lives()
    return found


@dataclass
class _Crew:
    """The workers of one start. One that fails leaves, and the others go on without it."""

    found: Measurement
    reference: str
    check: Check
    workers: dict[str, Worker] = field(default_factory=dict)
    first_ns: dict[str, int] = field(default_factory=dict)
    last: dict[str, Answer] = field(default_factory=dict)

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        try:
            yield
        except WorkerError as error:
            if name == self.reference:
                raise
            self.found.failed[name] = error
            if name in self.workers:
                self.workers.pop(name).close()

    def hire(self, arm: Arm, settings: Settings, stack: ExitStack) -> None:
        with self.guard(arm.name):
            worker = Worker(arm.backend, arm.artifact, settings.target, settings.timeout_s, arm.name)
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
                self.check(name, rows, answer.outputs)
                answers.append(answer)
        return answers

    def note_lives(self) -> None:
        for name, worker in self.workers.items():
            lives = self.found.lives[name]
            lives.load_ns.append(worker.loaded["load_ns"])
            lives.first_ns.append(self.first_ns[name])
            lives.peak_rss_bytes.append(self.last[name].peak_rss_bytes)
            lives.settings = worker.loaded["settings"]


def _warm_up(crew: _Crew, load: Load, samples: Samples) -> None:
    """Calls that count for nothing but the first answer and, in the first start, the number of calls in a block."""
    rows = load.rows(0)
    batch = load.arrays(rows)
    loops = 1
    for _ in range(WARM_UP):
        answers = crew.answer(list(crew.workers), rows, batch, loops)
        fastest_ns = min(answer.ended_ns - answer.began_ns for answer in answers) / loops
        loops = max(1, math.ceil(BLOCK_NS / fastest_ns))
    samples.loops = samples.loops or loops


def _rounds(crew: _Crew, load: Load, samples: Samples, dice: random.Random, share_ns: float) -> Iterator[None]:
    """One start's rounds of one load, until they are done or their share of the budget is spent."""
    start = len(samples.rows)
    samples.rows.append([])
    samples.lengths.append([])
    for name in crew.workers:
        samples.ns.setdefault(name, []).append([])
    began = ended = 0
    for number in range(start * load.rounds, (start + 1) * load.rounds):
        if ended - began > share_ns:
            samples.cut = True
            break
        rows = load.rows(number)
        batch = load.arrays(rows)
        answers = crew.answer(dice.sample(list(crew.workers), len(crew.workers)), rows, batch, samples.loops)
        for name in crew.workers:
            answer = crew.last[name]
            samples.ns[name][-1].append((answer.ended_ns - answer.began_ns) // samples.loops)
        samples.rows[-1].append(rows[0])
        samples.lengths[-1].append(next(iter(batch.values()))[0].size)
        samples.timed_ns += sum(answer.ended_ns - answer.began_ns for answer in answers)
        began, ended = began or answers[0].began_ns, answers[-1].ended_ns
        yield
    samples.spent_ns += ended - began
