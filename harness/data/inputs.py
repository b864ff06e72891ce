"""Encoded rows: the same objects for every backend, and what is made of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.contracts.kind import NO_ANSWER, Arrays, EncodedRows, Example, Kind
from harness.kinds.common import label_name

PROBE_BATCHES = (2, 16)
"""Besides every row alone, this many rows together, padded: an export may be right at one shape only."""

CUT = 16
"""So many entries, each cut to another length, are probed together where a kind's rows have a length. Test rows that
all fill `max_length` need no padding, and would hide a lost mask, the wrong padding side, and a length folded in."""

SHORTEST = 8
"""None is cut shorter than this or the shortest real one: the reference itself may need some length."""


@dataclass(frozen=True)
class Inputs:
    """Rows as a model is given them."""

    kind: Kind
    asked: EncodedRows
    labels: tuple[str, ...] = ()
    """The task's, where it has any."""
    order: Sequence[int] | None = None
    """For each answer that the model can give, its index among `labels`; None where they are the same."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.asked.examples)

    def batch(self, rows: Sequence[int]) -> Arrays:
        """The batch of these rows."""
        return self._collated([example for row in rows for example in self.asked.examples[row]])

    def entries(self, rows: Sequence[int]) -> list[int]:
        """How many entries of a batch each of these rows takes."""
        return [len(self.asked.examples[row]) for row in rows]

    def probes(self) -> list[Arrays]:
        """The padded batches: first rows as they are, then, where rows have a length, some cut to several lengths."""
        whole = [self.batch(range(size)) for size in PROBE_BATCHES if size <= len(self)]
        cut = self._cut()
        return [*whole, self._collated(cut)] if cut else whole

    def probed(self) -> list[str]:
        """What each entry of the probes is called."""
        sizes = [size for size in PROBE_BATCHES if size <= len(self)]
        whole = [row for size in sizes for row in range(size) for _ in self.asked.examples[row]]
        cut = [row for row in range(min(CUT, len(self))) for _ in self.asked.examples[row]][:CUT]
        return [*(f"{row} in a padded batch" for row in whole), *(f"{row} cut short in a padded batch" for row in cut)]

    def predictions(self, outputs: Sequence[Arrays]) -> list[Any]:
        """What is answered to each row: where the task has labels their index, below 0 for one that no row has, or
        for each part of a row their name; else what the kind reads."""
        found = self.kind.predict(self.asked, outputs)
        if self.kind.label == "one":
            return [self._own(label) for label in found]
        if self.kind.label == "each":
            return [[self._tag(label) for label in parts] for parts in found]
        return found

    def truths(self) -> list[Any]:
        """What each row's prediction should be."""
        found = self.kind.truths(self.asked)
        return [[self.labels[i] for i in parts] for parts in found] if self.kind.label == "each" else found

    def tell(self, prediction: Any) -> str:
        """A prediction, or what it should be, in words."""
        if self.kind.label == "one":
            return label_name(self.labels, prediction)
        if isinstance(prediction, list):
            return " ".join(map(str, prediction))
        return str(prediction)

    def tokens(self, outputs: Sequence[Arrays]) -> tuple[int, ...]:
        """Tokens generated for each row; empty for a kind that generates none."""
        count = self.kind.tokens
        return () if count is None else tuple(count(self.asked.processor, row) for row in outputs)

    def _tag(self, label: int) -> str:
        return NO_ANSWER if label < 0 else label_name(self.labels, self._own(label))

    def _own(self, label: int) -> int:
        return label if self.order is None else self.order[label]

    def _collated(self, examples: list[Example]) -> Arrays:
        return self.kind.collate(self.asked.processor, examples)

    def _cut(self) -> list[Example]:
        """The first entries at lengths from the shortest to half the longest; none where that leaves no two lengths."""
        if len(self.kind.axes) < 2:
            return []
        first: list[Example] = []
        lengths: list[int] = []
        for examples in self.asked.examples:
            first += examples[: CUT - len(first)]
            lengths += [len(next(iter(example.values()))) for example in examples]
        low, high = max(1, min(SHORTEST, *lengths)), max(lengths) // 2
        wanted = np.linspace(low, max(low, high), len(first), dtype=int).tolist()
        cut = [self.kind.shorten(example, to) for example, to in zip(first, wanted, strict=True)]
        return cut if high > low else []


def split_rows(outputs: Arrays, entries: Sequence[int]) -> list[Arrays]:
    """Outputs of a batch as those of its rows, each of which takes so many of its entries."""
    ends = np.cumsum(entries)[:-1]
    parts = {name: np.split(values, ends) for name, values in outputs.items()}
    return [{name: parts[name][row] for name in parts} for row in range(len(entries))]
