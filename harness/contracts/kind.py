"""How far two backends' outputs for one row lie apart, and how far they may: for numbers, embeddings and tokens.

ALSO: What a kind of task must provide: a frozen value that names module-level functions, and what these are given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts.sources import Row, Source

Arrays = dict[str, "NDArray[Any]"]

ABSOLUTE, RELATIVE = 1e-3, 1e-3
"""A float form may differ from its source by this much; kernels of two runtimes differ by 1e-6 to 1e-5."""

ANGLE = 1e-5
"""One less the cosine of two embeddings. Two runtimes differ by 1e-7; a layer 1 % too large by more than this."""


class Tolerance(NamedTuple):
    """A rule by which a float form passes for its source."""

    distance: Callable[[NDArray[Any], NDArray[Any]], float]
    """Of two outputs for one row, as it is put on record."""
    excess: Callable[[NDArray[Any], NDArray[Any]], float]
    """(own, the source's) → how much of it is too much; at most 0 where nothing is."""
    allowed: str
    """The same in words."""
    share: float = 0.0
    """Of the rows, so many may lie too far apart."""
    sized: bool = True
    """Whether outputs must have the same shape; generated ones may not."""


def _largest(own: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(own - other).max(initial=0.0))


def _beyond(own: NDArray[Any], other: NDArray[Any]) -> float:
    return float((np.abs(own - other) - RELATIVE * np.abs(other)).max(initial=0.0)) - ABSOLUTE


def _angle(own: NDArray[Any], other: NDArray[Any]) -> float:
    product = (own * other).sum(axis=-1)
    lengths = np.linalg.norm(own, axis=-1) * np.linalg.norm(other, axis=-1)
    return float((1 - product / np.maximum(lengths, np.finfo(np.float32).tiny)).max(initial=0.0))


def _too_wide(own: NDArray[Any], other: NDArray[Any]) -> float:
    return _angle(own, other) - ANGLE


def _other_tokens(own: NDArray[Any], other: NDArray[Any]) -> float:
    """How many tokens differ, place by place.

    What one has beyond the other's end differs as well, unless it is padding: where text ends is a token of its own.
    """
    width = min(own.shape[-1], other.shape[-1])
    rest = (own if own.shape[-1] > width else other)[..., width:]
    more = rest.size if rest.size and (rest != rest[..., :1]).any() else 0
    return float((own[..., :width] != other[..., :width]).sum() + more)


ELEMENTWISE = Tolerance(_largest, _beyond, f"{ABSOLUTE:g} + {RELATIVE:g} of the value")

COSINE = Tolerance(_angle, _too_wide, f"{ANGLE:g} of one less the cosine")

# Of two words that a model finds equally good, rounding chooses: at one place in a hundred thousand.
TOKENS = Tolerance(_other_tokens, _other_tokens, "no token, but in one row of 100", share=0.01, sized=False)

Example = dict[str, Any]
"""What one entry of a batch is made of: numbers, lists and arrays by name."""

TARGETS = ("labels", "start_positions", "end_positions")
"""What Transformers' heads call what they are taught."""

IGNORE_INDEX = -100
"""Target of a token that no loss counts, as PyTorch's losses have it."""

Labels = Literal["one", "each", "free", "none"]
"""What a task's label is: one name a row; one for each of a row's parts, words for instance; whatever the kind reads
from it, an answer in words for instance; or nothing, where a row holds its own answer."""


class EncodedRows(NamedTuple):
    """Rows, as a kind has encoded them."""

    processor: Any
    rows: Sequence[Row]
    inputs: tuple[str, ...]
    """Columns that the model is given."""
    examples: Sequence[Sequence[Example]]
    """Of each row."""
    max_length: int | None = None
    """Longest text in tokens, of what is taught too; None where nothing is cut."""


def column(rows: Any, name: str) -> list[Any]:
    """One column of rows; of a `datasets.Dataset` without reading the others, images for instance."""
    return list(rows[name]) if hasattr(rows, "column_names") else [row[name] for row in rows]


def own_label(asked: EncodedRows) -> list[Any]:
    """Each row's `label`."""
    return column(asked.rows, "label")


def without(arrays: Arrays, names: Collection[str]) -> Arrays:
    """The arrays but for `names`."""
    return {name: array for name, array in arrays.items() if name not in names}


def truncate(example: Example, length: int) -> Example:
    """The example, cut to `length` tokens."""
    return {name: values[:length] for name, values in example.items()}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How rows of a sort of task become tensors, and tensors predictions. Functions are module-level."""

    name: str
    auto_class: str
    """Transformers' Auto class that puts the head on a checkpoint."""
    export: str = ""
    """Optimum's name of the export task; empty where it is the kind's."""
    metrics: tuple[str, ...]
    label: Labels = "one"
    processor: Callable[[Source, Path | None, Sequence[Row], tuple[str, ...]], Any]
    """(source, folder of the pretrained checkpoint, training rows, input columns) → has `save_pretrained`."""
    load_processor: Callable[[Path], Any]
    encode: Callable[[Any, Sequence[Row], tuple[str, ...], int], list[list[Example]]]
    """(processor, rows, input columns, max_length) → for each row its examples, unpadded: one, or windows of it."""
    collate: Callable[[Any, list[Example]], Arrays]
    """(processor, examples) → batch arrays, an entry an example, padded to the longest."""
    problem: Callable[[Row, tuple[str, ...]], str] | None = None
    """(row with its `label`, input columns) → what is wrong with it, in words; empty if nothing is."""
    targets: Callable[[EncodedRows], list[list[Example]]]
    """For each example of rows to train on, what the model is to answer, by the name its `forward` has for that.

    An example of whose tokens none is taught anything is left out.
    """
    aside: tuple[str, ...] = ()
    """Arrays of a batch that `reduce` needs and the model is not given."""
    reduce: Callable[[Arrays, Arrays], Arrays] | None = None
    """(batch, outputs) → what is kept of the outputs; called in the worker, after the timed window."""
    predict: Callable[[EncodedRows, Sequence[Arrays]], list[Any]]
    """Outputs of each row → its prediction, a plain value; for labels their index among the model's answers."""
    truths: Callable[[EncodedRows], list[Any]] = own_label
    """What each row's prediction should be."""
    tokens: Callable[[Any, Arrays], int] | None = None
    """(processor, outputs of a row) → how many tokens were generated; None where none are."""
    likeness: Tolerance = ELEMENTWISE
    """What makes an export's outputs the same as its source's."""
    native_arguments: Callable[[Any, int], dict[str, int]] | None = None
    """(processor, number of labels) → what a native module's constructor is given; None where there are none."""
    axes: tuple[str, ...]
    """Names of the leading axes of every input that may change from call to call."""
    shorten: Callable[[Example, int], Example] = truncate
    spare: tuple[str, ...] = ()
    """Beginnings of names of weights that no answer depends on, so that a checkpoint may lack them."""


NO_LABEL = "(a label of no row)"

NO_ANSWER = "(no answer)"
"""Of a word beyond `max_length`."""
