"""Locks between sessions and between users of a machine; whoever waits for one says so."""

from __future__ import annotations

import fcntl
import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from harness.errors import HarnessError

PATIENCE_S = 2.0
"""Time after which a waiting session says so."""
REPEAT_S = 60.0
"""Time between its further messages."""
POLL_S = 0.05
"""Time between its attempts."""
FOLDER = "SHIPBENCH_LOCKS"
"""Variable with the folder of the machine's locks, for containers that share a machine but none of SHARED_FOLDERS."""
SHARED_FOLDERS = ("/run/lock", "/dev/shm", "/tmp")  # noqa: S108  # files are opened as `_open_for_all` does
"""Folders for all users of a machine, whatever their TMPDIR; the first that lets everybody create files counts."""


@contextmanager
def hold(path: Path, purpose: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file at `path`; `say` receives who holds it, at first and each minute, while this one waits."""
    lock = FileLock(path)
    _wait(lambda timeout_s: lock.acquire(timeout=timeout_s), path, purpose, say)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def hold_on_machine(name: str, purpose: str, say: Callable[[str], None], shared: bool = False) -> Iterator[None]:
    """Hold a lock that all users of this machine share, as `hold` does; several may hold it at once if all share it."""
    path = machine_folder() / f"shipbench-{name}.lock"
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _open_for_all(path)
    except OSError as error:
        raise HarnessError(
            f"{purpose}: {path} cannot be opened: {error.strerror}; make it readable, or set {FOLDER} to a folder that "
            "all users of this machine share"
        ) from error

    def acquire(timeout_s: float) -> None:
        for _ in range(math.ceil(timeout_s / POLL_S)):
            with suppress(BlockingIOError):
                return fcntl.flock(handle, mode)
            time.sleep(POLL_S)
        raise TimeoutError

    try:
        _wait(acquire, path, purpose, say)
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)  # a process that was forked meanwhile has the handle, too
        os.close(handle)


def machine_folder() -> Path:
    """Return the folder of the machine's locks, the same for all its users."""
    if own := os.environ.get(FOLDER):
        return Path(own)
    everybody = stat.S_IWOTH | stat.S_IXOTH
    for folder in SHARED_FOLDERS:
        with suppress(OSError):
            if Path(folder).stat().st_mode & everybody == everybody:
                return Path(folder)
    raise HarnessError(
        f"none of {', '.join(SHARED_FOLDERS)} lets every user create files; set {FOLDER} to a folder that all share"
    )


def _open_for_all(path: Path) -> int:
    """Open a lock file, whoever made it; where all may write, some systems refuse more than reading another's."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o666)
    except FileExistsError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    os.fchmod(handle, 0o666)
    return handle


def _wait(acquire: Callable[[float], object], path: Path, purpose: str, say: Callable[[str], None]) -> None:
    """Call `acquire` with a timeout until it raises no TimeoutError."""
    timeout_s, waited_s = PATIENCE_S, 0.0
    while True:
        try:
            acquire(timeout_s)
            return
        except TimeoutError:
            waited_s += timeout_s
            say(f"{purpose}: waiting since {waited_s:.0f} s for {holder(path)}, which holds {path}")
            timeout_s = REPEAT_S
        except OSError as error:
            raise HarnessError(f"{purpose}: {path} cannot be locked: {error}; make it writable or remove it") from error


def holder(path: Path) -> str:
    """Return the process that holds a lock file, and its user, as far as the system shows it."""
    import psutil

    # Another system, a process in another container, or a lock that was released meanwhile.
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        file = path.stat()
        place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line]
        same = [row for row in rows if row[5].rpartition(":")[2] == str(file.st_ino)]
        # Some file systems show another device there; on others, a number is that of several files.
        same.sort(key=lambda row: row[5] != place)
        process = psutil.Process(int(same[0][4]))
        began = datetime.fromtimestamp(process.create_time()).astimezone()
        return (
            f"process {process.pid} of {process.username()} ({' '.join(process.cmdline())[:100]}), started at "
            f"{began:%H:%M}"
        )
    return "another session"
