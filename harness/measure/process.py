"""A child process of the harness: its pipe, its log, and what went wrong when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from harness.contracts.backend import Python
from harness.contracts.kind import Arrays
from harness.environments.interpreters import INTERPRETER_VARIABLES, harness_file
from harness.errors import Unsupported, WorkerError, worker_error
from harness.measure import protocol

EXIT_GRACE_S = 2.0
"""Time for a process that closed its pipe to end."""

MESSAGE_LINES = 8
"""Last lines of the log that an error's message quotes; the error carries the rest."""

MAX_LOG_BYTES = 2**20
"""The end of the log that an error carries."""


class UnsupportedInChild(Unsupported, WorkerError):
    """The process reported that it cannot run this model."""


class ChildProcess:
    """A module of the harness in a process group of its own. Use as a context manager; leaving it ends the process.

    Every method raises WorkerError, naming the signal, the timeout or the error that was raised in the process.
    """

    ROLE = "process"
    """Its name in messages."""

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
                    stdin=subprocess.PIPE,  # never written to; it closes when this process ends, however it ends
                    stdout=self._log,
                    stderr=self._log,
                    start_new_session=True,
                )
            except OSError as error:
                self._sock.close()
                self._log.close()
                raise WorkerError(f"{name}: cannot start a {self.ROLE}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def close(self) -> None:
        """End the process and everything it started."""
        if self._log.closed:
            return  # closed before; by now another process may have this one's id
        self._sock.close()
        self._kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()

    def _kill(self) -> None:
        """Kill the whole group: what the process started may outlive it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, header: dict[str, Any], arrays: Arrays | None = None) -> None:
        try:
            protocol.send(self._sock, header, arrays)
        except OSError as error:
            raise self._failure(error) from error

    def _receive(self) -> tuple[dict[str, Any], Arrays]:
        try:
            header, arrays = protocol.receive(self._sock)
        except (OSError, EOFError) as error:
            raise self._failure(error) from error
        if "error" in header:
            raise UnsupportedInChild(header["error"]) if header.get("unsupported") else self._error(header["error"])
        return header, arrays

    def _failure(self, error: Exception) -> WorkerError:
        if isinstance(error, TimeoutError):
            self._kill()
            return self._error(f"the {self.ROLE} gave no answer within {self.timeout_s:g} s")
        try:
            code = self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return self._error(f"the {self.ROLE} closed its pipe but kept running")
        if code < 0:
            return self._error(f"the {self.ROLE} was killed by {signal.Signals(-code).name}")
        return self._error(f"the {self.ROLE} ended with exit status {code}")

    def _error(self, problem: str) -> WorkerError:
        """Return the error, its message ending with the last lines of the log."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - MAX_LOG_BYTES))
        log = self._log.read().decode(errors="replace").strip()
        quoted = "".join(f"\n  | {line}" for line in log.splitlines()[-MESSAGE_LINES:])
        return worker_error(problem, f"{self.name}: {problem}{quoted}", log)


def _command(module: str, home: Python | None) -> list[str]:
    """Return the command that runs a module of the harness, here or in another environment."""
    if home is None:
        return [sys.executable, "-P", "-m", module]
    return [home.executable, "-P", harness_file("environments/bootstrap.py"), module]


def _environment(environment: Mapping[str, str], home: Python | None) -> dict[str, str]:
    """Return the variables for the interpreter in `home`.

    Another interpreter keeps the caller's own PYTHONPATH: `bootstrap` brings this harness, whose neighbours in this
    environment must stay out of reach.
    """
    if home is None:
        return dict(environment)
    kept = {name: value for name, value in environment.items() if name not in INTERPRETER_VARIABLES}
    return {**kept, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
