"""Workers that are killed at random instants: each death is named, and takes nobody else's results along."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.contracts import Target
from harness.errors import WorkerError
from harness.rounds.samples import Arm
from harness.selftest import mortal_sessions, toys
from harness.selftest.figures import DEATH_SESSIONS, KILLS, KILLS_EACH, NAMING_TRIALS, REFERENCE_KILLS, SEED
from harness.selftest.measuring import INPUT, TIMEOUT_S, Rounds, rounds_of
from harness.selftest.part import Figure, Given, Part
from harness.workers.process import Worker

NAMED = "killed by SIGKILL"
ROUNDS = 20
CALL_MS = "5"
WITHIN_S = 2.0
"""Kills fall within so many seconds of the reference's start: while others start, warm up, answer, or wait."""
TARGET = Target("cpu", 1)


@dataclass
class Killer:
    """Kills other processes of this one's children on time."""

    reference: Path
    """The folder where the reference leaves its number."""
    delays_s: Sequence[float]
    spare_reference: bool
    killed: list[int] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Wait for the reference if it is to be spared, then kill whoever lives when a delay is over."""
        number = self.reference / toys.PID
        while self.spare_reference and not number.exists():
            if self.over.wait(0.005):
                return
        waited = 0.0
        for delay in sorted(self.delays_s):
            if self.over.wait(delay - waited):
                return
            waited = delay
            self._kill(int(number.read_text()) if number.exists() else 0)

    def _kill(self, reference: int) -> None:
        living = [child for child in workers_of(psutil.Process()) if child.pid not in self.killed]
        if self.spare_reference:
            chosen = [child for child in living if child.pid != reference]
        else:
            chosen = [child for child in living if child.pid == reference] or living[:1]
        if chosen:
            victim = random.Random(f"{SEED} {len(self.killed)} {len(chosen)}").choice(chosen)
            self.killed.append(victim.pid)
            victim.kill()


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The living workers that a process started, oldest first."""
    found = []
    for child in process.children():
        try:
            if child.status() != psutil.STATUS_ZOMBIE and "harness.workers.worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue  # it ended while it was looked at
    return sorted(found, key=psutil.Process.create_time)


def run(given: Given) -> Iterator[Figure]:
    """Deaths of contenders, of the reference, and in whole sessions of pytest."""
    yield from _contenders(given.scratch)
    yield _references(given.scratch)
    yield _unnamed()
    yield from mortal_sessions.figures(given, DEATH_SESSIONS)


def _contenders(scratch: Path) -> Iterator[Figure]:
    dice = random.Random(f"{SEED} contenders")
    killed = named = late = lost = survivors = 0
    while killed < KILLS:
        wanted = min(KILLS_EACH, KILLS - killed)
        killer, found = _measured(scratch, [dice.uniform(0, WITHIN_S) for _ in range(wanted)], spare_reference=True)
        alive = [name for name in _names() if name not in found.failed]
        # Killed after its last answer, nobody asked it again: it is not among the failed, and lacks nothing.
        late += max(0, len(killer.killed) - len(found.failed))
        killed += len(found.failed)
        named += sum(NAMED in str(error) for error in found.failed.values())
        survivors += len(alive)
        lost += sum(found.answers[name] != found.answers["reference"] or found.ended_by is not None for name in alive)
    yield Figure(
        label="killed contenders named with their signal",
        k=named,
        n=killed,
        at_least=killed,
        note=f"{late} more were killed after their last answer",
    )
    yield Figure(label="survivors that lost a round", k=lost, n=survivors, at_most=0)


def _references(scratch: Path) -> Figure:
    dice = random.Random(f"{SEED} reference")
    killed = named = 0
    while killed < REFERENCE_KILLS:
        killer, found = _measured(scratch, [dice.uniform(0.05, WITHIN_S)], spare_reference=False)
        if found.ended_by is None and found.answers["reference"] == max(found.answers.values()):
            continue  # it had given its last answer
        killed += len(killer.killed)
        named += NAMED in str(found.ended_by)
    return Figure(label="killed references named with their signal", k=named, n=killed, at_least=killed)


def _measured(scratch: Path, delays_s: Sequence[float], *, spare_reference: bool) -> tuple[Killer, Rounds]:
    """One measurement with a killer beside it."""
    mortal = toys.toy("mortal", toys.mortal)
    arms = []
    for name in _names():
        folder = scratch / name / CALL_MS
        folder.mkdir(parents=True, exist_ok=True)
        (folder / toys.PID).unlink(missing_ok=True)
        arms.append(Arm(name, mortal, folder))
    killer = Killer(arms[0].artifact, delays_s, spare_reference)
    thread = threading.Thread(target=killer.work)
    thread.start()
    try:
        found = rounds_of(arms, ROUNDS, TARGET)
    finally:
        killer.over.set()
        thread.join()
    return killer, found


def _names() -> list[str]:
    return ["reference", *(f"contender-{number}" for number in range(KILLS_EACH + 1))]


def _unnamed() -> Figure:
    """The safety switched off: what the pipe alone says of a death, without a look at how the process ended."""
    silent, said = 0, ""
    for _ in range(NAMING_TRIALS):
        with Worker(toys.toy("sleeping", toys.sleeping), Path(CALL_MS), TARGET, TIMEOUT_S) as worker:
            worker.put(INPUT)
            psutil.Process(worker.pid).kill()
            try:
                worker.run()
            except WorkerError as error:
                said = repr(error.__cause__)
                silent += "SIG" not in said
    return Figure(
        label="by the pipe alone, deaths without a signal's name",
        k=silent,
        n=NAMING_TRIALS,
        at_least=NAMING_TRIALS,
        control=True,
        note=said,
    )


PART = Part(
    name="worker-deaths",
    claim=f"{KILLS + REFERENCE_KILLS} SIGKILLs: each death named, no written result lost, exit status not 0",
    run=run,
)
