"""Locks between sessions; whoever waits for one says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError

PATIENCE_S = 2.0
"""Time after which a waiting session says so."""
REPEAT_S = 60.0
"""Time between its further messages."""


@contextmanager
def hold(path: Path, purpose: str, say: Callable[[str], None], mode: int = 0o644) -> Iterator[None]:
    """Hold the lock file at `path`; `say` receives who holds it, at first and each minute, while this one waits."""
    lock, timeout, waited_s = FileLock(path, mode=mode), PATIENCE_S, 0.0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            waited_s += timeout
            say(f"{purpose}: waiting since {waited_s:.0f} s for {holder(path)}, which holds {path}")
            timeout = REPEAT_S
        except OSError as error:
            raise HarnessError(f"{purpose}: {path} cannot be locked: {error}; make it writable or remove it") from error
    try:
        yield
    finally:
        lock.release()


def holder(path: Path) -> str:
    """Return the process that holds a lock file, as far as the system shows it."""
    import psutil

    # Another system, a process in another container, or a lock that was released meanwhile.
    with suppress(OSError, ValueError, StopIteration, psutil.Error):
        inode = str(path.stat().st_ino)
        rows = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line)
        process = psutil.Process(next(int(row[4]) for row in rows if row[5].rpartition(":")[2] == inode))
        began = datetime.fromtimestamp(process.create_time()).astimezone()
        return f"process {process.pid} ({' '.join(process.cmdline())[:100]}), started at {began:%H:%M}"
    return "another session"
