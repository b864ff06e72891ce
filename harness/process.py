"""The parent's end of a worker: its environment, its pipe, and what is known when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import reduction, wire
from harness.contracts import Arrays, Backend, Kind, Target
from harness.environment import wait_policy
from harness.errors import Unsupported, WorkerError
from harness.front import Front
from harness.loading import import_path, name_of

INHERITED = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CXX", "HF_HOME",
)  # fmt: skip


LAST_BREATH_S = 2.0
"""How long a worker that closed its pipe may take to end."""


class UnsupportedByWorker(Unsupported, WorkerError):
    """The backend's `load` said that it cannot run this model."""


@dataclass(frozen=True)
class Answer:
    """What one block of calls gave, the figures those of its window."""

    began_ns: int
    ended_ns: int
    cpu_ns: int
    """CPU time of the worker's process, all threads, as finely as the system counts it (some count in 10 ms)."""
    switches: int
    """Involuntary context switches: how often a thread of the worker had to leave a CPU it still wanted."""
    peak_rss_bytes: int
    outputs: Arrays


def environment(threads: int, spinning: bool = False) -> dict[str, str]:
    """A worker's environment: an allow-list, and thread settings equal for every backend.

    Unless told otherwise, idle OpenMP threads sleep: spinning ones would slow whatever is timed next.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {
        "PYTHONPATH": import_path(),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": wait_policy(spinning),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


class Worker:
    """A process that holds one backend. Use as a context manager; leaving it ends the process.

    Every method raises WorkerError, naming the signal, the timeout or the backend's own error.
    """

    def __init__(
        self,
        backend: Backend,
        artifact: Path,
        target: Target,
        timeout_s: float,
        name: str | None = None,
        front: Front | None = None,
        kind: Kind | None = None,
    ) -> None:
        order = {**name_of(backend.load), "artifact": str(artifact), **target._asdict()}
        if kind is not None and kind.reduce is not None:
            order["reduction"] = reduction.order(kind)
        if front is not None:
            order["front"] = front.order()
        self.name = name or backend.name
        self.timeout_s = timeout_s
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the worker
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(timeout_s)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment(target.threads, target.spinning),
                stdin=subprocess.PIPE,  # never written to: it ends when this process does, however it ends
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        try:
            self._send(order)
            self.loaded = self._receive()[0]
            """`import_ns`, `load_ns` (the rest of loading), the `device` as read back, the runtime's `settings`."""
            self.compile_ns = 0
            """What preparing for the first batch took; known once a batch was put."""
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def put(self, batch: Arrays) -> None:
        """Hand over the arrays of the next block of calls; returns when the worker holds them and is prepared."""
        self._send({}, batch)
        self.compile_ns += self._receive()[0]["compile_ns"]

    def run(self, loops: int = 1) -> Answer:
        """Call the backend `loops` times on the batch that was put, inside one window of the worker's clock."""
        self._send({"loops": loops})
        header, outputs = self._receive()
        answer = Answer(**header, outputs=outputs)
        if not 0 <= answer.began_ns < answer.ended_ns:
            raise WorkerError(
                f"{self.name}: the worker's clock stepped: a window from {answer.began_ns} to {answer.ended_ns} ns"
            )
        return answer

    def close(self) -> None:
        """End the worker and everything it started."""
        if self._log.closed:
            return  # by now another process may have the number of this one
        self._sock.close()
        self._kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()

    def _kill(self) -> None:
        """The whole process group: what the worker started may outlive it."""
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
        if header.get("unsupported"):
            raise UnsupportedByWorker(header["error"])
        if "error" in header:
            raise WorkerError(f"{self.name}: {header['error']}{self._last_words()}")
        return header, arrays

    def _failure(self, error: Exception) -> WorkerError:
        if isinstance(error, TimeoutError):
            self._kill()
            return WorkerError(
                f"{self.name}: the worker gave no answer within {self.timeout_s:g} s{self._last_words()}"
            )
        try:
            code = self._process.wait(LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return WorkerError(f"{self.name}: the worker closed its pipe and went on{self._last_words()}")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        return WorkerError(f"{self.name}: the worker was {how}{self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return "".join(f"\n  | {line}" for line in lines[-8:])
