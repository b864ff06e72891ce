"""The parent's end of a worker: its process, its pipe, its log, and the machine that it runs on."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.contracts.backend import Backend, Device, Python, Target
from harness.contracts.kind import Arrays, Kind
from harness.environments.interpreters import interpreter_environment
from harness.errors import Unsupported, WorkerError, worker_error
from harness.measure import adapters, gpu, protocol, system
from harness.util.identity import PACKAGE, python_path, symbol_of
from harness.util.locks import hold_on_machine
from harness.util.machine import usable_cores, versions, wait_policy

EXIT_GRACE_S = 2.0
"""Time in which a process must end after it closed its pipe."""
MESSAGE_LINES = 8
"""Last lines of the log that an error's message quotes; the error carries the rest."""
MAX_LOG_BYTES = 2**20
"""The end of the log that an error carries."""
SETTLE_S = 0.005
"""Pause after a worker resumes, so that its idle threads are as if it had never been suspended."""
SUSPEND_S = 2.0
"""Time in which a worker must be suspended after it was told to."""
INHERITED = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CXX", "HF_HOME",
)  # fmt: skip
"""Environment variables that a worker gets from the parent; all others are dropped or set."""


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
        self.name, self.timeout_s = name, timeout_s
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(timeout_s)
        command = [sys.executable, "-P", "-m", module]
        if home is not None:  # `bootstrap` brings this harness; its neighbours here must stay out of reach there
            command = [home.executable, "-P", str(PACKAGE / "environments/bootstrap.py"), module]
            environment = interpreter_environment(home, environment)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environment,
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
        with self._process:  # closes its standard input and waits for its end
            self._signal_group(signal.SIGKILL)
        self._log.close()

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the process and what it started, which may outlive it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

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
            self._signal_group(signal.SIGKILL)
            return self._error(f"the {self.ROLE} gave no answer within {self.timeout_s:g} s")
        try:
            code = self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal_group(signal.SIGKILL)
            return self._error(f"the {self.ROLE} closed its pipe but kept running")
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        return self._error(f"the {self.ROLE} {end}")

    def _error(self, problem: str) -> WorkerError:
        """Return the error, its message ending with the last lines of the log."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - MAX_LOG_BYTES))
        log = self._log.read().decode(errors="replace").strip()
        quoted = "".join(f"\n  | {line}" for line in log.splitlines()[-MESSAGE_LINES:])
        return worker_error(problem, f"{self.name}: {problem}{quoted}", log)


def worker_environment(threads: int, spinning: bool = False) -> dict[str, str]:
    """Return a worker's environment: an allow-list, and the same thread settings for every backend.

    With `spinning`, OpenMP's idle threads wait as they do by default; else they sleep.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {
        "PYTHONPATH": python_path(),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        **({} if spinning else {"OMP_WAIT_POLICY": wait_policy(spinning=False)}),
        "TOKENIZERS_PARALLELISM": "false",
        "NVIDIA_TF32_OVERRIDE": "0",  # fp32 means fp32, also in libraries without a switch of their own
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which NVML counts devices
        "HF_HUB_OFFLINE": "1",
    }


@dataclass(frozen=True)
class Answer:
    """The outputs of one block of calls, and the figures of its window."""

    began_ns: int
    ended_ns: int
    cpu_ns: int
    """CPU time of the worker's process, all threads, at the system's resolution (10 ms on some)."""
    switches: int
    """Involuntary context switches: a thread of the worker lost a CPU that it still wanted."""
    peak_rss_bytes: int
    outputs: Arrays
    first_token_ns: int = 0
    """Time of the last call until the first token of a text was chosen; 0 where none is written step by step."""

    @property
    def elapsed_ns(self) -> int:
        """Length of the window."""
        return self.ended_ns - self.began_ns


