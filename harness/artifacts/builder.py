"""A backend's `build` in a process of its own (`python -m harness.artifacts.builder FD`), and the parent's end.

A kind travels as the functions and plain values that it is made of, each function by the file it stands in, so that
one made with `dataclasses.replace` arrives as it is.
"""

from __future__ import annotations

import dataclasses
import inspect
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from harness.contracts import Backend
from harness.errors import HarnessError, Unsupported, named
from harness.kind import Kind
from harness.loading import load_symbol, name_of
from harness.pythons.installed import installed
from harness.workers import wire
from harness.workers.child import Child
from harness.workers.lifeline import end_with_parent

PATIENCE = 12
"""An exporter says nothing for longer than a worker may: it is given so many times as long."""


class Builder(Child):
    """A process that builds one artifact, on the interpreter that the backend names, else on this one."""

    WHAT = "builder"

    def build(self, backend: Backend, source: Path, out: Path, kind: Kind) -> dict[str, str]:
        """What `backend.build` returns, and where it ran unless here; raises its Unsupported, else WorkerError."""
        assert backend.build is not None
        order = {"build": name_of(backend.build), "kind": packed(kind), "source": str(source), "out": str(out)}
        order["elsewhere"] = backend.builds_in is not None
        self._send(order)
        built: dict[str, str] = self._receive()[0]["built"]
        return built


def main(fd: int) -> None:
    """Build what the order on socket `fd` asks for."""
    end_with_parent()
    with socket.socket(fileno=fd) as sock:
        try:
            order, _ = wire.receive(sock)
            build = load_symbol(**order["build"])
            built = build(Path(order["source"]), Path(order["out"]), unpacked(order["kind"]))
            if not isinstance(built, dict | None):
                raise TypeError(f"build returned {type(built).__name__}; it returns a dict of what to record")
            there = installed() if order["elsewhere"] else {}  # of this environment, the result tells itself
            told = {f"built_{name}": value for name, value in there.items()}
            wire.send(sock, {"built": {**(built or {}), **told}})
        except EOFError:
            return
        except Unsupported as error:
            wire.send(sock, {"error": str(error), "unsupported": True})
        except Exception as error:  # the parent decides what an error of the backend means
            traceback.print_exc()
            sys.stderr.flush()
            wire.send(sock, {"error": named(error)})


def packed(value: Any) -> Any:
    """A kind, or a part of one, as JSON; HarnessError for what no other process could find."""
    if inspect.isfunction(value):
        return {"function": name_of(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"made": _class(value), "of": {name: packed(part) for name, part in fields.items()}}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {"made": _class(value), "of": {name: packed(part) for name, part in value._asdict().items()}}
    if isinstance(value, tuple):
        return {"tuple": [packed(part) for part in value]}
    if value is None or isinstance(value, str | int | float):
        return value
    raise HarnessError(f"{value!r} of a kind cannot be told to another environment; kinds are of functions and names")


def unpacked(value: Any) -> Any:
    """What was packed."""
    match value:
        case {"function": name}:
            return load_symbol(**name)
        case {"made": name, "of": parts}:
            return load_symbol(**name)(**{part: unpacked(one) for part, one in parts.items()})
        case {"tuple": parts}:
            return tuple(unpacked(part) for part in parts)
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
