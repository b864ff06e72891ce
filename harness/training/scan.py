"""Every row of a task as the tokens of its model, counted by what the model could not read."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts.kind import EncodedRows
from harness.data import splits
from harness.util.console import current

if TYPE_CHECKING:
    from harness.spec import Model, Task


POSITIONS = re.compile(r"(^|\.)(position_embeddings?|embed_positions|wpe)$")
BATCH = 1000
"""Rows that are encoded at a time."""


@dataclass
class Tally:
    """A count of rows with a property, the first of them, and the largest value."""

    rows: int = 0
    first: str = ""
    value: int = 0

    def add(self, place: str, value: int = 0) -> None:
        """Count a row."""
        self.rows, self.first, self.value = self.rows + 1, self.first or place, max(self.value, value)

    def __str__(self) -> str:
        return f"{self.rows:,} rows, first {self.first}" if self.rows > 1 else self.first


class Scan:
    """Every row that will be used, encoded once."""

    def __init__(self, task: Task, model: Model, split: splits.Split, module: Any, tokenizer: Any) -> None:
        """Encode the rows for the model, loaded as `module`, and count those with a property."""
        self.task, self.model, self.tokenizer = task, model, tokenizer
        self.rows, self.tallies = 0, defaultdict[str, Tally](Tally)
        types = [part for name, part in module.named_modules() if name.endswith("token_type_embeddings")]
        self.vocabulary, self.positions = vocabulary_size(module) or sys.maxsize, positions(module) or sys.maxsize
        self.types = getattr(types[0], "num_embeddings", sys.maxsize) if types else sys.maxsize
        self.special = [token for token in tokenizer.all_special_tokens if token != tokenizer.mask_token]
        self._special_ids = {*tokenizer.all_special_ids} - {tokenizer.mask_token_id}
        self._pattern = re.compile("|".join(map(re.escape, self.special)) or "$^")
        parts = ("test", "validation", "calibration") if model.is_used_as_is else splits.PARTS
        tables = {part: getattr(split, part) for part in parts}
        with current().bar(f"reading the texts of {task.name}", sum(map(len, tables.values()))) as stage:
            for part, rows in tables.items():
                for start in range(0, len(rows), BATCH):
                    self._encode(part, start, rows[start : start + BATCH])
                    stage.update(min(BATCH, len(rows) - start))

    def _encode(self, part: str, start: int, columns: dict[str, list[Any]]) -> None:
        kind, tokenizer, length = self.task.kind, self.tokenizer, self.model.max_length
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        examples = kind.encode(tokenizer, rows, self.task.inputs, length)
        if not self.rows and not self.model.is_used_as_is:
            kind.targets(EncodedRows(tokenizer, rows, self.task.inputs, examples, length))
        self.rows += len(rows)
        for name, values in self._properties(columns, examples):
            for number, value in values.items():
                self.tallies[name].add(f"row {start + number} of {part}", value)

    def _properties(
        self, columns: dict[str, list[Any]], examples: list[list[Any]]
    ) -> Iterator[tuple[str, dict[int, int]]]:
        """Yield each property, and the rows that have it with their largest value."""
        entries = [(number, entry, entry["input_ids"]) for number, row in enumerate(examples) for entry in row]
        lengths = [len(ids) for *_, ids in entries]
        measured = (
            ("vocabulary", [max(ids, default=0) for *_, ids in entries], self.vocabulary),
            ("types", [max(entry.get("token_type_ids", ()), default=0) for _, entry, _ in entries], self.types),
            ("positions", lengths, self.positions + 1),
            ("cut", lengths, self.model.max_length),
        )
        for name, values, limit in measured:
            rows = ((number, value) for (number, *_), value in zip(entries, values, strict=True) if value >= limit)
            yield name, dict(sorted(rows))
        yield "empty", {number: 0 for number, _, ids in entries if self._special_ids.issuperset(ids)}
        texts = ((n, text) for name in self.task.inputs for n, text in enumerate(columns[name]))
        search = self._pattern.search
        special = {n for n, text in texts if search(text if isinstance(text, str) else " ".join(text))}
        yield "special", dict.fromkeys(sorted(special), 0)


def vocabulary_size(model: Any) -> int:
    """Return the number of tokens that the model has embeddings for; 0 if it has none."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return 0


def _position_tables(model: Any) -> list[Any]:
    """Return the tables of positions for a text that the model is given."""
    from torch.nn import Embedding

    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, Embedding)]
    skipped = "decoder." if model.config.is_encoder_decoder else "\0"
    return [table for name, table in parts if POSITIONS.search(name) and skipped not in name]


def offset_of(model: Any) -> int:
    """Return how many positions a RoBERTa leaves out: it counts from the padding token's number."""
    # Subclasses of Embedding count from 0, or from an `offset` of their own.
    tables = [table for table in _position_tables(model) if type(table).__name__ == "Embedding"]
    return max((table.padding_idx + 1 for table in tables if table.padding_idx is not None), default=0)


def positions(model: Any) -> int | None:
    """Return how many tokens the model has positions for; None without a limit, as with relative or rotary ones."""
    sizes = [table.num_embeddings - int(getattr(table, "offset", 0)) for table in _position_tables(model)]
    return min(sizes) - offset_of(model) if sizes else None
