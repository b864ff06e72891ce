"""Workers killed at random instants: each death is named, and no other result is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import harness
from harness.contracts.backend import Backend, Target
from harness.contracts.kind import Arrays
from harness.errors import HarnessError, WorkerError
from harness.measure.client import Worker
from harness.measure.rounds import measure
from harness.measure.samples import Arm, Settings, WorkloadInputs
from harness.selftest import figures, toys
from harness.selftest.figures import KILLS, KILLS_EACH, NAMING_TRIALS, REFERENCE_KILLS, SEED, WORKER_TIMEOUT_S
from harness.selftest.part import Figure, Workspace, at_most, every, part
from harness.util.console import Progress

NAMED = "killed by SIGKILL"
NAMES = ["reference", *(f"contender-{number}" for number in range(KILLS_EACH + 1))]
ROUNDS = 20
CALL_MS = "5"
WITHIN_S = 2.0
"""Kills fall within this time of the reference's launch: while others launch, warm up, answer or wait."""
BUDGET_S = 600.0
TARGET = Target("cpu", 1)

SUITE = Path(__file__).parent / "suite"
COMPARISONS, CASES = 3, 3
"""Models of the suite `mortal.py`, and backends of each."""
DELAY_S = (0.0, 6.0)
"""From one comparison's last result to the death of a worker of the next comparison."""
SESSION_LIMIT_S = 300.0
PLUGINS = ("-p", "no:randomly", "-p", "no:cacheprovider")


@part(
    "worker-deaths",
    f"{KILLS + REFERENCE_KILLS} SIGKILLs: each death is named, no written result lost, exit status not 0",
)
def worker_deaths(workspace: Workspace) -> Iterator[Figure]:
    """Kill contenders, the reference, and workers of whole pytest sessions."""
    yield from _contenders(workspace.scratch)
    yield _references(workspace.scratch)
    yield _pipe_alone()
    yield from _sessions(workspace)


@dataclass
class Measured:
    """One measurement with a killer beside it."""

    killed: list[int] = field(default_factory=list)
    """Process ids."""
    answers: Counter[str] = field(default_factory=Counter)
    """Blocks that each arm answered, warm-up included."""
    failed: dict[str, WorkerError] = field(default_factory=dict)
    ended_by: WorkerError | None = None
    """The error of the reference, which ends the measurement."""


def _contenders(scratch: Path) -> Iterator[Figure]:
    rng = random.Random(f"{SEED} contenders")
    named: list[bool] = []
    incomplete: list[bool] = []
    late = 0
    while len(named) < KILLS:
        wanted = min(KILLS_EACH, KILLS - len(named))
        one = _measure(scratch, [rng.uniform(0, WITHIN_S) for _ in range(wanted)], spare_reference=True)
        # A contender killed after its last answer is not asked again: it has not failed, and nothing is missing.
        late += max(0, len(one.killed) - len(one.failed))
        named += [NAMED in str(error) for error in one.failed.values()]
        rounds = one.answers["reference"]
        alive = [name for name in NAMES if name not in one.failed]
        incomplete += [one.answers[name] != rounds or one.ended_by is not None for name in alive]
    note = f"{late} more were killed after their last answer"
    yield every("killed contenders named with their signal", named, note=note)
    yield at_most(0, "survivors that lost a round", incomplete)


def _references(scratch: Path) -> Figure:
    rng = random.Random(f"{SEED} reference")
    killed = named = 0
    while killed < REFERENCE_KILLS:
        one = _measure(scratch, [rng.uniform(0.05, WITHIN_S)], spare_reference=False)
        if one.ended_by is None and one.answers["reference"] == max(one.answers.values()):
            continue  # it had given its last answer
        killed += len(one.killed)
        named += NAMED in str(one.ended_by)
    return Figure(label="killed references named with their signal", k=named, n=killed, at_least=killed)


def _measure(scratch: Path, delays_s: Sequence[float], *, spare_reference: bool) -> Measured:
    """Measure toys, the first of which is the reference, while a thread kills their workers after these delays."""
    arms = [Arm(name, Backend(name="mortal", load=toys.mortal), scratch / name / CALL_MS) for name in NAMES]
    for arm in arms:
        arm.artifact.mkdir(parents=True, exist_ok=True)
        (arm.artifact / toys.PID).unlink(missing_ok=True)
    measured, over = Measured(), threading.Event()

    def check(name: str, rows: list[int], outputs: Arrays) -> None:
        measured.answers[name] += 1

    load = WorkloadInputs(batch=1, order_seed=0, rows=lambda number: [0], arrays=lambda rows: toys.INPUT)
    settings = Settings(TARGET, launches=1, looks=(ROUNDS,), budget_s=BUDGET_S, timeout_s=WORKER_TIMEOUT_S)
    number = arms[0].artifact / toys.PID
    arguments = (number, sorted(delays_s), spare_reference, over, measured.killed)
    thread = threading.Thread(target=_kill_on_time, args=arguments)
    thread.start()
    try:
        measured.failed = measure(arms, [load], settings, check, lambda samples: False, Progress()).failed
    except WorkerError as error:
        measured.ended_by = error
    finally:
        over.set()
        thread.join()
    return measured


