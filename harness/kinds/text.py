"""Text classification: one label a text, or a pair of texts.

Arrays: `input_ids`, `attention_mask`, … of shape (batch, length), int64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts import Arrays, Kind
from harness.errors import HarnessError
from harness.kinds.labels import likeliest_label
from harness.sources import Native, Row, Source

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


def _processor(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    if isinstance(source, Native):
        return word_tokenizer((row[name] for row in rows for name in inputs), source.vocabulary)
    if pretrained is None:
        raise HarnessError(f"{source}: a text model from scratch has no tokenizer; use a Package or a Native")
    return load_tokenizer(pretrained)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder`; HarnessError if there is none, or none that can pad a batch."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HarnessError(f"{folder}: no usable tokenizer: {error}") from error
    # Texts are encoded once and padded batch by batch; that is no mistake to be warned of.
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    if tokenizer.pad_token_id is None:
        raise HarnessError(f"{folder}: the tokenizer has no padding token, so texts cannot share a batch")
    return tokenizer


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[dict[str, Any]]:
    columns = [[row[name] for row in rows] for name in inputs]
    for name, column in zip(inputs, columns, strict=True):
        if not all(isinstance(value, str) for value in column):
            raise HarnessError(f"column {name} is to be read as text, and holds {type(column[0]).__name__}")
    encoded = tokenizer(*columns, truncation=True, max_length=max_length)
    return [{name: values[i] for name, values in encoded.items()} for i in range(len(rows))]


def _collate(tokenizer: Any, encoded: list[dict[str, Any]]) -> Arrays:
    batch = tokenizer.pad(encoded, padding="longest", return_tensors="np")
    return {name: np.ascontiguousarray(values, dtype=np.int64) for name, values in batch.items()}


def _native_arguments(tokenizer: Any, num_labels: int) -> dict[str, int]:
    return {"vocab_size": len(tokenizer), "num_labels": num_labels}


text_classification = Kind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    metrics=("accuracy", "f1-macro"),
    processor=_processor,
    load_processor=load_tokenizer,
    encode=_encode,
    collate=_collate,
    predict=likeliest_label,
    native_arguments=_native_arguments,
    axes=("batch", "sequence"),
)
