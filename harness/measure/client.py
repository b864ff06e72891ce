"""The parent's end of a process of this harness: its pipe, and what is known when it dies.

ALSO: Workers that spin by their own choice stand still while others answer: measured beside them, nobody pays for them.
ALSO: The parent's end of a worker: its environment, its pipe, and what is known when it dies.
ALSO: Where workers live, and who may use it: this computer, unless a measurement is told of another one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from filelock import FileLock

from harness.contracts.backend import Backend, Python, Target
from harness.contracts.kind import Arrays, Kind
from harness.environments.interpreters import FOREIGN, harness_file
from harness.errors import Unsupported, WorkerError, reported
from harness.measure import adapters, gpu, protocol, system
from harness.measure.adapters import Preprocessing
from harness.measure.gpu import GpuSnapshot
from harness.measure.system import Snapshot
from harness.util.machine import versions, wait_policy
from harness.util.symbols import python_path, symbol_of

LAST_BREATH_S = 2.0
"""How long a process that closed its pipe may take to end."""

LINES = 8
"""Of what it said last, in an error's message; its log has all."""

LONGEST_LOG = 2**20
"""Bytes of what it said last that are kept."""


class UnsupportedThere(Unsupported, WorkerError):
    """What ran in the process said that it cannot run this model."""


class ChildProcess:
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
            protocol.send(self._sock, header, arrays)
        except OSError as error:
            raise self._failure(error) from error

    def _receive(self) -> tuple[dict[str, Any], Arrays]:
        try:
            header, arrays = protocol.receive(self._sock)
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
    return [home.executable, "-P", harness_file("environments/launch.py"), module]


def _environment(here: Mapping[str, str], home: Python | None) -> dict[str, str]:
    """Another interpreter finds what it would find anyway: this harness comes by `launch`, its neighbours must not."""
    if home is None:
        return dict(here)
    kept = {name: value for name, value in here.items() if name not in (*FOREIGN, "VIRTUAL_ENV")}
    return {**kept, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}


SETTLE_S = 0.005
"""A worker that goes on is asked only now, so that its idle threads are as they would be had it never stood still."""


@contextmanager
def resumed(pid: int) -> Iterator[None]:
    """The process group of `pid`, if it is still there, runs inside and stands still outside."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGCONT)
    time.sleep(SETTLE_S)
    yield
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGSTOP)


INHERITED = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CXX", "HF_HOME",
)  # fmt: skip


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


def worker_environment(threads: int, spinning: bool = False) -> dict[str, str]:
    """A worker's environment: an allow-list, and thread settings equal for every backend.

    Unless told otherwise, idle OpenMP threads sleep: spinning ones would slow whatever is timed next.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {
        "PYTHONPATH": python_path(),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": wait_policy(spinning),
        "TOKENIZERS_PARALLELISM": "false",
        "NVIDIA_TF32_OVERRIDE": "0",  # fp32 is fp32, also where a library has no switch of its own for it
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts devices
        "HF_HUB_OFFLINE": "1",
    }


class Worker(ChildProcess):
    """A process that holds one backend, on the interpreter that the backend names. Leaving it ends the process.

    Every method raises WorkerError, naming the signal, the timeout or the backend's own error.
    """

    WHAT = "worker"

    def __init__(
        self,
        backend: Backend,
        artifact: Path,
        target: Target,
        timeout_s: float,
        name: str | None = None,
        front: Preprocessing | None = None,
        kind: Kind | None = None,
    ) -> None:
        target = backend.aimed(target)
        order = {**symbol_of(backend.load), "artifact": str(artifact), **target._asdict()}
        order |= {"options": dict(target.options), "imports": backend.imports}
        if backend.batches_of is not None:
            order["batches_of"] = backend.batches_of
        if kind is not None and kind.reduce is not None:
            order["reduction"] = adapters.reduction_order(kind)
        if front is not None:
            order["front"] = front.order()
        self._pauses = bool(backend.options.get("spinning"))
        home = backend.runs_in
        order["elsewhere"] = home is not None
        there = worker_environment(target.threads, target.spinning)
        super().__init__(name or backend.name, "harness.measure.worker", there, timeout_s, home)
        try:
            self._send(order)
            self.loaded = self._receive()[0]
            """`import_ns`, `load_ns` (the rest of loading), the `device` as read back, the runtime's `settings`."""
            if home is None and backend.packages:
                known = versions(backend.packages)
                self.loaded["settings"]["packages"] = ", ".join(f"{name} {known[name]}" for name in sorted(known))
            self.compile_ns = 0
            """What preparing for the first batch took; known once a batch was put."""
        except BaseException:
            self.close()
            raise

    def put(self, batch: Arrays) -> None:
        """Hand over the arrays of the next block of calls; returns when the worker holds them and is prepared."""
        with self._awake():
            self._send({}, batch)
            self.compile_ns += self._receive()[0]["compile_ns"]

    def run(self, loops: int = 1) -> Answer:
        """Call the backend `loops` times on the batch that was put, inside one window of the worker's clock."""
        with self._awake():
            self._send({"loops": loops})
            header, outputs = self._receive()
        answer = Answer(**header, outputs=outputs)
        if not 0 <= answer.began_ns < answer.ended_ns:
            raise WorkerError(
                f"{self.name}: the worker's clock stepped: a window from {answer.began_ns} to {answer.ended_ns} ns"
            )
        return answer

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Call the backend on the batch that was put, so many times in each part, outside all windows.

        Bytes that the process held before and after each part; none where its system does not tell.
        """
        with self._awake():
            self._send({"parts": parts, "calls": calls})
            held: list[int] = self._receive()[0]["held_bytes"]
        return held

    def _awake(self) -> AbstractContextManager[None]:
        """While it is asked something; else one that chose to spin stands still."""
        return resumed(self._process.pid) if self._pauses else nullcontext()


class WorkerHandle(Protocol):
    """What is asked of a worker, wherever it lives; `harness.measure.client.Worker` says what each thing means."""

    loaded: dict[str, Any]
    compile_ns: int

    @property
    def pid(self) -> int:
        """Number of the process."""

    def put(self, batch: Arrays) -> None:
        """Hand over a batch."""

    def run(self, loops: int = 1) -> Answer:
        """Call it on the batch that was put."""

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Call it so again and again; bytes that it held between the parts, none where nobody tells."""

    def close(self) -> None:
        """End it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@contextmanager
def machine_lock() -> Iterator[None]:
    """Held while anything is timed, so that two sessions on one machine never measure at once."""
    with FileLock(Path(tempfile.gettempdir()) / "shipbench-measuring.lock", mode=0o666):
        yield


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything that measuring asks of the world outside; a simulated one keeps its own time."""

    hire: Callable[..., WorkerHandle] = Worker
    """(backend, artifact, target, timeout, name of the arm, its front, its kind) → its worker, loaded."""
    alone: Callable[[], AbstractContextManager[None]] = machine_lock
    """Entered while rounds run."""
    take: Callable[[Iterable[int]], Snapshot] = system.read_counters
    """What the machine counts; told the numbers of the workers' processes."""
    look: Callable[[Iterable[int]], GpuSnapshot | None] = gpu.read_gpu
    """How its GPU is; likewise. Asked only for workers on one."""


THIS_MACHINE = Machine()
