"""Write files atomically, and sweep what killed sessions left without disturbing a session that is alive.

A writer holds a lock that the system releases when its process dies, however it dies: whatever can be locked has no
owner. Process numbers would say less, since they are reused and mean nothing across containers.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from harness.errors import HarnessError

HALF_WRITTEN = re.compile(r"\..+\.(json|parquet|log|csv|md|html)\.[a-z0-9_]{8}")
"""Names of files that `write_atomically` has not finished."""
ENTRY = re.compile(r".+-[0-9a-f]{12}")
"""Names of finished folders of `store.Store`."""
HALF_BUILT = re.compile(r"\.(.+-[0-9a-f]{12})\.[a-z0-9_]{8}")
"""Names of its unfinished folders; the group is the name of the entry."""
LOCK = re.compile(r".+-[0-9a-f]{12}\.lock")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent, fcntl.LOCK_SH):
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(scratch).chmod(0o644)
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise


def check_writable(folder: Path, owner: str) -> None:
    """Raise HarnessError on behalf of `owner`, an option or a variable, unless a file can be written to `folder`."""
    new: list[Path] = []
    try:
        new += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))
    except OSError as error:
        problem = f"{folder} cannot be written: {error.strerror}"
        raise HarnessError(f"{problem}; set {owner} to a folder that can, or make room there") from error
    finally:
        for path in new:  # this was a trial
            with suppress(OSError):
                path.rmdir()


def sweep_results(folder: Path) -> list[Path]:
    """Remove unfinished files below a results folder that no live process is writing; return their paths."""
    removed = []
    for parent, _, names in os.walk(folder):
        strays = [Path(parent, name) for name in names if HALF_WRITTEN.fullmatch(name)]
        if strays:
            with suppress(BlockingIOError), locked(Path(parent), fcntl.LOCK_EX | fcntl.LOCK_NB):
                for path in strays:
                    path.unlink(missing_ok=True)
                    removed.append(path)
    return removed


def sweep_store(root: Path) -> list[Path]:
    """Remove unfinished folders and idle locks of the store at `root`; return the folders' paths."""
    removed = []
    for parent, folders, names in os.walk(root):
        for name in folders:
            match = HALF_BUILT.fullmatch(name)
            if match and _remove_if_idle(Path(parent, name), Path(parent, f"{match[1]}.lock")):
                removed.append(Path(parent, name))
        # The content of entries belongs to whoever built them.
        folders[:] = [name for name in folders if not (ENTRY.fullmatch(name) or HALF_BUILT.fullmatch(name))]
        for name in filter(LOCK.fullmatch, names):
            _remove_if_idle(None, Path(parent, name))
    return removed


def _remove_if_idle(folder: Path | None, lock: Path) -> bool:
    """Remove `folder` and its lock file, unless a live process holds the lock."""
    try:
        with FileLock(lock, timeout=0):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            # While held: whoever waits for it sees that its file is gone and makes a new one (filelock >= 3.24).
            lock.unlink(missing_ok=True)
    except OSError:  # filelock's Timeout is one, and so is a folder of another user
        return False
    return True


@contextmanager
def locked(folder: Path, mode: int) -> Iterator[None]:
    """Lock a folder itself, so that no lock file is left; BlockingIOError if an exclusive lock cannot be had."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, mode)
        except OSError as error:
            # Some network file systems lock no folders: there, writers go unlocked, and nothing is ever swept.
            if mode != fcntl.LOCK_SH:
                raise BlockingIOError(*error.args) from error
        yield
    finally:
        os.close(handle)
