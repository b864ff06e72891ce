"""Length-sorted batching: rows of a batch are answered a few at a time, those of like length together."""

from __future__ import annotations

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