def _kill_on_time(
    number: Path, delays_s: Sequence[float], spare_reference: bool, over: threading.Event, killed: list[int]
) -> None:
    """Kill a worker after each delay. To spare the reference, wait until its process id is in the file `number`."""
    while spare_reference and not number.exists():
        if over.wait(0.005):
            return
    waited_s = 0.0
    for delay_s in delays_s:
        if over.wait(delay_s - waited_s):
            return
        waited_s = delay_s
        reference = int(number.read_text()) if number.exists() else 0
        living = [worker for worker in workers_of(psutil.Process()) if worker.pid not in killed]
        if spare_reference:
            living = [worker for worker in living if worker.pid != reference]
        else:
            living = [worker for worker in living if worker.pid == reference] or living[:1]
        if living:
            victim = random.Random(f"{SEED} {len(killed)} {len(living)}").choice(living)
            killed.append(victim.pid)
            victim.kill()


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the living workers that a process launched, oldest first."""
    workers = []
    for child in process.children():
        try:
            if is_alive(child) and "harness.measure.worker" in child.cmdline():
                workers.append(child)
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return sorted(workers, key=psutil.Process.create_time)


def is_alive(process: psutil.Process) -> bool:
    """Return False for a process that has ended, also if its parent has not waited for it."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _pipe_alone() -> Figure:
    """Switch the safety off: take the reason from the pipe, without a look at how the process ended."""
    causes = []
    for _ in range(NAMING_TRIALS):
        toy = Backend(name="sleeping", load=toys.sleeping)
        with Worker(toy, Path(CALL_MS), TARGET, WORKER_TIMEOUT_S) as worker:
            worker.put(toys.INPUT)
            psutil.Process(worker.pid).kill()
            try:
                worker.run()
                causes.append("SIG: it answered")
            except WorkerError as error:
                causes.append(repr(error.__cause__))
    silent = ("SIG" not in cause for cause in causes)
    return every("by the pipe alone, deaths without a signal's name", silent, control=True, note=causes[-1])


@dataclass
class Ended:
    """A session and its results."""

    kept: dict[str, bytes] = field(default_factory=dict)
    """Result files at the time of a kill."""
    kills: int = 0
    status: int = -1
    text: str = ""
    results: dict[str, bytes] = field(default_factory=dict)

    @property
    def lost(self) -> list[str]:
        """Results that were on disk at a kill and changed or vanished later."""
        return [name for name, content in self.kept.items() if self.results.get(name) != content]

    @property
    def named(self) -> int:
        """Comparisons with a death by SIGKILL on record."""
        models = set()
        for name, content in self.results.items():
            result: dict[str, Any] = json.loads(content)
            if "SIGKILL" in json.dumps([result.get("error"), result.get("notes")]):
                models.add(name.partition(".")[0])
        return len(models)


def _sessions(workspace: Workspace) -> Iterator[Figure]:
    quiet = _session(workspace, None)
    passed = quiet.status == 0
    note = "" if passed else quiet.text[-1500:]
    yield every("pytest session without a kill: exit status 0", [passed], note=note)
    seeds = (f"{SEED} session {number}" for number in range(figures.DEATH_SESSIONS))
    ended = [_session(workspace, random.Random(seed)) for seed in seeds]
    kills = sum(one.kills for one in ended)
    named = sum(one.named for one in ended)
    yield Figure(label="pytest: deaths named in a result", k=named, n=kills, at_least=kills)
    lost = [name for one in ended for name in one.lost]
    label = "pytest: results on disk before a kill and changed or gone after"
    kept = sum(len(one.kept) for one in ended)
    yield Figure(label=label, k=len(lost), n=kept, at_most=0, note=", ".join(lost))
    statuses = [one.status for one in ended]
    note = ", ".join(map(str, statuses))
    yield every("pytest: exit status not 0", (status != 0 for status in statuses), note=note)


def _session(workspace: Workspace, rng: random.Random | None) -> Ended:
    """Run the suite; with `rng`, kill a worker at a random instant of every comparison but the first."""
    folder = workspace.scratch / "session"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(SUITE / "mortal.py", folder / "test_mortal.py")
    shutil.copy(SUITE / "bag.py", folder)
    ended = Ended()
    process = run_pytest(folder, "--ship-budget=3", f"--ship-artifacts={workspace.artifacts}")
    try:
        if rng is not None:
            _kill_workers(process, folder, ended, rng)
        ended.status = process.wait(SESSION_LIMIT_S)
    finally:
        process.kill()
    ended.text = (folder / "log.txt").read_text()
    ended.results = _files(folder)
    if not ended.results:
        raise HarnessError(f"the session of the toy suite left no result:\n{ended.text[-1500:]}")
    return ended


def run_pytest(folder: Path, *options: str, **variables: str) -> subprocess.Popen[bytes]:
    """Run pytest in a folder, one launch a comparison; its output goes to `log.txt`."""
    shared = ("--ship-launches=1", "--ship-device=cpu")
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *PLUGINS, *shared, *options],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(harness.__file__).parents[1])} | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _kill_workers(process: subprocess.Popen[bytes], folder: Path, ended: Ended, rng: random.Random) -> None:
    for done in range(1, COMPARISONS):
        while process.poll() is None and len(_files(folder)) < done * CASES:
            time.sleep(0.02)
        time.sleep(rng.uniform(*DELAY_S))
        living: list[psutil.Process] = []
        while process.poll() is None and not living:
            time.sleep(0.005)
            living = workers_of(psutil.Process(process.pid))
        if not living:
            return
        ended.kept |= _files(folder)
        rng.choice(living).kill()
        ended.kills += 1


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("results/local/**/*.json"))}
