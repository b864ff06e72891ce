"""What memory this process holds, as the system counts it. Workers import it: the standard library alone."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

STATUS = Path("/proc/self/status")
OWN = ("RssAnon", "RssShmem", "VmSwap")
"""What belongs to nobody else: files that are mapped, weights and libraries, come and go as the system likes."""


def peak_rss_bytes() -> int:
    """Largest resident set of this process.

    Not `ru_maxrss` on Linux: exec hands that down from the parent.
    """
    if STATUS.exists():
        return _bytes(_status()["VmHWM"])
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def held_bytes() -> int | None:
    """Memory of this process's own, swapped out or not; None where the system does not tell."""
    found = _status() if STATUS.exists() else {}
    return sum(_bytes(found[name]) for name in OWN) if found.keys() >= set(OWN) else None


def held_between(call: Callable[[], object], parts: int, calls: int) -> list[int]:
    """What is held before and after each of so many parts of so many calls; nothing where the system does not tell.

    Garbage is collected before it is looked: what waits for that is no leak.
    """
    if held_bytes() is None:
        return []
    gc.freeze()  # what was there before needs no looking through every time, for a second with Transformers
    held = [_kept()]
    for _ in range(parts):
        for _ in range(calls):
            call()
        held.append(_kept())
    gc.unfreeze()
    gc.collect()  # all of it once, now: else the collector does that soon, in a timed round
    return held


def _kept() -> int:
    gc.collect()
    return held_bytes() or 0


def _status() -> dict[str, str]:
    return dict(line.split(":", 1) for line in STATUS.read_text().splitlines())


def _bytes(field: str) -> int:
    return int(field.split()[0]) * 1024
