"""Language modeling: how likely a causal language model finds given texts, a token after the other.

A backend answers with `log_likelihood` of shape (batch, length - 1): the natural logarithm of the probability of each
token, given all before it, and zeros at padding. The first token of a text has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.text_generation import load_tokenizer


def _load_tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder, padding_side="right")


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    """Encode each text, cut to `max_length` tokens; HarnessError for one in which no token follows another."""
    examples = common.encode(tokenizer, rows, inputs, max_length)
    short = [row for row, (example,) in enumerate(examples) if len(example["input_ids"]) < 2]
    if short:
        raise HarnessError(
            f"{len(short):,} of {len(rows):,} texts have fewer than two tokens, so that none follows another; leave "
            f"them out, first {rows[short[0]][inputs[0]]!r}"
        )
    return examples


def _collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    """Return tokens with their places, which graphs need, and models take or count themselves."""
    batch = common.collate(tokenizer, examples)
    return {**batch, "position_ids": np.maximum(batch["attention_mask"].cumsum(axis=1) - 1, 0)}


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    return [[{"labels": example["input_ids"]}] for (example,) in encoded.examples]


def _log_likelihood(batch: Arrays, outputs: Arrays) -> Arrays:
    """`logits` of shape (batch, length, tokens) → `log_likelihood`; one row at a time, as vocabularies are large."""
    logits, tokens = common.output(outputs, "logits"), batch["input_ids"]
    rows = [_of_row(row[:-1], following[1:]) for row, following in zip(logits, tokens, strict=True)]
    return {"log_likelihood": np.stack(rows) * batch["attention_mask"][:, 1:]}


def _of_row(logits: Any, tokens: Any) -> Any:
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    return chosen - np.log(np.exp(logits, out=logits).sum(axis=-1))


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[float]:
    """Return the negative log-likelihood of each row."""
    return [-float(common.output(row, "log_likelihood").sum()) for row in outputs]


def _tokens(encoded: EncodedRows) -> list[int]:
    """Return the number of tokens of each row that follow another."""
    return [len(example["input_ids"]) - 1 for (example,) in encoded.examples]


language_modeling = Kind(
    name="language-modeling",
    auto_class="AutoModelForCausalLM",
    export="text-generation",
    metrics=("perplexity",),
    label="none",
    most_inputs=1,
    load_processor=_load_tokenizer,
    encode=_encode,
    collate=_collate,
    targets=_targets,
    reduce=_log_likelihood,
    predict=_predict,
    truths=_tokens,
)
