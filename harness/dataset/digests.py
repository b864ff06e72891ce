"""Digests of rows: of what is the same to a reader, and of what is the same to the letter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Image

from harness.origins.sources import Row


def by_row(rows: Dataset, columns: tuple[str, ...]) -> Iterator[str]:
    """Of each row, by these columns."""
    for name in columns:
        if isinstance(rows.features[name], Image):
            rows = rows.cast_column(name, Image(decode=False))
    return (_row_digest(row, columns) for row in rows)


def _row_digest(row: Row, columns: tuple[str, ...]) -> str:
    """Of the inputs: white space folded in texts, shape and bytes of arrays."""
    digest = hashlib.sha256()
    for name in columns:
        value = row[name]
        if isinstance(value, str):
            digest.update(json.dumps(" ".join(value.split())).encode())
        elif isinstance(value, dict) and "bytes" in value:  # an image's file, which `datasets` has in memory or names
            digest.update(value["bytes"] or Path(value["path"]).read_bytes())
        elif isinstance(value, dict) or (array := _numbers(value)) is None:
            digest.update(json.dumps(value).encode())
        else:
            digest.update(f"{array.dtype.kind}{array.shape}".encode() + array.astype(np.float64).tobytes())
    return digest.hexdigest()


def _numbers(value: object) -> np.ndarray[Any, Any] | None:
    """The value as an array of numbers, if it is one."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return None if array.dtype.kind in "OSU" else array


def of_rows(rows: Dataset) -> str:
    """Of all columns, as a reader sees them."""
    return hashlib.sha256("".join(by_row(rows, tuple(rows.column_names))).encode()).hexdigest()


def to_the_letter(rows: Dataset) -> str:
    """Of all columns as they are, white space too."""
    digest = hashlib.sha256()
    for batch in rows.with_format("arrow").iter(1000):
        with pa.ipc.new_stream(sink := pa.BufferOutputStream(), batch.schema) as stream:
            stream.write_table(batch.combine_chunks())
        digest.update(sink.getvalue())
    return digest.hexdigest()