class Worker(ChildProcess):
    """A process that holds one backend, in the environment that the backend names."""

    ROLE = "worker"

    def __init__(
        self,
        backend: Backend,
        artifact: Path,
        target: Target,
        timeout_s: float,
        name: str | None = None,
        preprocessing: adapters.Preprocessing | None = None,
        kind: Kind | None = None,
        alone: bool = True,
    ) -> None:
        """Start the process and load the backend. Unless it is `alone`, it is suspended whenever it is not asked."""
        target = backend.worker_target(target)
        order = {**symbol_of(backend.load), "artifact": str(artifact), **target._asdict(), "imports": backend.imports}
        order |= {"options": dict(target.options), "elsewhere": backend.runs_in is not None}
        order |= {"batches_of": backend.batches_of if kind is None or len(kind.axes) > 1 else None}
        order |= {"reduction": kind and adapters.reduction_order(kind), "shared": kind.shared if kind else ()}
        order["preprocessing"] = preprocessing and preprocessing.to_json()
        self._suspends = target.spinning and not alone  # threads that sleep while idle disturb nobody
        environment = worker_environment(target.threads, target.spinning)
        super().__init__(name or backend.name, "harness.measure.worker", environment, timeout_s, backend.runs_in)
        try:
            self._send(order)
            self.loaded = self._receive()[0]
            """`import_ns`, `load_ns` (the rest of loading), the `device` as read back, the runtime's `settings`."""
            if backend.runs_in is None and backend.packages:
                packages = sorted(versions(backend.packages).items())
                self.loaded["settings"]["packages"] = ", ".join(f"{name} {version}" for name, version in packages)
            self.compile_ns = 0
            """Time spent preparing for the first batch; set by `put`."""
            if self._suspends:
                self._suspend()
        except BaseException:
            self.close()
            raise

    def put(self, batch: Arrays) -> None:
        """Hand over the arrays of the next block of calls; return once the worker holds them and is prepared."""
        with self._awake():
            self._send({}, batch)
            self.compile_ns += self._receive()[0]["compile_ns"]

    def run(self, loops: int = 1) -> Answer:
        """Call the backend `loops` times on the batch that was put, inside one window of the worker's clock."""
        with self._awake(SETTLE_S):
            self._send({"loops": loops})
            header, outputs = self._receive()
        answer = Answer(**header, outputs=outputs)
        if not 0 <= answer.began_ns < answer.ended_ns:
            raise WorkerError(
                f"{self.name}: the worker's clock stepped: a window from {answer.began_ns} to {answer.ended_ns} ns"
            )
        return answer

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Call the backend on the batch that was put, `calls` times in each of `parts`, outside all windows.

        Return the bytes that the process held before and after each part; empty if its system does not report them.
        """
        with self._awake():
            self._send({"parts": parts, "calls": calls})
            held: list[int] = self._receive()[0]["held_bytes"]
        return held

    @contextmanager
    def _awake(self, settle_s: float = 0.0) -> Iterator[None]:
        """Let the worker run inside; outside it is suspended, if its idle threads would slow down the others."""
        if self._suspends:
            self._signal_group(signal.SIGCONT)
            time.sleep(settle_s)
        yield
        if self._suspends:
            self._signal_group(signal.SIGSTOP)

    def _suspend(self) -> None:
        """Suspend the worker for the first time, and see that it is."""
        import psutil

        self._signal_group(signal.SIGSTOP)
        for _ in range(math.ceil(SUSPEND_S / SETTLE_S)):
            status = psutil.Process(self.pid).status()
            if status in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                return
            time.sleep(SETTLE_S)
        raise self._error(
            f"this system does not suspend the worker, which is {status}, and its idle threads would slow down the "
            "others; run with --ship-wait sleep"
        )


@contextmanager
def machine_lock(say: Callable[[str], None] = lambda _: None, device: Device = "cpu") -> Iterator[None]:
    """Hold the machine's lock, so that two sessions never measure at once; `say` receives who is waited for.

    On a GPU that the driver names, sessions on other GPUs may measure meanwhile, but none on the CPU.
    """
    own = gpu.device_name() if device == "cuda" else None
    with ExitStack() as stack:
        stack.enter_context(hold_on_machine("cpu", "measure", say, shared=own is not None))
        if own is not None:
            stack.enter_context(hold_on_machine(own, "measure", say))
        yield


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything outside the process that a measurement touches; a simulated machine keeps its own time."""

    start_worker: Callable[..., Any] = Worker
    """(backend, artifact, target, timeout_s, name of the arm, its preprocessing, its kind) → its `Worker`, loaded."""
    lock: Callable[[Callable[[str], None], Device], AbstractContextManager[None]] = machine_lock
    """Held while rounds run on a device; its first argument receives a sentence while another session holds it."""
    read_counters: Callable[[Iterable[int]], system.Snapshot] = system.read_counters
    """(process ids of the workers) → the machine's counters."""
    read_gpu: Callable[[Iterable[int]], gpu.GpuSnapshot | None] = gpu.read_gpu
    """(process ids of the workers) → the state of the GPU; called for workers on one only."""
    parallel_starts: int = field(default_factory=usable_cores)
    """Workers that start at once, where nobody reads how long they take."""


THIS_MACHINE = Machine()
