"""Length-sorted batching: rows of a batch are answered a few at a time, those of like length together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.contracts import Arrays, Backend, Session

MASK = "attention_mask"
"""Which of a row's elements are there; the others are padding."""


def by_length(backend: Backend, rows: int = 4) -> Backend:
    """The backend on the same artifact, with its batches sorted by length and answered `rows` at a time."""
    same = replace(backend, build=None, calibrate=None, builds_in=None)
    return replace(same, name=f"{backend.name}-by-length", source=backend, batches_of=rows)


def sorted_by_length(session: Session, rows: int) -> Session:
    """The session, which sorts the rows of a batch by length, answers `rows` of them at a time without the padding
    that these do not need, and gives the answers in the order asked for. All of it is inside the window.

    Rows without a mask have no padding, and are answered as they come.
    """

    def run(arrays: Arrays) -> Arrays:
        mask = arrays.get(MASK)
        if mask is None or len(mask) <= rows:
            return session.run(arrays)
        order = np.argsort(mask.sum(axis=1), kind="stable")
        width = mask.shape[1]
        answered = [_answered(session, arrays, order[at : at + rows], width) for at in range(0, len(order), rows)]
        return {name: _joined([part[name] for part in answered], order) for name in answered[0]}

    return session._replace(run=run)


def _answered(session: Session, arrays: Arrays, chosen: NDArray[np.intp], width: int) -> Arrays:
    """Answers to the chosen rows; what has an entry an element is filled up to `width` elements again."""
    needed = np.flatnonzero(arrays[MASK][chosen].any(axis=0))
    first, last = (int(needed[0]), int(needed[-1]) + 1) if len(needed) else (0, width)
    given = {name: values[chosen] for name, values in arrays.items()}
    trimmed = {
        name: np.ascontiguousarray(values[:, first:last]) if values.shape[1:2] == (width,) else values
        for name, values in given.items()
    }
    return dict(_filled(session.run(trimmed), first, last, width))


def _filled(outputs: Arrays, first: int, last: int, width: int) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for name, values in outputs.items():
        if last - first < width and values.shape[1:2] == (last - first,) and values.ndim > 2:
            rest = [(0, 0)] * (values.ndim - 2)
            yield name, np.pad(values, [(0, 0), (first, width - last), *rest])
        else:
            yield name, values


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
