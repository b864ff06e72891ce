"""Workers whose session is killed while they are busy: none outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

from harness.selftest.figures import ORPHAN_LIMIT_S, ORPHAN_TRIALS
from harness.selftest.part import Figure
from harness.selftest.resumed_sessions import is_alive

SESSION = """
import os, sys, time
from pathlib import Path
from harness.workers.process import Worker
from harness.selftest import toys
from harness.selftest.measuring import INPUT
from harness.contracts import Target

worker = Worker(toys.toy("slow", toys.sleeping), Path("60000"), Target("cpu", 1), 60)
worker.put(INPUT)
if sys.argv[1] == "held" and os.fork() == 0:
    time.sleep(30)
    os._exit(0)
print(os.getpid(), worker.pid, flush=True)
worker.run()
"""
"""A process whose worker is in a call of a minute; if `held`, another one holds both ends of what ties them."""


def figures() -> Iterator[Figure]:
    """Killed sessions whose workers are in a long call, without and with somebody else who holds the tie."""
    n = ORPHAN_TRIALS
    label = "workers in a call of a minute, alive"
    gone = n - _alive(n, "tied")
    yield Figure(label=f"{label.replace(', alive', ',')} gone {ORPHAN_LIMIT_S:g} s after", k=gone, n=n, at_least=n)
    yield Figure(
        label=f"{label} after it where another process holds what ties them", k=_alive(n, "held"), n=n, at_least=n,
        control=True,
    )  # fmt: skip


def _alive(trials: int, how: str) -> int:
    """How many workers outlive their killed session by the time they have to end; none outlives this."""
    sessions = [
        subprocess.Popen(
            [sys.executable, "-c", SESSION, how], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        for _ in range(trials)
    ]
    workers = []
    for session in sessions:
        assert session.stdout is not None
        workers.append(psutil.Process(int(session.stdout.readline().split()[1])))
    time.sleep(1)  # until all of them are in their call
    for session in sessions:
        session.kill()
        session.wait()
    until = time.monotonic() + ORPHAN_LIMIT_S
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    left = [worker for worker in workers if is_alive(worker)]
    for pid in [session.pid for session in sessions] + [worker.pid for worker in left]:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return len(left)
