"""Where workers live, and who may use it: this computer, unless a measurement is told of another one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from filelock import FileLock

from harness.contracts import Arrays
from harness.rounds import counters, gpu
from harness.rounds.counters import Snapshot
from harness.rounds.gpu import Seen
from harness.workers.process import Answer, Worker


class Hired(Protocol):
    """What is asked of a worker, wherever it lives; `harness.workers.process.Worker` says what each thing means."""

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

    hire: Callable[..., Hired] = Worker
    """(backend, artifact, target, timeout, name of the arm, its front, its kind) → its worker, loaded."""
    alone: Callable[[], AbstractContextManager[None]] = machine_lock
    """Entered while rounds run."""
    take: Callable[[Iterable[int]], Snapshot] = counters.take
    """What the machine counts; told the numbers of the workers' processes."""
    look: Callable[[Iterable[int]], Seen | None] = gpu.look
    """How its GPU is; likewise. Asked only for workers on one."""


THIS = Machine()
