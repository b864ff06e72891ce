"""What kinds share: outputs by name, words for answers that are no label, and one label a row.

ALSO: What kinds of text share: tokenizers, padded batches, and what is taught of each token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import NO_LABEL, Arrays, EncodedRows, Example, own_label
from harness.contracts.sources import Native, Row, Source
from harness.errors import HarnessError


def label_name(names: Sequence[str], index: int) -> str:
    """The label's name; a model used as it is may answer one that the task does not have, below 0."""
    return names[index] if index >= 0 else NO_LABEL


def output(outputs: Arrays, name: str) -> NDArray[Any]:
    """The output called `name`; HarnessError, with those there are, if there is none."""
    if name not in outputs:
        raise HarnessError(f"the backend answered {', '.join(outputs) or 'nothing'}; this kind reads `{name}`")
    return outputs[name]


def logits_alone(batch: Arrays, outputs: Arrays) -> Arrays:
    """`logits` without what some models answer beside them, an encoder's states for instance."""
    return {"logits": outputs["logits"]} if "logits" in outputs else outputs


def likeliest_label(asked: EncodedRows, outputs: Sequence[Arrays]) -> list[int]:
    """Index of the largest of `logits`, shape (1, labels) a row; a tie goes to the first."""
    logits = np.concatenate([output(row, "logits") for row in outputs])
    return logits.argmax(axis=-1).tolist()  # type: ignore[no-any-return]


def taught_label(asked: EncodedRows) -> list[list[Example]]:
    """A row's one example is to be answered with its label."""
    return [[{"labels": label}] for label in own_label(asked)]


PAD, UNKNOWN = "[PAD]", "[UNK]"


def word_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """A lower-casing word tokenizer over the `vocabulary` most frequent words of `texts`.

    Every text begins with a token of its own, so that an empty one still has a shape and the second of a pair is known.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN, "[CLS]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A [CLS] $B", special_tokens=[("[CLS]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token="[CLS]",
        model_input_names=["input_ids", "attention_mask"],
    )


def tokenizer_for(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    """The checkpoint's tokenizer; for a native module one of its own over the words of `rows`."""
    if isinstance(source, Native):
        values = (row[name] for row in rows for name in inputs)
        return word_tokenizer((v if isinstance(v, str) else " ".join(v) for v in values), source.vocabulary)
    return load_tokenizer(folder_of(source, pretrained))


def pretrained_processor(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    """The checkpoint's tokenizer, for kinds that no native module is trained for."""
    return load_tokenizer(folder_of(source, pretrained))


def folder_of(source: Source, pretrained: Path | None) -> Path:
    """The checkpoint's folder; HarnessError where there is none."""
    if pretrained is None:
        raise HarnessError(f"{source}: a text model from scratch has no tokenizer; use a Package, a Hub or a Local")
    return pretrained


def load_tokenizer(folder: Path, **settings: Any) -> Any:
    """The tokenizer in `folder`; HarnessError if there is none, or none that can pad a batch."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **settings)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise HarnessError(f"{folder}: no usable tokenizer: {error}") from error
    # Texts are encoded once and padded batch by batch; that is no mistake to be warned of.
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    if tokenizer.pad_token_id is None:
        raise HarnessError(f"{folder}: the tokenizer has no padding token, so texts cannot share a batch")
    return tokenizer


def load_aligned(folder: Path, *, fast: bool = True, **settings: Any) -> Any:
    """The tokenizer in `folder` for kinds that look at single tokens: it pads on the right, so that places stay, and
    marks what is padding; a `fast` one says where in the text its tokens lie. HarnessError if it does not."""
    tokenizer = load_tokenizer(folder, padding_side="right", **settings)
    if "attention_mask" not in tokenizer.model_input_names:
        raise HarnessError(f"{folder}: {type(tokenizer).__name__} does not mark padding, which this kind must know of")
    if fast and not tokenizer.is_fast:
        raise HarnessError(
            f"{folder}: {type(tokenizer).__name__} does not say where its tokens lie; save a fast tokenizer "
            "(tokenizer.json) with the model"
        )
    return tokenizer


def texts(rows: Sequence[Row], name: str) -> list[str]:
    """The column `name`; HarnessError if it holds anything but text."""
    column = [row[name] for row in rows]
    for value in column:
        if not isinstance(value, str):
            raise HarnessError(f"column {name} is to be read as text, and holds {type(value).__name__}")
    return column


def encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    """One example a row: its text, or its two texts as a pair."""
    encoded = tokenizer(*(texts(rows, name) for name in inputs), truncation=True, max_length=max_length)
    return [[{name: values[i] for name, values in encoded.items()}] for i in range(len(rows))]


def collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    """`input_ids`, `attention_mask`, … of shape (examples, longest), int64."""
    known = [{name: row[name] for name in tokenizer.model_input_names if name in row} for row in examples]
    batch = tokenizer.pad(known, padding="longest", return_tensors="np")
    return {name: np.ascontiguousarray(values, dtype=np.int64) for name, values in batch.items()}


def without_padding(batch: Arrays, outputs: Arrays) -> Arrays:
    """Outputs of shape (batch, length, …), zero where the batch is padded: what stands there is nobody's answer."""
    mask = batch["attention_mask"].astype(bool)
    return {
        name: np.where(mask.reshape(mask.shape + (1,) * (values.ndim - 2)), values, 0).astype(values.dtype)
        for name, values in outputs.items()
    }


def native_arguments(tokenizer: Any, num_labels: int) -> dict[str, int]:
    """What a native module of texts is constructed with."""
    return {"vocab_size": len(tokenizer), "num_labels": num_labels}
