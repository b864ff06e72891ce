"""The parent's end of a worker: its environment, its pipe, and what is known when it dies."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.contracts import Arrays, Backend, Target
from harness.environment import versions, wait_policy
from harness.errors import WorkerError
from harness.kind import Kind
from harness.loading import import_path, name_of
from harness.workers import reduction
from harness.workers.child import Child
from harness.workers.front import Front
from harness.workers.pause import awake

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
        "NVIDIA_TF32_OVERRIDE": "0",  # fp32 is fp32, also where a library has no switch of its own for it
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts devices
        "HF_HUB_OFFLINE": "1",
    }


class Worker(Child):
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
        front: Front | None = None,
        kind: Kind | None = None,
    ) -> None:
        target = backend.aimed(target)
        order = {**name_of(backend.load), "artifact": str(artifact), **target._asdict()}
        order["options"] = dict(target.options)
        if backend.batches_of is not None:
            order["batches_of"] = backend.batches_of
        if kind is not None and kind.reduce is not None:
            order["reduction"] = reduction.order(kind)
        if front is not None:
            order["front"] = front.order()
        self._pauses = bool(backend.options.get("spinning"))
        home = backend.runs_in
        order["elsewhere"] = home is not None
        there = environment(target.threads, target.spinning)
        super().__init__(name or backend.name, "harness.workers.worker", there, timeout_s, home)
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
        return awake(self._process.pid) if self._pauses else nullcontext()
