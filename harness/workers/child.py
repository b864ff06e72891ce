"""The parent's end of a process of this harness: its pipe, and what is known when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from harness.contracts import Arrays
from harness.errors import Unsupported, WorkerError, reported
from harness.pythons.interpreter import FOREIGN, Python, script
from harness.workers import wire

LAST_BREATH_S = 2.0
"""How long a process that closed its pipe may take to end."""
LINES = 8
"""Of what it said last, in an error's message; its log has all."""
LONGEST_LOG = 2**20
"""Bytes of what it said last that are kept."""


class UnsupportedThere(Unsupported, WorkerError):
    """What ran in the process said that it cannot run this model."""


class Child:
    """A module of the harness in a process group of its own. Use as a context manager; leaving it ends the process.

    Every method raises WorkerError, naming the signal, the timeout or the error that was raised in there.
    """

    WHAT = "process"

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], timeout_s: float, home: Python | None = None
    ) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(timeout_s)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*_command(module, home), str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=_environment(environment, home),
                    stdin=subprocess.PIPE,  # never written to: it ends when this process does, however it ends
                    stdout=self._log,
                    stderr=self._log,
                    start_new_session=True,
                )
            except OSError as error:
                self._sock.close()
                self._log.close()
                raise WorkerError(f"{name}: no {self.WHAT} was started: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process and everything it started."""
        if self._log.closed:
            return  # by now another process may have the number of this one
        self._sock.close()
        self._kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()

    def _kill(self) -> None:
        """The whole group: what the process started may outlive it."""
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, header: dict[str, Any], arrays: Arrays | None = None) -> None:
        try:
            wire.send(self._sock, header, arrays)
        except OSError as error:
            raise self._failure(error) from error

    def _receive(self) -> tuple[dict[str, Any], Arrays]:
        try:
            header, arrays = wire.receive(self._sock)
        except (OSError, EOFError) as error:
            raise self._failure(error) from error
        if "error" in header:
            raise UnsupportedThere(header["error"]) if header.get("unsupported") else self._error(header["error"])
        return header, arrays

    def _failure(self, error: Exception) -> WorkerError:
        if isinstance(error, TimeoutError):
            self._kill()
            return self._error(f"the {self.WHAT} gave no answer within {self.timeout_s:g} s")
        try:
            code = self._process.wait(LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return self._error(f"the {self.WHAT} closed its pipe and went on")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        return self._error(f"the {self.WHAT} was {how}")

    def _error(self, what: str) -> WorkerError:
        """With the last lines of what it said, and all of it beside."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - LONGEST_LOG))
        said = self._log.read().decode(errors="replace").strip()
        last = "".join(f"\n  | {line}" for line in said.splitlines()[-LINES:])
        return reported(what, f"{self.name}: {what}{last}", said)


def _command(module: str, home: Python | None) -> list[str]:
    """What runs a module of the harness, there or here."""
    if home is None:
        return [sys.executable, "-P", "-m", module]
    return [home.executable, "-P", script("pythons/launch.py"), module]


def _environment(here: Mapping[str, str], home: Python | None) -> dict[str, str]:
    """Another interpreter finds what it would find anyway: this harness comes by `launch`, its neighbours must not."""
    if home is None:
        return dict(here)
    kept = {name: value for name, value in here.items() if name not in (*FOREIGN, "VIRTUAL_ENV")}
    return {**kept, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
