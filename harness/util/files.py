"""What killed sessions leave behind, taken away by the next one without disturbing a session that is alive.

Whoever writes holds a lock that the system gives back when its process dies, however it dies. What can be locked is
therefore nobody's. Process numbers would tell less: they come again, and mean nothing across containers.


ALSO: Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    import pandas as pd

HALF_WRITTEN = re.compile(r"\..+\.(json|parquet|log|csv|md|html)\.[a-z0-9_]{8}")
"""Names that `whole.write_whole` gives to a file until it is whole."""

HALF_BUILT = re.compile(r"\.(.+-[0-9a-f]{12})\.[a-z0-9_]{8}")
"""Names that `cache.Store` gives to a folder until it is built; the group is the entry that it was to become."""

LOCK = re.compile(r".+-[0-9a-f]{12}\.lock")

ENTRY = re.compile(r".+-[0-9a-f]{12}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Held while a file in `folder` is half written. It locks the folder itself, which leaves no lock file."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


def sweep_results(folder: Path) -> list[Path]:
    """Remove the half-written files under a results folder that no live process is writing; returns their paths."""
    removed = []
    for parent, _, names in os.walk(folder):
        strays = [Path(parent, name) for name in names if HALF_WRITTEN.fullmatch(name)]
        if strays:
            with suppress(BlockingIOError), _locked(Path(parent), fcntl.LOCK_EX | fcntl.LOCK_NB):
                for path in strays:
                    path.unlink(missing_ok=True)
                    removed.append(path)
    return removed


def sweep_store(root: Path) -> list[Path]:
    """Remove half-built folders and idle locks of the store at `root`; returns the folders' paths."""
    removed = []
    for parent, folders, names in os.walk(root):
        for name in folders:
            match = HALF_BUILT.fullmatch(name)
            if match and _remove_if_idle(Path(parent, name), Path(parent, f"{match[1]}.lock")):
                removed.append(Path(parent, name))
        # What was built is its builder's: nothing in there is ours to judge.
        folders[:] = [name for name in folders if not (ENTRY.fullmatch(name) or HALF_BUILT.fullmatch(name))]
        for name in names:
            if LOCK.fullmatch(name):
                _remove_if_idle(None, Path(parent, name))
    return removed


def _remove_if_idle(folder: Path | None, lock: Path) -> bool:
    """Remove `folder` and its lock file, unless a live process holds the lock."""
    try:
        with FileLock(lock, timeout=0):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            # While it is held: whoever waits for it sees that its file is gone, and makes a new one (filelock >= 3.24).
            lock.unlink(missing_ok=True)
    except OSError:  # filelock's Timeout is one, and so is a folder of somebody else's
        return False
    return True


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """The folder locked, for its one owner or for many at once; BlockingIOError if it cannot be had for one."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, how)
        except OSError as error:
            # A network file system may lock no folders: there, writers go unlocked, and nothing is ever swept.
            if how != fcntl.LOCK_SH:
                raise BlockingIOError(*error.args) from error
        yield
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader and no crash ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path.parent):
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


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table as parquet, whole or not at all."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())
