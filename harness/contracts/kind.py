"""The contract of a kind of task: its functions, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts.declarations import MOST_CLASSES, explain_arguments
from harness.contracts.sources import Row, Source
from harness.contracts.tolerance import ELEMENTWISE, Tolerance
from harness.errors import HarnessError

Arrays = dict[str, "NDArray[Any]"]
Example = dict[str, Any]
"""One entry of a batch: numbers, lists and arrays by name."""
TARGETS = ("labels", "start_positions", "end_positions")
"""Names that Transformers' heads give to their training targets."""
UNTAUGHT = MOST_CLASSES
"""Label of a pixel that the loss ignores, as in Transformers, and that no score counts."""
IGNORE_INDEX = -100
"""Target of a token that the loss ignores, as in PyTorch."""
NO_LABEL = "(a label of no row)"
NO_LABELS = "(no label)"
"""Answer to a row that may have several labels and has none."""
NO_BOX = "(no box)"
NO_ANSWER = "(no answer)"
"""Label of a word beyond `max_length`."""


class EncodedRows(NamedTuple):
    """Rows and the examples that a kind encoded them as."""

    processor: Any
    rows: Sequence[Row]
    inputs: tuple[str, ...]
    """Columns that the model is given."""
    examples: Sequence[Sequence[Example]]
    max_length: int | None = None
    """Longest text in tokens, of targets too; None where nothing is cut."""


def column(rows: Any, name: str) -> list[Any]:
    """Return one column of rows; of a `datasets.Dataset` without reading the others, images for instance."""
    return list(rows[name][:]) if hasattr(rows, "column_names") else [row[name] for row in rows]


def row_labels(encoded: EncodedRows) -> list[Any]:
    """Return each row's `label`."""
    return column(encoded.rows, "label")


def omit(arrays: Arrays, names: Collection[str]) -> Arrays:
    """Return the arrays without those called `names`."""
    return {name: array for name, array in arrays.items() if name not in names}


def truncate(processor: Any, example: Example, length: int) -> Example:
    """Return the example, cut to `length` tokens.

    Special tokens stay, as where a tokenizer cuts: some models read their answer at the last `</s>`.
    """
    tokens = np.asarray(example.get("input_ids", ()))
    stays = (
        np.isin(tokens, _special_ids(processor)) if tokens.size else np.zeros(len(next(iter(example.values()))), bool)
    )
    stays |= np.cumsum(~stays) <= max(1, length - int(stays.sum()))
    return {
        name: [value for value, kept in zip(values, stays, strict=False) if kept] for name, values in example.items()
    }


def _special_ids(processor: Any) -> list[int]:
    """Return the ids of a tokenizer's special tokens, without that of unknown words, of which a text may consist."""
    named = getattr(processor, "special_tokens_map", {}).items()
    texts = [
        text for name, value in named if name != "unk_token" for text in ([value] if isinstance(value, str) else value)
    ]
    return [number for number in processor.convert_tokens_to_ids(texts) if number is not None] if texts else []


