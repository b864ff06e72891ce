"""What comes before a backend in the finals: raw rows become arrays inside the timed window."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.loading import load_symbol, name_of

if TYPE_CHECKING:
    from harness.contracts import Arrays, Session
    from harness.kind import Kind
    from harness.origins.sources import Row

LISTED = "json:"
"""Before the name of a column that holds lists."""


@dataclass(frozen=True)
class Front:
    """How a model's inputs are prepared, in words that another process understands."""

    kind: Kind
    processor: Path
    """Folder of the checkpoint."""
    inputs: tuple[str, ...]
    max_length: int

    def order(self) -> dict[str, Any]:
        """For `fronted`, as JSON."""
        return {
            **{name: name_of(getattr(self.kind, name)) for name in ("load_processor", "encode", "collate")},
            "processor": str(self.processor),
            "inputs": list(self.inputs),
            "max_length": self.max_length,
        }


def fronted(session: Session, order: dict[str, Any]) -> Session:
    """The session, taking raw columns as `columns` makes them."""
    load, encode, collate = (load_symbol(**order[name]) for name in ("load_processor", "encode", "collate"))
    processor, inputs, max_length = load(Path(order["processor"])), tuple(order["inputs"]), order["max_length"]

    def given(call: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
        def run(arrays: Arrays) -> Any:
            encoded = encode(processor, rows(arrays), inputs, max_length)
            return call(collate(processor, [example for examples in encoded for example in examples]))

        return run

    return session._replace(run=given(session.run), compile=session.compile and given(session.compile))


def columns(rows: Sequence[Row], inputs: tuple[str, ...]) -> Arrays:
    """Rows as one array a column; texts as fixed-width unicode, so that they travel as raw bytes, and lists as JSON."""
    found = {}
    for name in inputs:
        values = [row[name] for row in rows]
        array = _array(values)
        if array is None:
            found[LISTED + name] = np.array([json.dumps(value) for value in values])
        else:
            found[name] = array
    return found


def _array(values: list[Any]) -> NDArray[Any] | None:
    """The values as one array of numbers or texts; None where they are lists of several lengths."""
    try:
        array = np.array(values)
    except ValueError:
        return None
    return array if array.dtype.kind in "biufU" and array.size else None


def rows(arrays: Arrays) -> list[dict[str, Any]]:
    """The rows again."""
    lists = {}
    for name, array in arrays.items():
        values = array.tolist() if array.dtype.kind == "U" else list(array)
        listed = name.startswith(LISTED)
        lists[name.removeprefix(LISTED) if listed else name] = [json.loads(v) for v in values] if listed else values
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
