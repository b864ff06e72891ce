"""What a build may look at besides its source: rows set aside, and what of their score may be lost.

ALSO: A backend's `build` in a process of its own (`python -m harness.artifacts.build FD`), and the parent's end.

A kind travels as the functions and plain values that it is made of, each function by the file it stands in, so that
one made with `dataclasses.replace` arrives as it is.

ALSO: One artifact, made by its backend's own function, from rows where it calibrates.

What stands in this harness builds here, where torch is imported already; a function of somebody's own, or one for
another environment, in a process that may exit, crash or hang without taking the session along.
"""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.contracts.backend import Backend
from harness.contracts.kind import Arrays, Kind
from harness.environments.installed import installed_packages
from harness.errors import HarnessError, Unsupported, named
from harness.measure import protocol
from harness.measure.client import ChildProcess, worker_environment
from harness.measure.lifeline import end_with_parent
from harness.util.store import Entry, changed_files
from harness.util.symbols import is_built_in, load_symbol, symbol_of

if TYPE_CHECKING:
    from harness.data.inputs import Inputs


@dataclass(frozen=True)
class HeldOutRows:
    """None of the rows is a test row, nor one that the model was trained on: splits are disjoint by digest."""

    calibration: Inputs
    """To see which values a model's layers take."""
    validation: Inputs
    """To see what a choice costs."""
    metric: str
    """The task's."""
    max_drop: float | None
    """What the gate allows to be lost; None where the suite told no gate beforehand."""
    sha256: str
    """Changes with what the rows hold."""

    def score(self, outputs: Sequence[Arrays]) -> float:
        """Of outputs for each validation row; NaN where the metric is undefined on these rows."""
        from harness.evaluation.score import score

        return score(self.metric, self.validation.predictions(outputs), self.validation.truths())


PATIENCE = 12
"""An exporter says nothing for longer than a worker may: it is given so many times as long."""


class Builder(ChildProcess):
    """A process that builds one artifact, on the interpreter that the backend names, else on this one."""

    WHAT = "builder"

    def build(self, backend: Backend, source: Path, out: Path, kind: Kind) -> dict[str, str]:
        """What `backend.build` returns, and where it ran unless here; raises its Unsupported, else WorkerError."""
        assert backend.build is not None
        order = {"build": symbol_of(backend.build), "kind": pack(kind), "source": str(source), "out": str(out)}
        order["elsewhere"] = backend.builds_in is not None
        self._send(order)
        built: dict[str, str] = self._receive()[0]["built"]
        return built


def main(fd: int) -> None:
    """Build what the order on socket `fd` asks for."""
    end_with_parent()
    with socket.socket(fileno=fd) as sock:
        try:
            order, _ = protocol.receive(sock)
            build = load_symbol(**order["build"])
            built = build(Path(order["source"]), Path(order["out"]), unpack(order["kind"]))
            if not isinstance(built, dict | None):
                raise TypeError(f"build returned {type(built).__name__}; it returns a dict of what to record")
            there = installed_packages() if order["elsewhere"] else {}  # of this environment, the result tells itself
            told = {f"built_{name}": value for name, value in there.items()}
            protocol.send(sock, {"built": {**(built or {}), **told}})
        except EOFError:
            return
        except Unsupported as error:
            protocol.send(sock, {"error": str(error), "unsupported": True})
        except Exception as error:  # the parent decides what an error of the backend means
            traceback.print_exc()
            sys.stderr.flush()
            protocol.send(sock, {"error": named(error)})


def pack(value: Any) -> Any:
    """A kind, or a part of one, as JSON; HarnessError for what no other process could find."""
    if inspect.isfunction(value):
        return {"function": symbol_of(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"made": _class(value), "of": {name: pack(part) for name, part in fields.items()}}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {"made": _class(value), "of": {name: pack(part) for name, part in value._asdict().items()}}
    if isinstance(value, tuple):
        return {"tuple": [pack(part) for part in value]}
    if value is None or isinstance(value, str | int | float):
        return value
    raise HarnessError(f"{value!r} of a kind cannot be told to another environment; kinds are of functions and names")


def unpack(value: Any) -> Any:
    """What was packed."""
    match value:
        case {"function": name}:
            return load_symbol(**name)
        case {"made": name, "of": parts}:
            return load_symbol(**name)(**{part: unpack(one) for part, one in parts.items()})
        case {"tuple": parts}:
            return tuple(unpack(part) for part in parts)
    return value


def _class(value: Any) -> dict[str, str]:
    kind = type(value)
    return {
        "file": str(Path(inspect.getfile(kind)).resolve()),
        "module": kind.__module__,
        "qualname": kind.__qualname__,
    }


if __name__ == "__main__":
    main(int(sys.argv[1]))


@dataclass(frozen=True)
class BuildOrder:
    """What a build is told besides its source."""

    kind: Kind
    rows: HeldOutRows | None
    """For a backend that calibrates."""
    threads: int
    timeout_s: float
    """Longest wait for a worker's answer."""


def build_artifact(backend: Backend, source: Entry, out: Path, order: BuildOrder) -> dict[str, str]:
    """What the backend, at home, has to say of the artifact that it wrote to `out`."""
    with lend_calibration(source, out) as given:
        if backend.calibrate is not None:
            assert order.rows is not None
            return backend.calibrate(given, out, order.kind, order.rows)
        assert backend.build is not None
        if backend.builds_in is None and is_built_in(backend.build):
            return backend.build(given, out, order.kind)
        there, patience_s = worker_environment(order.threads), PATIENCE * order.timeout_s
        with Builder(backend.name, "harness.artifacts.build", there, patience_s, backend.builds_in) as builder:
            return builder.build(backend, given, out, order.kind)


@contextmanager
def lend_calibration(entry: Entry, out: Path) -> Iterator[Path]:
    """A copy of the entry while `out` is being built: what is written into that reaches nobody else.

    HarnessError afterwards if anything was.
    """
    # Named as `out` is, so that it is swept with that if this session is killed.
    with TemporaryDirectory(prefix=f"{out.name.rpartition('.')[0]}.", dir=out.parent) as folder:
        copy = Path(folder) / entry.path.name
        shutil.copytree(entry.path, copy)
        yield copy
        found = changed_files(copy)
    if found:
        raise HarnessError(
            f"it wrote into the folder that it was given to read ({', '.join(found[:3])}): `build` may write into "
            "`out`, `load` and what it returns into a temporary folder of their own"
        )