def stack_targets(targets: list[Example]) -> dict[str, Any]:
    """Return a batch's targets as arrays; lists are padded on the right, as kinds pad the tokens they belong to."""
    batch = {}
    for name in targets[0]:
        arrays = [np.asarray(target[name]) for target in targets]
        if arrays[0].ndim:
            longest = max(map(len, arrays))
            arrays = [np.pad(one, (0, longest - len(one)), constant_values=IGNORE_INDEX) for one in arrays]
        stacked = np.stack(arrays)
        batch[name] = stacked.astype(np.float32) if stacked.dtype.kind == "f" else stacked
    return batch


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Kind:
    """Functions that turn the rows of a sort of task into tensors, and tensors into predictions; all module-level."""

    name: str
    """Hugging Face's name for the task."""
    auto_class: str
    """Transformers' Auto class that puts the head on a checkpoint."""
    export: str = ""
    """Optimum's name for the export task, where it differs from `name`."""
    metrics: tuple[str, ...]
    """Metrics that a task of this kind may name."""
    label: Literal["one", "each", "many", "number", "boxes", "mask", "text", "free", "none"] = "one"
    """The label column: one name a row, one for each part of it (words for instance), any number of names, one number,
    named boxes in an image, a label for each of its pixels, one text, anything that the kind reads (answers for
    instance), or no column, where a row contains its own answer. Of boxes and pixels a prediction is a list of lists,
    each of which begins with the index of its label."""
    most_inputs: int | None = None
    """Most input columns that a task may name; None admits any number."""
    media: Literal["", "image", "audio"] = ""
    """Contents of the input columns, as files, bytes or arrays; empty for texts and numbers."""
    load_processor: Callable[[Path], Any]
    """Folder of a checkpoint → its tokenizer or image processor, an object with `save_pretrained`."""
    prepare: Callable[[Any, tuple[str, ...], tuple[str, ...] | Mapping[str, str]], None] | None = None
    """(processor, the data's labels, `Model.labels`) → None; writes into the processor what no row says. For kinds
    whose model reads the labels; None for those whose head has them."""
    new_processor: Callable[[Source, Sequence[Row], tuple[str, ...]], Any] | None = None
    """(source, training rows, input columns) → a processor for a model without checkpoint; None refuses such models."""
    encode: Callable[[Any, Sequence[Row], tuple[str, ...], int], list[list[Example]]]
    """(processor, rows, input columns, max_length) → each row's unpadded examples: one, or windows of it."""
    collate: Callable[[Any, list[Example]], Arrays]
    """(processor, examples) → batch arrays, one entry an example, padded to the longest; those of `shared` last."""
    shared: tuple[str, ...] = ()
    """Arrays of a batch that belong to all its examples together, as the texts do that every picture is compared with:
    the same in every call."""
    problem: Callable[[Row, tuple[str, ...]], str] | None = None
    """(row with its `label`, input columns) → what is wrong with the row, in words; empty if nothing is."""
    targets: Callable[[EncodedRows], list[list[Example]]]
    """Training rows → each example's targets, named as in `forward`; an example with IGNORE_INDEX alone is left out."""
    batch_targets: Callable[[list[Example]], dict[str, Any]] = stack_targets
    """The targets of a batch's examples → what the model's `forward` takes, arrays alone or in lists and mappings."""
    reduce_inputs: tuple[str, ...] = ()
    """Arrays of a batch that `reduce` needs and the model is not given."""
    reduce: Callable[[Arrays, Arrays], Arrays] | None = None
    """(batch, outputs) → the outputs to keep; called in the worker, after the timed window."""
    predict: Callable[[EncodedRows, Sequence[Arrays]], list[Any]]
    """(rows, each row's outputs) → each row's prediction, a plain value: for labels the index of the model's label."""
    truths: Callable[[EncodedRows], list[Any]] = row_labels
    """Rows → each row's correct prediction."""
    tokens: Callable[[Any, Arrays], int] | None = None
    """(processor, a row's outputs) → number of generated tokens; None for kinds that generate none."""
    remark: Callable[[Path, EncodedRows, Sequence[Arrays]], str] | None = None
    """(checkpoint, rows, the reference's outputs for each) → a limit of the answers that a reader must hear of."""
    tolerance: Tolerance = ELEMENTWISE
    """When an export's outputs count as equal to its source's."""
    native_arguments: Callable[[Any, int], dict[str, Any]] | None = None
    """(processor, number of labels) → arguments of a native module's constructor; None if the kind takes no modules."""
    axes: tuple[str, ...] = ("batch", "sequence")
    """Names of the leading axes of every input whose sizes change from call to call."""
    shorten: Callable[[Any, Example, int], Example] = truncate
    """(processor, example, length) → the example cut to that length, to probe an export with padded batches."""
    optional_weights: tuple[str, ...] = ()
    """Prefixes of weight names that no answer depends on: a checkpoint used as it is may lack them."""

    @property
    def continues(self) -> bool:
        """True if answers continue a prompt, as long as the model's `new_tokens` states."""
        return self.tokens is not None and self.is_causal

    @property
    def is_causal(self) -> bool:
        """True if its models read texts from left to right and guess the next token."""
        return self.auto_class == "AutoModelForCausalLM"

    @property
    def names_labels(self) -> bool:
        """True if answers have labels, known by name."""
        return self.counts_labels or self.label in ("boxes", "mask")

    @property
    def counts_labels(self) -> bool:
        """True if answers are labels, of rows or of their parts, so that it can be counted how often each is right."""
        return self.label in ("one", "each", "many")

    @property
    def has_head_of_labels(self) -> bool:
        """True if the labels are those of the model's head."""
        return self.names_labels and self.prepare is None

    @property
    def problem_type(self) -> str | None:
        """Transformers' name for a head whose answer is not one label; it decides the loss."""
        return {"many": "multi_label_classification", "number": "regression"}.get(self.label)

    def processor(self, source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
        """Return the processor of the checkpoint in `pretrained`, or a new one; HarnessError if there is neither."""
        if pretrained is not None:
            return self.load_processor(pretrained)
        if self.new_processor is None:
            raise HarnessError(f"{source}: {self.name} needs a pretrained model: use a Package, a Hub or a Local")
        return self.new_processor(source, rows, inputs)
