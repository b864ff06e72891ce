"""Rows → examples, in batches and on disk: built once, read row by row when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import numpy as np
from datasets import Array2D, Array3D, Array4D, Dataset, Features, List, Value

from harness.contracts.kind import IGNORE_INDEX, TARGETS, EncodedRows, Example, Kind
from harness.errors import HarnessError
from harness.util.fingerprints import code_digest, fingerprint, tree_sha256
from harness.util.machine import versions
from harness.util.store import Store

BATCH = 256
"""Rows that are encoded at once."""

ROW = "row"
"""Column with the number of the row that an example is of."""

FILE = "rows.arrow"

LIBRARIES = ("transformers", "tokenizers", "sentencepiece", "pillow", "datasets", "numpy")
"""Packages that decide what a row becomes."""

ARRAYS = {2: Array2D, 3: Array3D, 4: Array4D}


@dataclass(frozen=True)
class Encoder:
    """How a model's rows become examples."""

    kind: Kind
    processor: Any
    inputs: tuple[str, ...]
    max_length: int
    store: Store
    """Where encoded rows are kept."""

    def asked(self, rows: Dataset, known: str) -> EncodedRows:
        """The rows to be asked; `known` changes with what they hold."""
        examples = Examples(self._encoded(rows, known, taught=False), len(rows))
        return EncodedRows(self.processor, rows, self.inputs, examples, self.max_length)

    def taught(self, rows: Dataset, known: str) -> Dataset:
        """Examples to train on, with their targets."""
        found = self._encoded(rows, known, taught=True).remove_columns(ROW)
        if not len(found):
            raise HarnessError(f"{self.kind.name}: of {len(rows)} rows to train on none teaches anything")
        return found

    def _encoded(self, rows: Dataset, known: str, *, taught: bool) -> Dataset:
        asked = (self.kind, self.inputs, self.max_length, known, len(rows), taught, self._processor())
        key = fingerprint(asked, versions(LIBRARIES), code_digest(Path(__file__)))
        entry = self.store.get("encoded/rows", key, lambda out: self._encode(rows, taught, out))
        found = Dataset.from_file(str(entry.path / FILE))
        arrays = [name for name, feature in found.features.items() if isinstance(feature, tuple(ARRAYS.values()))]
        return found.with_format("numpy", columns=arrays, output_all_columns=True) if arrays else found

    def _encode(self, rows: Dataset, taught: bool, out: Path) -> dict[str, Any]:
        first = _table(self._examples(rows[:1], taught), [0])

        def encode(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
            found = self._examples(columns, taught)
            return _table([list(filter(_teaches, row)) for row in found] if taught else found, numbers, tuple(first))

        rows.map(
            encode,
            with_indices=True,
            batched=True,
            batch_size=BATCH,
            writer_batch_size=BATCH,
            remove_columns=rows.column_names,
            features=Features({name: _feature(values[0]) for name, values in first.items()}),
            cache_file_name=str(out / FILE),
            new_fingerprint=out.name,
        )
        return {}

    def _examples(self, columns: dict[str, list[Any]], taught: bool) -> list[list[Example]]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        found = self.kind.encode(self.processor, rows, self.inputs, self.max_length)
        if not taught:
            return found
        targets = self.kind.targets(EncodedRows(self.processor, rows, self.inputs, found, self.max_length))
        pairs = zip(found, targets, strict=True)
        return [[{**one, **other} for one, other in zip(*pair, strict=True)] for pair in pairs]

    def _processor(self) -> str:
        """Digest of the processor's files."""
        with TemporaryDirectory() as folder:
            self.processor.save_pretrained(folder)
            return tree_sha256(Path(folder))


class Examples(Sequence[list[Example]]):
    """Of each row its examples, read when they are asked for."""

    def __init__(self, table: Dataset, rows: int) -> None:
        self._table, self._rows = table.remove_columns(ROW), rows
        self._ends = np.searchsorted(np.asarray(table[ROW]), np.arange(rows), side="right")

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    @overload
    def __getitem__(self, row: int) -> list[Example]: ...
    @overload
    def __getitem__(self, row: slice) -> list[list[Example]]: ...
    def __getitem__(self, row: int | slice) -> list[Example] | list[list[Example]]:
        """The examples of a row."""
        if isinstance(row, slice):
            return [self[number] for number in range(self._rows)[row]]
        number = range(self._rows)[row]
        found = self._table[int(self._ends[number - 1]) if number else 0 : int(self._ends[number])]
        return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


def _table(
    examples: list[list[Example]], numbers: list[int], names: tuple[str, ...] | None = None
) -> dict[str, list[Any]]:
    """Examples as columns, with the number of the row that each is of."""
    flat = [{**example, ROW: number} for number, row in zip(numbers, examples, strict=True) for example in row]
    return {name: [example[name] for example in flat] for name in names or tuple(flat[0])}


def _teaches(example: Example) -> bool:
    """Whether there is anything in it to learn."""
    return any(np.any(np.asarray(example[name]) != IGNORE_INDEX) for name in TARGETS if name in example)


def _feature(value: Any) -> Any:
    """How `datasets` keeps such a value: arrays as such, since lists of lists of numbers take long to read."""
    if isinstance(value, np.ndarray) and value.ndim in ARRAYS:
        return ARRAYS[value.ndim](shape=value.shape, dtype=str(value.dtype))
    if isinstance(value, list | tuple | np.ndarray):
        return List(_feature(value[0] if len(value) else 0))
    return Value("float64" if np.asarray(value).dtype.kind == "f" else "int64")
