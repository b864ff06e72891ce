"""Encoded rows of a task: the batches that every backend gets, and predictions from its outputs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts.kind import NO_ANSWER, NO_BOX, NO_LABEL, NO_LABELS

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays, EncodedRows, Example, Kind
    from harness.metrics import Metric

PROBE_BATCHES = (2, 16)
"""Sizes of the padded probe batches: an export may be correct for a single shape only."""
CUT = 16
"""Entries in the probe batch of rows cut to different lengths. Test rows that all fill `max_length` would hide a lost
mask, padding on the wrong side, and a length that the exporter took for a constant.
"""
SHORTEST = 8
"""Fewest tokens that a cut keeps, if the shortest row has that many: the reference itself may need some length."""


@dataclass(frozen=True)
class Inputs:
    """Encoded rows of one part, with the labels of their task."""

    kind: Kind
    encoded: EncodedRows
    labels: tuple[str, ...] = ()
    """Empty for kinds without labels."""
    order: Sequence[int] | None = None
    """Index in `labels` of each label of the model's head; None where both are the same."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """The task's metrics by name, with what they assume of its rows."""
    fixed_length: bool = False
    """True for a model that answers whole rows and fails on rows cut to another length; probes leave those out."""

    def __len__(self) -> int:
        return len(self.encoded.examples)

    def batch(self, rows: Sequence[int]) -> Arrays:
        """Return these rows as one padded batch."""
        return self._collate([example for row in rows for example in self.encoded.examples[row]])

    @cached_property
    def shapes(self) -> list[tuple[tuple[int, ...], ...]]:
        """The shapes of each row's arrays when it is alone, without the axis of entries: equal ones need no padding."""
        return [tuple(array.shape[1:] for array in self.batch([row]).values()) for row in range(len(self))]

    def unpadded_batches(self, rows: Iterable[int], size: int) -> Iterator[list[int]]:
        """Yield these rows in batches that need no padding, of at most `size` entries unless one row has more."""
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
        for row in rows:
            groups[self.shapes[row]].append(row)
        for group in groups.values():
            batch: list[int] = []
            for row in group:
                if batch and sum(self.entries([*batch, row])) > size:
                    yield batch
                    batch = []
                batch.append(row)
            yield batch

    def entries(self, rows: Sequence[int]) -> list[int]:
        """Return how many entries of a batch each of these rows takes."""
        return [len(self.encoded.examples[row]) for row in rows]

    def probes(self) -> list[Arrays]:
        """Return padded batches: the first rows as they are and, where rows have a length, cut to different lengths."""
        whole = [self.batch(range(size)) for size in PROBE_BATCHES if size <= len(self)]
        cut = self._cut()
        return [*whole, self._collate(cut)] if cut else whole

    def probe_names(self) -> list[str]:
        """Return a name for each entry of the probes."""
        rows = [row for row in range(min(max(CUT, *PROBE_BATCHES), len(self))) for _ in self.encoded.examples[row]]
        whole = [row for size in PROBE_BATCHES if size <= len(self) for row in rows if row < size]
        return [
            *(f"{row} in a padded batch" for row in whole),
            *(f"{row} cut short in a padded batch" for row in rows[:CUT]),
        ]

    def predictions(self, outputs: Sequence[Arrays]) -> list[Any]:
        """Return the prediction of each row, as the kind predicts it unless rows have labels.

        One label is an index into `labels`, negative for a label of no row, and several are such indices in order;
        labels of parts are lists of names. Boxes, and pairs of labels of pixels, begin with such an index.
        """
        predictions = self.kind.predict(self.encoded, outputs)
        if self.kind.label == "many":
            return [sorted(map(self._index, answers)) for answers in predictions]
        if self.kind.label == "one":
            return [self._index(label) for label in predictions]
        if self.kind.label in ("boxes", "mask"):
            return [[[self._index(int(label)), *rest] for label, *rest in parts] for parts in predictions]
        if self.kind.label != "each":
            return predictions
        return [[self._name(self._index(i)) if i >= 0 else NO_ANSWER for i in parts] for parts in predictions]

    @property
    def counted_labels(self) -> tuple[str, ...]:
        """The labels of which it is counted how often each is answered correctly: those of rows or of their parts."""
        return self.labels if self.kind.counts_labels else ()

    def truths(self) -> list[Any]:
        """Return the correct prediction of each row."""
        truths = self.kind.truths(self.encoded)
        return [[self.labels[i] for i in parts] for parts in truths] if self.kind.label == "each" else truths

    def names(self, prediction: Any) -> list[str]:
        """Return the labels of a prediction or a truth by name: those of its parts, all of several, or its only one."""
        if self.kind.label == "each":
            return prediction  # type: ignore[no-any-return]
        return [self._name(index) for index in (prediction if self.kind.label == "many" else [prediction])]

    def describe(self, prediction: Any) -> str:
        """Return a prediction or a truth as text."""
        if self.kind.label in ("one", "many"):
            return ", ".join(self.names(prediction)) or NO_LABELS
        if self.kind.label == "number":
            return f"{prediction:.6g}"
        if self.kind.label == "boxes":
            return ", ".join(map(self._describe_box, prediction)) or NO_BOX
        if self.kind.label == "mask":
            return self._describe_pixels(prediction)
        return " ".join(map(str, prediction)) if isinstance(prediction, list) else str(prediction)

    def _describe_pixels(self, confusion: list[Any]) -> str:
        """Return the number of pixels of each label that is answered."""
        answered = Counter[int]()
        for label, _, pixels in confusion:
            answered[label] += pixels
        return ", ".join(f"{self._name(label)} {pixels:,}" for label, pixels in answered.most_common())

    def _describe_box(self, box: list[Any]) -> str:
        """Return a box as text: its label, its score if it is predicted, and its corners."""
        label, value, *corners = box
        score = f" {value:.2f}" if isinstance(value, float) else ""
        return f"{self._name(label)}{score} at {' '.join(f'{n:.1f}' for n in corners)}"

    def tokens(self, outputs: Sequence[Arrays]) -> tuple[int, ...]:
        """Return the number of tokens generated for each row; empty for a kind that generates none."""
        count = self.kind.tokens
        return () if count is None else tuple(count(self.encoded.processor, row) for row in outputs)

    def _name(self, index: int) -> str:
        return self.labels[index] if index >= 0 else NO_LABEL

    def _index(self, label: int) -> int:
        return label if self.order is None else self.order[label]

    def _collate(self, examples: list[Example]) -> Arrays:
        batch = self.kind.collate(self.encoded.processor, examples)
        return {name: np.ascontiguousarray(array) for name, array in batch.items()}  # torch takes no other strides

    def _cut(self) -> list[Example]:
        """Return the first entries cut to lengths from SHORTEST to half the longest; empty if all would be equal."""
        if len(self.kind.axes) < 2 or self.fixed_length:
            return []
        first: list[Example] = []
        lengths: list[int] = []
        for examples in self.encoded.examples:
            first += examples[: CUT - len(first)]
            lengths += [len(next(iter(example.values()))) for example in examples]
        low, high = max(1, min(SHORTEST, *lengths)), max(lengths) // 2
        if high <= low:
            return []
        targets = np.linspace(low, high, len(first), dtype=int).tolist()
        shorten, processor = self.kind.shorten, self.encoded.processor
        return [shorten(processor, example, length) for example, length in zip(first, targets, strict=True)]


def split_rows(outputs: Arrays, entries: Sequence[int]) -> list[Arrays]:
    """Return the outputs of each row of a batch, in which row n takes `entries[n]` entries."""
    ends = np.cumsum(entries)[:-1]
    parts = {name: np.split(values, ends) for name, values in outputs.items()}
    return [{name: parts[name][row] for name in parts} for row in range(len(entries))]
