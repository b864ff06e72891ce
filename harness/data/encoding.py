"""Encode rows as examples: in batches, once, into a file from which examples are read row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts.kind import IGNORE_INDEX, TARGETS, EncodedRows
from harness.errors import HarnessError
from harness.util.identity import code_digest, fingerprint, tree_sha256
from harness.util.machine import versions

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.contracts.kind import Example, Kind
    from harness.util.store import Store

FILE = "rows.arrow"
BATCH = 256
"""Rows that are encoded at a time."""
ROW = "row"
"""Column with the number of the row that an example belongs to."""
LIBRARIES = ("transformers", "tokenizers", "sentencepiece", "pillow", "datasets", "numpy")
"""Packages that influence the encoding."""


@dataclass(frozen=True)
class Encoder:
    """Encodes rows as a kind does, with a model's processor, and keeps them in `store`."""

    kind: Kind
    processor: Any
    inputs: tuple[str, ...]
    max_length: int
    store: Store

    def encode(self, rows: Dataset, content: str) -> EncodedRows:
        """Return the rows with their examples; `content` identifies what the rows hold."""
        examples = Examples(self._kept(rows, content, with_targets=False), len(rows))
        return EncodedRows(self.processor, rows, self.inputs, examples, self.max_length)

    def encode_targets(self, rows: Dataset, content: str) -> Dataset:
        """Return examples with their targets; HarnessError if no row yields any."""
        examples = self._kept(rows, content, with_targets=True).remove_columns(ROW)
        if not len(examples):
            raise HarnessError(
                f"{self.kind.name}: none of the {len(rows)} training rows has a target to learn; "
                "raise max_length or check label="
            )
        return examples

    def _kept(self, rows: Dataset, content: str, *, with_targets: bool) -> Dataset:
        from datasets import Dataset

        with TemporaryDirectory() as folder:
            self.processor.save_pretrained(folder)
            processor = tree_sha256(Path(folder))
        source = (self.kind, self.inputs, self.max_length, content, len(rows), with_targets, processor)
        key = fingerprint(source, versions(LIBRARIES), code_digest(Path(__file__)))
        entry = self.store.get("encoded/rows", key, lambda out: self._write(rows, with_targets, out))
        table = Dataset.from_file(str(entry.path / FILE))
        arrays = [name for name, feature in table.features.items() if hasattr(feature, "shape")]
        return table.with_format("numpy", columns=arrays, output_all_columns=True) if arrays else table

    def _write(self, rows: Dataset, with_targets: bool, out: Path) -> dict[str, Any]:
        from datasets import Features

        first = _table(self._examples(rows[:1], with_targets), [0])

        def encode(columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
            examples = self._examples(columns, with_targets)
            if with_targets:
                examples = [list(filter(_has_target, row)) for row in examples]
            return _table(examples, numbers, first)

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

    def _examples(self, columns: dict[str, list[Any]], with_targets: bool) -> list[list[Example]]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        examples = self.kind.encode(self.processor, rows, self.inputs, self.max_length)
        if not with_targets:
            return examples
        targets = self.kind.targets(EncodedRows(self.processor, rows, self.inputs, examples, self.max_length))
        return [[a | b for a, b in zip(*pair, strict=True)] for pair in zip(examples, targets, strict=True)]


class Examples(Sequence[list["Example"]]):
    """The examples of each row, read from disk on access."""

    def __init__(self, table: Dataset, rows: int) -> None:
        self._table, self._rows = table.remove_columns(ROW), rows
        self._ends = np.searchsorted(np.asarray(table[ROW]), np.arange(rows), side="right")

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: Any) -> Any:
        """Return the examples of a row, or of each row of a slice."""
        if isinstance(row, slice):
            return [self[number] for number in range(self._rows)[row]]
        number = range(self._rows)[row]
        columns = self._table[int(self._ends[number - 1]) if number else 0 : int(self._ends[number])]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _table(examples: list[list[Example]], numbers: list[int], names: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Return examples as columns, each with the number of its row; `names` are needed where `examples` may be empty."""
    flat = [{**example, ROW: number} for number, row in zip(numbers, examples, strict=True) for example in row]
    return {name: [example[name] for example in flat] for name in names or flat[0]}


def _has_target(example: Example) -> bool:
    targets = [np.asarray(example[name]) for name in TARGETS if name in example]
    return any(target.dtype.kind == "f" or np.any(target != IGNORE_INDEX) for target in targets)


def _feature(value: Any) -> Any:
    """Return the feature of `datasets` for such a value; arrays have their own, as nested lists are slow to read."""
    from datasets import Array2D, Array3D, Array4D, List, Value

    types = {2: Array2D, 3: Array3D, 4: Array4D}
    if isinstance(value, np.ndarray) and value.ndim in types:
        return types[value.ndim](shape=value.shape, dtype=str(value.dtype))
    if isinstance(value, list | tuple | np.ndarray):
        return List(_feature(value[0] if len(value) else np.zeros((), getattr(value, "dtype", int))))
    return Value("float64" if np.asarray(value).dtype.kind == "f" else "int64")
