"""Whole sessions of pytest whose workers are killed: what was written stays, and the session says that it failed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import harness
from harness.errors import HarnessError
from harness.selftest.figures import SEED
from harness.selftest.part import Figure, Given

SUITE = Path(__file__).parent / "suite"
COMPARISONS, CASES = 3, 3
"""Models of the suite, and backends of each."""
DELAY_S = (0.0, 6.0)
"""Between one comparison's last result and the kill of a worker of the next one."""
LIMIT_S = 300.0


@dataclass
class Ended:
    """One session and what it left."""

    status: int
    text: str
    kept: dict[str, bytes] = field(default_factory=dict)
    """Files of results as they were when a worker was killed."""
    kills: int = 0
    results: dict[str, bytes] = field(default_factory=dict)

    @property
    def lost(self) -> list[str]:
        """Results that a kill found on disk and the end did not."""
        return [name for name, text in self.kept.items() if self.results.get(name) != text]

    @property
    def named(self) -> int:
        """Comparisons in which a death by SIGKILL is on record."""
        models = set()
        for name, text in self.results.items():
            result: dict[str, Any] = json.loads(text)
            if "SIGKILL" in json.dumps([result.get("error"), result.get("notes")]):
                models.add(name.partition(".")[0])
        return len(models)


def figures(given: Given, sessions: int) -> Iterator[Figure]:
    """Sessions with a kill in every comparison but the first, beside one without."""
    quiet = _session(given, None)
    yield Figure(
        label="pytest session without a kill: exit status 0",
        k=int(quiet.status == 0),
        n=1,
        at_least=1,
        note="" if quiet.status == 0 else quiet.text[-1500:],
    )
    ended = [_session(given, random.Random(f"{SEED} session {number}")) for number in range(sessions)]
    kills = sum(one.kills for one in ended)
    kept = sum(len(one.kept) for one in ended)
    yield Figure(label="pytest: deaths named in a result", k=sum(one.named for one in ended), n=kills, at_least=kills)
    yield Figure(
        label="pytest: results on disk before a kill and changed or gone after",
        k=sum(len(one.lost) for one in ended),
        n=kept,
        at_most=0,
        note=", ".join(name for one in ended for name in one.lost),
    )
    yield Figure(
        label="pytest: exit status not 0",
        k=sum(one.status != 0 for one in ended),
        n=sessions,
        at_least=sessions,
        note=f"{', '.join(str(one.status) for one in ended)}",
    )


def _session(given: Given, dice: random.Random | None) -> Ended:
    """Run the suite; with dice, kill a worker at a random instant of every comparison but the first."""
    folder = given.scratch / "session"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(SUITE / "mortal.py", folder / "test_mortal.py")
    shutil.copy(SUITE / "bag.py", folder)
    log = folder / "log.txt"
    options = ("--ship-starts=1", "--ship-budget=3", "--ship-device=cpu", f"--ship-artifacts={given.artifacts}")
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "harness.plugin", "-p", "no:randomly", *options],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(harness.__file__).parents[1])},
            stdout=out,
            stderr=out,
        )
        ended = Ended(status=-1, text="")
        if dice is not None:
            _kill_workers(process, folder, ended, dice)
        ended.status = process.wait(LIMIT_S)
    ended.text = log.read_text()
    ended.results = _files(folder)
    if not ended.results:
        raise HarnessError(f"the session of the toy suite left no result:\n{ended.text[-1500:]}")
    return ended


def _kill_workers(process: subprocess.Popen[bytes], folder: Path, ended: Ended, dice: random.Random) -> None:
    for done in range(1, COMPARISONS):
        while process.poll() is None and len(_files(folder)) < done * CASES:
            time.sleep(0.02)
        time.sleep(dice.uniform(*DELAY_S))
        while process.poll() is None and not (living := _workers(process.pid)):
            time.sleep(0.005)
        if process.poll() is not None:
            return
        ended.kept |= _files(folder)
        dice.choice(living).kill()
        ended.kills += 1


def _workers(pid: int) -> list[psutil.Process]:
    from harness.selftest.worker_deaths import workers_of

    try:
        return workers_of(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return []


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("results/local/**/*.json"))}
