"""What comes before a backend in the finals: raw rows become arrays inside the timed window.

ALSO: Length-sorted batching: rows of a batch are answered a few at a time, those of like length together.
ALSO: What comes after a backend: what is kept of its outputs, made in the worker once the window has closed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import without
from harness.util.symbols import load_symbol, symbol_of

if TYPE_CHECKING:
    from harness.contracts.backend import Session
    from harness.contracts.kind import Arrays, Kind
    from harness.contracts.sources import Row

LISTED = "json:"
"""Before the name of a column that holds lists."""


@dataclass(frozen=True)
class Preprocessing:
    """How a model's inputs are prepared, in words that another process understands."""

    kind: Kind
    processor: Path
    """Folder of the checkpoint."""
    inputs: tuple[str, ...]
    max_length: int

    def order(self) -> dict[str, Any]:
        """For `fronted`, as JSON."""
        return {
            **{name: symbol_of(getattr(self.kind, name)) for name in ("load_processor", "encode", "collate")},
            "processor": str(self.processor),
            "inputs": list(self.inputs),
            "max_length": self.max_length,
        }


def with_preprocessing(session: Session, order: dict[str, Any]) -> Session:
    """The session, taking raw columns as `columns` makes them."""
    load, encode, collate = (load_symbol(**order[name]) for name in ("load_processor", "encode", "collate"))
    processor, inputs, max_length = load(Path(order["processor"])), tuple(order["inputs"]), order["max_length"]

    def given(call: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
        def run(arrays: Arrays) -> Any:
            encoded = encode(processor, rows_of(arrays), inputs, max_length)
            return call(collate(processor, [example for examples in encoded for example in examples]))

        return run

    return session._replace(run=given(session.run), compile=session.compile and given(session.compile))


def columns_of(rows: Sequence[Row], inputs: tuple[str, ...]) -> Arrays:
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


def rows_of(arrays: Arrays) -> list[dict[str, Any]]:
    """The rows again."""
    lists = {}
    for name, array in arrays.items():
        values = array.tolist() if array.dtype.kind == "U" else list(array)
        listed = name.startswith(LISTED)
        lists[name.removeprefix(LISTED) if listed else name] = [json.loads(v) for v in values] if listed else values
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


MASK = "attention_mask"
"""Which of a row's elements are there; the others are padding."""


def with_length_sorting(session: Session, rows: int) -> Session:
    """The session, which sorts the rows of a batch by length, answers `rows` of them at a time without the padding
    that these do not need, and gives the answers in the order asked for. All of it is inside the window.

    Rows without a mask have no padding, and are answered as they come.
    """

    def run(arrays: Arrays) -> Arrays:
        mask = arrays.get(MASK)
        if mask is None or len(mask) <= rows:
            return session.run(arrays)
        order = np.argsort(mask.sum(axis=1), kind="stable")
        chosen = [order[at : at + rows] for at in range(0, len(order), rows)]
        places = [_needed(mask[part]) for part in chosen]
        answered = [session.run(_cut(arrays, part, place)) for part, place in zip(chosen, places, strict=True)]
        parts = {name: [part[name] for part in answered] for name in answered[0]}
        return {name: _joined(_filled(found, places, mask.shape[1]), order) for name, found in parts.items()}

    return session._replace(run=run)


def _needed(mask: NDArray[np.generic]) -> slice:
    """Where any of the rows has an element; everywhere if none has one."""
    found = np.flatnonzero(mask.any(axis=0))
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, mask.shape[1])


def _cut(arrays: Arrays, chosen: NDArray[np.intp], place: slice) -> Arrays:
    """The chosen rows, of what has an entry an element those of this place."""
    width = arrays[MASK].shape[1]
    given = {name: values[chosen] for name, values in arrays.items()}
    return {
        name: np.ascontiguousarray(values[:, place]) if values.shape[1:2] == (width,) else values
        for name, values in given.items()
    }


def _filled(parts: list[NDArray[np.generic]], places: list[slice], width: int) -> list[NDArray[np.generic]]:
    """Outputs that have an entry an element, as long in every part as what that was given, are as wide as all again."""
    if any(part.shape[1:2] != (place.stop - place.start,) for part, place in zip(parts, places, strict=True)):
        return parts
    return [
        np.pad(part, [(0, 0), (place.start, width - place.stop), *[(0, 0)] * (part.ndim - 2)])
        for part, place in zip(parts, places, strict=True)
    ]


def _joined(parts: list[NDArray[np.generic]], order: NDArray[np.intp]) -> NDArray[np.generic]:
    """Parts one below the other in the order asked for; generated texts are filled up to the longest."""
    longest = max((part.shape[1] for part in parts if part.ndim > 1), default=0)
    filled = [_widened(part, longest) if part.ndim == 2 and part.dtype.kind in "iu" else part for part in parts]
    whole = np.concatenate(filled)
    found = np.empty_like(whole)
    found[order] = whole
    return found


def _widened(part: NDArray[np.generic], longest: int) -> NDArray[np.generic]:
    return np.pad(part, [(0, 0), (0, longest - part.shape[1])])


def reduction_order(kind: Kind) -> dict[str, Any]:
    """For `reduced`, as JSON."""
    assert kind.reduce is not None
    return {"reduce": symbol_of(kind.reduce), "aside": list(kind.aside)}


def with_reduction(session: Session, order: dict[str, Any]) -> Session:
    """The session, which is not given what lies aside, and whose outputs are reduced when they are kept."""
    reduce, aside = load_symbol(**order["reduce"]), frozenset(order["aside"])
    last: Arrays = {}

    def given(call: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
        def run(arrays: Arrays) -> Any:
            nonlocal last
            last = arrays
            return call(without(arrays, aside))

        return run

    return session._replace(
        run=given(session.run),
        compile=session.compile and given(session.compile),
        keep=lambda outputs: reduce(last, outputs),
    )
