"""Wrappers around a backend's session, applied in the worker: preprocessing, length-sorted batches, reduced outputs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import omit
from harness.util.identity import load_symbol, symbol_of

if TYPE_CHECKING:
    from harness.contracts.backend import Session
    from harness.contracts.kind import Arrays, Kind
    from harness.contracts.sources import Row

JSON_PREFIX = "json:"
"""Prefix of a column whose values travel as JSON text, such as lists."""
MASK = "attention_mask"
"""Nonzero for the elements of a row, zero for its padding."""


@dataclass(frozen=True)
class Preprocessing:
    """A model's preprocessing, to run inside the timed window: the finals time it, other comparisons do not."""

    kind: Kind
    processor: Path
    """Folder of the checkpoint."""
    inputs: tuple[str, ...]
    max_length: int

    def to_json(self) -> dict[str, Any]:
        """Describe it for `with_preprocessing` in another process."""
        return {
            **{name: symbol_of(getattr(self.kind, name)) for name in ("load_processor", "encode", "collate")},
            "processor": str(self.processor),
            "inputs": list(self.inputs),
            "max_length": self.max_length,
        }


def with_preprocessing(session: Session, order: dict[str, Any]) -> Session:
    """Return the session, taking raw columns as `columns_from_rows` makes them."""
    if "torch" not in sys.modules:
        os.environ["USE_TORCH"] = "0"  # or Transformers would import it beside a runtime that does without
    load, encode, collate = (load_symbol(**order[name]) for name in ("load_processor", "encode", "collate"))
    processor, inputs, max_length = load(Path(order["processor"])), tuple(order["inputs"]), order["max_length"]

    def preprocess(arrays: Arrays) -> Any:
        encoded = encode(processor, rows_from_columns(arrays), inputs, max_length)
        return collate(processor, [example for examples in encoded for example in examples])

    return _with_inputs(session, preprocess)


def _with_inputs(session: Session, transform: Callable[[Arrays], Arrays]) -> Session:
    """Return the session with its inputs transformed, both those it runs and those it compiles for."""

    def wrap(call: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
        return lambda arrays: call(transform(arrays))

    return session._replace(run=wrap(session.run), compile=session.compile and wrap(session.compile))


def columns_from_rows(rows: Sequence[Row], inputs: tuple[str, ...]) -> Arrays:
    """Return one array per column: texts as fixed-width unicode, lists of unequal length as JSON."""
    columns: Arrays = {}
    for name in inputs:
        values = [row[name] for row in rows]
        try:
            array = np.array(values)
        except ValueError:  # of unequal length
            array = np.array([])
        if array.dtype.kind in "biufU" and array.size:
            columns[name] = array
        else:
            columns[JSON_PREFIX + name] = np.array([json.dumps(value, default=np.ndarray.tolist) for value in values])
    return columns


def rows_from_columns(arrays: Arrays) -> list[dict[str, Any]]:
    """Invert `columns_from_rows`; numbers may come back as arrays."""
    columns = {}
    for name, array in arrays.items():
        values = array.tolist() if array.dtype.kind == "U" else list(array)
        encoded = name.startswith(JSON_PREFIX)
        columns[name.removeprefix(JSON_PREFIX)] = [json.loads(value) for value in values] if encoded else values
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def reduction_order(kind: Kind) -> dict[str, Any] | None:
    """Describe the kind's reduction, if it has one, for `with_reduction` in another process."""
    return kind.reduce and {"reduce": symbol_of(kind.reduce), "reduce_inputs": list(kind.reduce_inputs)}


def with_reduction(session: Session, order: dict[str, Any]) -> Session:
    """Return the session without the inputs that only the reduction reads, reducing outputs after the window."""
    reduce, hidden = load_symbol(**order["reduce"]), frozenset(order["reduce_inputs"])
    last: Arrays = {}

    def hide(arrays: Arrays) -> Arrays:
        nonlocal last
        last = arrays
        return omit(arrays, hidden)

    return _with_inputs(session, hide)._replace(keep=lambda outputs: reduce(last, outputs))


def with_shared_arrays(session: Session, shared: Sequence[str]) -> Session:
    """Return the session, which compiles for one row where a batch has as many rows as an array that all rows share.

    A backend tells the two by their numbers: a graph that ties them together would not fit any other batch.
    """
    if not shared or session.compile is None:
        return session
    compile_whole = session.compile

    def compile_(arrays: Arrays) -> None:
        own = omit(arrays, shared)
        is_tied = len(next(iter(own.values()))) in {len(arrays[name]) for name in shared if name in arrays}
        compile_whole(arrays | {name: array[:1] for name, array in own.items()} if is_tied else arrays)

    return session._replace(compile=compile_)


def with_length_sorting(session: Session, rows: int) -> Session:
    """Return the session, answering a batch in chunks of `rows` rows of similar length, in the order of the batch.

    Each chunk loses the padding that none of its rows needs, inside the window. Without a mask, batches stay whole.
    """

    def run(arrays: Arrays) -> Arrays:
        mask = arrays.get(MASK)
        if mask is None or len(mask) <= rows:
            return session.run(arrays)
        width = mask.shape[-1]
        elements = mask.reshape(len(mask), -1, width).max(axis=1)
        order = np.argsort(elements.sum(axis=1), kind="stable")
        chunks = [order[first : first + rows] for first in range(0, len(order), rows)]
        used = [np.flatnonzero(elements[chunk].any(axis=0)) for chunk in chunks]  # columns; a row may have no element
        spans = [slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, width) for at in used]
        answers = [session.run(_cut(arrays, chunk, span)) for chunk, span in zip(chunks, spans, strict=True)]
        parts = {name: [answer[name] for answer in answers] for name in answers[0]}
        return {name: _join(_pad(values, spans, width), order) for name, values in parts.items()}

    return session._replace(run=run)


def _cut(arrays: Arrays, chunk: NDArray[np.intp], span: slice) -> Arrays:
    """Return the rows of a chunk; arrays with one entry per element are cut to the span."""
    axis, width = arrays[MASK].ndim - 1, arrays[MASK].shape[-1:]
    part = (slice(None),) * axis + (span,)
    return {
        name: np.ascontiguousarray(values[chunk][part]) if values.shape[axis : axis + 1] == width else values[chunk]
        for name, values in arrays.items()
    }


def _pad(parts: list[NDArray[np.generic]], spans: list[slice], width: int) -> list[NDArray[np.generic]]:
    """Pad outputs back to the full width if every part has one entry per element of its span."""
    if any(part.shape[1:2] != (span.stop - span.start,) for part, span in zip(parts, spans, strict=True)):
        return parts
    return [
        np.pad(part, [(0, 0), (span.start, width - span.stop), *[(0, 0)] * (part.ndim - 2)])
        for part, span in zip(parts, spans, strict=True)
    ]


def _join(parts: list[NDArray[np.generic]], order: NDArray[np.intp]) -> NDArray[np.generic]:
    """Stack the parts in the order of the batch; generated texts are padded to the longest."""
    longest = max((part.shape[1] for part in parts if part.ndim > 1), default=0)
    if parts[0].ndim == 2 and parts[0].dtype.kind in "iu":
        parts = [np.pad(part, [(0, 0), (0, longest - part.shape[1])]) for part in parts]
    stacked = np.concatenate(parts)
    joined = np.empty_like(stacked)
    joined[order] = stacked
    return joined
