"""Arrays of several rows, each in a shape of its own, in one safetensors file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from harness.contracts import Arrays

SHAPES = ".shapes"


def save(rows: Sequence[Arrays], file: Path) -> None:
    """Write `rows`, which have the same names, numbers of axes and types, to `file`."""
    packed: Arrays = {}
    for name in rows[0] if rows else ():
        packed[name] = np.concatenate([row[name].reshape(-1) for row in rows])
        packed[name + SHAPES] = np.array([row[name].shape for row in rows], dtype=np.int64)
    save_file(packed, file)


def load(file: Path) -> list[Arrays]:
    """What `save` wrote."""
    packed = load_file(file)
    found: list[Arrays] = []
    for name in (name for name in packed if not name.endswith(SHAPES)):
        shapes = packed[name + SHAPES]
        ends = np.cumsum(shapes.prod(axis=1))
        parts = [part.reshape(shape) for part, shape in zip(np.split(packed[name], ends[:-1]), shapes, strict=True)]
        found = found or [{} for _ in parts]
        for row, part in zip(found, parts, strict=True):
            row[name] = part
    return found
