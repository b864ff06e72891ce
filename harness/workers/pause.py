"""Workers that spin by their own choice stand still while others answer: measured beside them, nobody pays for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SETTLE_S = 0.005
"""A worker that goes on is asked only now, so that its idle threads are as they would be had it never stood still."""


@contextmanager
def awake(pid: int) -> Iterator[None]:
    """The process group of `pid`, if it is still there, runs inside and stands still outside."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGCONT)
    time.sleep(SETTLE_S)
    yield
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGSTOP)
