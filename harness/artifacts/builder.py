"""The process that builds artifacts: `python -m harness.artifacts.builder FD`.

It may run in an environment that has only numpy. A kind arrives as the functions and plain values that it consists of,
each function by the file that holds it, so a kind made with `dataclasses.replace` arrives unchanged.
"""

from __future__ import annotations

import dataclasses
import inspect
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.environments.bootstrap import installed_packages
from harness.errors import HarnessError, Unsupported, describe_error
from harness.measure import protocol
from harness.measure.lifeline import end_with_parent
from harness.util.identity import load_symbol, symbol_of


def main(fd: int) -> None:
    """Carry out each order that arrives on socket `fd` and answer with the settings to record, until it closes."""
    end_with_parent()
    with socket.socket(fileno=fd) as sock, suppress(EOFError):
        while True:
            order, _ = protocol.receive(sock)
            protocol.send(sock, _answer(order))


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    """Return the settings to record, or the error."""
    try:
        return {"settings": _build(order)}
    except Unsupported as error:
        return {"error": str(error), "unsupported": True}
    except Exception as error:  # the parent decides what an error of the backend means
        traceback.print_exc()
        sys.stderr.flush()
        return {"error": describe_error(error)}


def _build(order: dict[str, Any]) -> dict[str, Any]:
    """Call the backend's `build`; add the packages of an environment that is not pytest's."""
    build = load_symbol(**order["build"])
    settings = build(Path(order["source"]), Path(order["out"]), unpack(order["kind"]))
    if not isinstance(settings, dict | None):
        raise TypeError(f"build returned {type(settings).__name__}; return a dict of settings to record")
    installed = installed_packages() if order["elsewhere"] else {}
    return {**(settings or {}), **{f"built_{name}": value for name, value in installed.items()}}


def pack(value: Any) -> Any:
    """Return a kind, or a part of one, as JSON data; HarnessError for a part that no other process can import."""
    if inspect.isfunction(value):
        return {"function": symbol_of(value)}
    cls = type(value)
    if dataclasses.is_dataclass(cls) or hasattr(cls, "_fields"):  # of a NamedTuple
        fields = getattr(cls, "_fields", None) or [field.name for field in dataclasses.fields(cls)]
        file = str(Path(inspect.getfile(cls)).resolve())
        name = {"file": file, "module": cls.__module__, "qualname": cls.__qualname__}
        return {"class": name, "fields": {field: pack(getattr(value, field)) for field in fields}}
    if isinstance(value, tuple):
        return {"tuple": [pack(item) for item in value]}
    if value is None or isinstance(value, str | int | float):
        return value
    raise HarnessError(
        f"kind: {value!r} cannot be sent to another process; use module-level functions, numbers, strings and tuples"
    )


def unpack(value: Any) -> Any:
    """Return the value that `pack` was given."""
    match value:
        case {"function": name}:
            return load_symbol(**name)
        case {"class": name, "fields": fields}:
            return load_symbol(**name)(**{field: unpack(item) for field, item in fields.items()})
        case {"tuple": items}:
            return tuple(unpack(item) for item in items)
    return value


if __name__ == "__main__":
    main(int(sys.argv[1]))
