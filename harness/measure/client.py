"""The parent's end of a worker, and the machine that workers run on."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from harness.contracts.backend import Backend, Target
from harness.contracts.kind import Arrays, Kind
from harness.errors import WorkerError
from harness.measure import adapters, gpu, system
from harness.measure.adapters import Preprocessing
from harness.measure.gpu import GpuSnapshot
from harness.measure.process import ChildProcess
from harness.measure.system import Snapshot
from harness.util.machine import versions, wait_policy
from harness.util.symbols import python_path, symbol_of

INHERITED = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CXX", "HF_HOME",
)  # fmt: skip
"""Environment variables that a worker gets from the parent; all others are dropped or set."""

SETTLE_S = 0.005
"""Pause after a spinning worker resumes, so that its idle threads are as if it had never been suspended."""


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

    @property
    def elapsed_ns(self) -> int:
        """Length of the window."""
        return self.ended_ns - self.began_ns


def worker_environment(threads: int, spinning: bool = False) -> dict[str, str]:
    """Return a worker's environment: an allow-list, and the same thread settings for every backend.

    By default idle OpenMP threads sleep: spinning ones would slow down whatever is timed next.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {
        "PYTHONPATH": python_path(),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": wait_policy(spinning),
        "TOKENIZERS_PARALLELISM": "false",
        "NVIDIA_TF32_OVERRIDE": "0",  # fp32 means fp32, also in libraries without a switch of their own
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which NVML counts devices
        "HF_HUB_OFFLINE": "1",
    }


class Worker(ChildProcess):
    """A process that holds one backend, in the environment that the backend names. Leaving it ends the process.

    Every method raises WorkerError, naming the signal, the timeout or the backend's own error.
    """

    ROLE = "worker"

    def __init__(
        self,
        backend: Backend,
        artifact: Path,
        target: Target,
        timeout_s: float,
        name: str | None = None,
        preprocessing: Preprocessing | None = None,
        kind: Kind | None = None,
    ) -> None:
        target = backend.worker_target(target)
        order = {**symbol_of(backend.load), "artifact": str(artifact), **target._asdict()}
        order |= {"options": dict(target.options), "imports": backend.imports}
        order["elsewhere"] = backend.runs_in is not None
        if backend.batches_of is not None:
            order["batches_of"] = backend.batches_of
        if kind is not None and kind.reduce is not None:
            order["reduction"] = adapters.reduction_order(kind)
        if preprocessing is not None:
            order["preprocessing"] = preprocessing.to_json()
        self._suspends = bool(backend.options.get("spinning"))
        environment = worker_environment(target.threads, target.spinning)
        super().__init__(name or backend.name, "harness.measure.worker", environment, timeout_s, backend.runs_in)
        try:
            self._send(order)
            self.loaded = self._receive()[0]
            """`import_ns`, `load_ns` (the rest of loading), the `device` as read back, the runtime's `settings`."""
            if backend.runs_in is None and backend.packages:
                installed = versions(backend.packages)
                packages = ", ".join(f"{package} {installed[package]}" for package in sorted(installed))
                self.loaded["settings"]["packages"] = packages
            self.compile_ns = 0
            """Time spent preparing for the first batch; set by `put`."""
        except BaseException:
            self.close()
            raise

    def put(self, batch: Arrays) -> None:
        """Hand over the arrays of the next block of calls; return once the worker holds them and is prepared."""
        with self._running():
            self._send({}, batch)
            self.compile_ns += self._receive()[0]["compile_ns"]

    def run(self, loops: int = 1) -> Answer:
        """Call the backend `loops` times on the batch that was put, inside one window of the worker's clock."""
        with self._running():
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
        with self._running():
            self._send({"parts": parts, "calls": calls})
            held: list[int] = self._receive()[0]["held_bytes"]
        return held

    def _running(self) -> AbstractContextManager[None]:
        """Let the worker run inside; a worker whose backend chose to spin is suspended outside."""
        return _resumed(self.pid) if self._suspends else nullcontext()


@contextmanager
def _resumed(pid: int) -> Iterator[None]:
    """Let the process group of `pid` run inside and suspend it outside; ignore one that has ended.

    A busy-waiting worker would slow down every other worker that is timed beside it.
    """
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGCONT)
    time.sleep(SETTLE_S)
    yield
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGSTOP)


class WorkerHandle(AbstractContextManager[Any], Protocol):
    """The part of `Worker` that rounds use, so that a simulated machine can supply its own."""

    loaded: dict[str, Any]
    compile_ns: int

    @property
    def pid(self) -> int:
        """Process id."""

    def put(self, batch: Arrays) -> None:
        """Hand over a batch."""

    def run(self, loops: int = 1) -> Answer:
        """Time calls on the batch that was put."""

    def repeat(self, parts: int, calls: int) -> list[int]:
        """Call it again and again; return the bytes held between parts."""

    def close(self) -> None:
        """End the worker."""


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold the machine-wide lock, so that two sessions never measure at once."""
    with FileLock(Path(tempfile.gettempdir()) / "shipbench-measuring.lock", mode=0o666):
        yield


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything outside the process that a measurement touches; a simulated machine keeps its own time."""

    start_worker: Callable[..., WorkerHandle] = Worker
    """(backend, artifact, target, timeout_s, name of the arm, its preprocessing, its kind) → its worker, loaded."""
    lock: Callable[[], AbstractContextManager[None]] = machine_lock
    """Held while rounds run."""
    read_counters: Callable[[Iterable[int]], Snapshot] = system.read_counters
    """(process ids of the workers) → the machine's counters."""
    read_gpu: Callable[[Iterable[int]], GpuSnapshot | None] = gpu.read_gpu
    """(process ids of the workers) → the state of the GPU; called for workers on one only."""


THIS_MACHINE = Machine()
