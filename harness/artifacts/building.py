"""One artifact, made by its backend's own function, from rows where it calibrates.

What stands in this harness builds here, where torch is imported already; a function of somebody's own, or one for
another environment, in a process that may exit, crash or hang without taking the session along.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.artifacts.aside import Aside
from harness.artifacts.builder import PATIENCE, Builder
from harness.cache import Entry, changed
from harness.contracts import Backend
from harness.errors import HarnessError
from harness.kind import Kind
from harness.loading import is_ours
from harness.workers.process import environment


@dataclass(frozen=True)
class Order:
    """What a build is told besides its source."""

    kind: Kind
    rows: Aside | None
    """For a backend that calibrates."""
    threads: int
    timeout_s: float
    """Longest wait for a worker's answer."""


def built(backend: Backend, source: Entry, out: Path, order: Order) -> dict[str, str]:
    """What the backend, at home, has to say of the artifact that it wrote to `out`."""
    with lent(source, out) as given:
        if backend.calibrate is not None:
            assert order.rows is not None
            return backend.calibrate(given, out, order.kind, order.rows)
        assert backend.build is not None
        if backend.builds_in is None and is_ours(backend.build):
            return backend.build(given, out, order.kind)
        there, patience_s = environment(order.threads), PATIENCE * order.timeout_s
        with Builder(backend.name, "harness.artifacts.builder", there, patience_s, backend.builds_in) as builder:
            return builder.build(backend, given, out, order.kind)


@contextmanager
def lent(entry: Entry, out: Path) -> Iterator[Path]:
    """A copy of the entry while `out` is being built: what is written into that reaches nobody else.

    HarnessError afterwards if anything was.
    """
    # Named as `out` is, so that it is swept with that if this session is killed.
    with TemporaryDirectory(prefix=f"{out.name.rpartition('.')[0]}.", dir=out.parent) as folder:
        copy = Path(folder) / entry.path.name
        shutil.copytree(entry.path, copy)
        yield copy
        found = changed(copy)
    if found:
        raise HarnessError(
            f"it wrote into the folder that it was given to read ({', '.join(found[:3])}): `build` may write into "
            "`out`, `load` and what it returns into a temporary folder of their own"
        )
