"""Repositories of the Hugging Face Hub: a pinned commit becomes a verified folder in the Hub's own cache."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import msgspec
from huggingface_hub import constants

from harness.errors import HarnessError
from harness.loading import import_path
from harness.origins import lock
from harness.origins.download import Order, matches
from harness.origins.lock import Sort
from harness.origins.refusals import inert
from harness.origins.sources import Hub

STALLED_S = 20
"""Seconds without a kilobyte a second, after which a transfer is given up."""
LEAST_BYTES = 1024
POLL_S = 1.0


def fetch(source: Hub, sort: Sort, folder: Path) -> Path:
    """The folder with the repository's files at that commit, each verified; HarnessError with the cause if not."""
    found = tried(source, sort, folder)
    if isinstance(found, HarnessError):
        raise found
    return found


@cache
def tried(source: Hub, sort: Sort, folder: Path) -> Path | HarnessError:
    """The folder, or why there is none: nobody waits twice in a session for what does not answer."""
    try:
        return _fetch(source, sort, folder)
    except HarnessError as error:
        return error


def _fetch(source: Hub, sort: Sort, folder: Path) -> Path:
    pinned, locked = lock.commit(source, sort, folder), lock.entry(source, sort, folder)
    known = locked.files if locked else None
    note = _note(source, sort, pinned)
    noted = _noted(note)
    if noted is not None and known in (None, noted.files):
        path = Path(noted.path)
        if all((path / name).exists() and matches(path / name, digest) for name, digest in noted.files.items()):
            return path
    if constants.HF_HUB_OFFLINE:
        raise HarnessError(
            f"{source}: HF_HUB_OFFLINE is set, and commit {pinned} was not fetched before; unset it once"
        )
    said = ask(source, Order(sort, source.repo, source.config, pinned, known, True))
    note.parent.mkdir(parents=True, exist_ok=True)
    whole = note.with_suffix(f".{os.getpid()}")
    whole.write_bytes(msgspec.json.encode(Note(path=said["path"], files=said["files"])))
    whole.replace(note)
    return Path(said["path"])


def ask(source: Hub, order: Order) -> dict[str, Any]:
    """What a process of its own answers to the order; HarnessError for what stops it, and if it comes to a halt."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.origins.download"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Without Xet, whose buffers would hide from here whether anything arrives.
            env=os.environ | {"PYTHONPATH": import_path(), "HF_HUB_DISABLE_XET": "1"},
        ) as process,
    ):
        try:
            return _answers(process, order)
        except _HaltedError as error:
            log.seek(0)
            words = log.read().decode(errors="replace").strip().splitlines()
            last = [line for line in words if "Retry" not in line][-1:]
            raise HarnessError(f"{source} @ {order.revision}: {error} {inert(' '.join(last))}".strip()) from None
        except HarnessError as error:
            raise HarnessError(f"{source} @ {order.revision}: {error}") from None
        finally:
            process.kill()


def _answers(process: subprocess.Popen[bytes], order: Order) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order).encode())
    process.stdin.close()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    said: dict[str, Any] = {}
    quiet_s, before = 0.0, 0
    while quiet_s < STALLED_S:
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            arrived = _arrived(said)
            if said and arrived > said["bytes"]:
                raise HarnessError(f"the Hub sends more than the {said['bytes']:,} bytes it said") from None
            # By the poll, so that a byte now and then is not taken for progress.
            quiet_s = 0.0 if arrived - before >= LEAST_BYTES * POLL_S else quiet_s + POLL_S
            before = arrived
            continue
        if not line:
            raise _HaltedError("fetching it ended unasked:")
        quiet_s, message = 0.0, json.loads(line)
        if "error" in message:
            raise HarnessError(message["error"])
        said |= message
        if "path" in said or ("files" in said and not order.fetch):
            return said
    raise _HaltedError(
        f"nothing arrived for {STALLED_S} s; check the network, and run again: what is complete is not fetched twice."
    )


class _HaltedError(Exception):
    """It came to a halt without saying why; its last warning may."""


def _read(stream: IO[bytes], lines: queue.Queue[bytes]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")


def _arrived(said: dict[str, Any]) -> int:
    """Bytes of the files under way; others may lie there, of another session or another commit."""
    if "files" not in said:
        return 0
    found = 0
    for digest in said["files"].values():
        with suppress(FileNotFoundError):  # not begun, or whole by now
            found += (Path(said["blobs"]) / f"{digest.partition(':')[2]}.incomplete").stat().st_size
    return found


class Note(msgspec.Struct, frozen=True):
    """That a commit was fetched whole: the Hub's cache itself does not tell a part from the whole."""

    path: str
    files: dict[str, str]


def _noted(note: Path) -> Note | None:
    """What was put down; None where nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode(note.read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError):
        return None


def _note(source: Hub, sort: Sort, pinned: str) -> Path:
    name = "--".join([sort, *source.repo.split("/"), source.config or "default", pinned])
    return Path(constants.HF_HOME) / "shipbench" / f"{name}.json"
