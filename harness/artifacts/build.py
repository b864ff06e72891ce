"""Build one artifact with its backend's function.

The harness's own builds run in this process, which has torch imported already. An author's build, and a build for
another environment, runs in a process of its own: it may exit, crash or hang without ending the session. Where a
backend has several ways to build, they are tried in their order; an environment is installed when its turn comes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.artifacts.builder import pack
from harness.contracts.backend import Route
from harness.contracts.vetting import offline
from harness.errors import HarnessError, Unsupported, WorkerError
from harness.measure.client import ChildProcess, UnsupportedInChild, worker_environment
from harness.util.identity import is_built_in, symbol_of
from harness.util.store import Entry, changed_files

if TYPE_CHECKING:
    from harness.contracts.backend import Backend, Calibration, Python, Target
    from harness.contracts.kind import Kind

TIMEOUT_FACTOR = 12
"""A build may take this many times as long as a worker's answer: an exporter reports nothing until it has finished."""


class Builder(ChildProcess):
    """A process that builds artifacts, one after another, in the environment that the backends name."""

    ROLE = "builder"

    def build(self, route: Route, source: Path, out: Path, kind: Kind) -> dict[str, str]:
        """Return the settings to record; raise the build's own Unsupported, WorkerError for anything else."""
        order = {"build": symbol_of(route.build), "kind": pack(kind), "source": str(source), "out": str(out)}
        self._send(order | {"elsewhere": route.builds_in is not None})
        settings: dict[str, str] = self._receive()[0]["settings"]
        return settings


class Builders(ExitStack):
    """A process for the harness's own builds in each environment, which ends with the stack.

    A second build there is spared the imports, most of its time. An author's build leaves no process behind for others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Python | None, Builder] = {}

    def build(self, name: str, python: Python | None, start: Callable[[], Builder], *order: Any) -> dict[str, str]:
        """Return what `Builder.build` does for the order, from a process that `start` starts if there is none yet."""
        if python not in self._kept:
            self._kept[python] = self.enter_context(start())
        builder = self._kept[python]
        builder.name = name
        try:
            return builder.build(*order)
        except UnsupportedInChild:
            raise
        except WorkerError:
            self._kept.pop(python).close()
            raise


@offline()
def build_artifact(
    backend: Backend,
    source: Entry,
    out: Path,
    kind: Kind,
    calibration: Calibration | None,
    target: Target,
    timeout_s: float,
    resolve: Callable[[Python], Python] | None = None,
    builders: Builders | None = None,
) -> dict[str, str]:
    """Write the artifact of a resolved backend to `out`; return the settings to record.

    `resolve` returns the interpreter of an environment that a route names. Processes of `builders` are used again.
    """

    def follow(route: Route) -> dict[str, str]:
        if route.builds_in is None and is_built_in(route.build):
            return route.build(folder, out, kind)
        python = route.builds_in if route.builds_in is None or resolve is None else resolve(route.builds_in)
        environment, limit_s = worker_environment(target.threads), TIMEOUT_FACTOR * timeout_s
        start = partial(Builder, backend.name, "harness.artifacts.builder", environment, limit_s, python)
        if builders is not None and is_built_in(route.build):
            return builders.build(backend.name, python, start, route, folder, out, kind)
        with start() as builder:
            return builder.build(route, folder, out, kind)

    with lend_copy(source, out) as folder:
        if backend.calibrate is not None:
            assert calibration is not None
            return backend.calibrate(folder, out, kind, calibration)
        if backend.routes is not None:
            return _first_supported(backend.routes(folder), follow, folder, out, kind)
        assert backend.build is not None
        return follow(Route(backend.build, backend.builds_in))


def _first_supported(
    routes: tuple[Route, ...], follow: Callable[[Route], dict[str, str]], source: Path, out: Path, kind: Kind
) -> dict[str, str]:
    """Return the settings of the first route that supports the model, and why those before it do not."""
    reasons: list[str] = []
    for route in routes:
        try:
            settings = follow(route)
            if route.check:
                route.check(source, out, kind)
        except Unsupported as error:
            reasons.append(str(error))
            for path in out.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            return settings | ({"not_built_by": "; ".join(reasons)} if reasons else {})
    raise Unsupported("; ".join(reasons))


@contextmanager
def lend_copy(entry: Entry, out: Path) -> Iterator[Path]:
    """Yield a copy of the entry's folder while `out` is being built; HarnessError if a file in the copy changed."""
    # The copy's name starts as that of `out`, so the store sweeps both away after a session that was killed.
    with TemporaryDirectory(prefix=f"{out.name.rpartition('.')[0]}.", dir=out.parent) as scratch:
        copy = Path(scratch) / entry.path.name
        shutil.copytree(entry.path, copy)
        yield copy
        changes = changed_files(copy)
    if changes:
        raise HarnessError(
            f"the backend wrote into the folder that it reads from ({', '.join(changes[:3])}); let `build` write into "
            "`out`, and `load` and `run` into a temporary folder"
        )
