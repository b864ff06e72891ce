"""Fill-mask: one word of each text is masked, and the model predicts it.

The text alone determines the word, so that every model gets the same one: a word of at least four letters near the
beginning. It is replaced by a single mask token, as in Transformers' pipeline, so a word that a tokenizer splits into
several tokens cannot be predicted and counts as wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import IGNORE_INDEX, Arrays, EncodedRows, Example, Kind, truncate
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common

WORD = re.compile(r"[^\W\d_]{4,}")
MASK = re.compile(r"\[MASK\]|<mask>", re.IGNORECASE)
"""Mask tokens of common tokenizers. A text that brings one hides the only word that could be scored."""
FIRST_WORDS = 16
"""The masked word is one of this many first ones: `max_length` rarely cuts it off; a row without it counts as wrong."""
BEST = 5
"""Words that a prediction lists, the likeliest first."""


def _load_tokenizer(folder: Path) -> Any:
    tokenizer = common.load_masking_tokenizer(folder)
    if tokenizer.mask_token_id is None:
        raise HarnessError(f"{folder}: the tokenizer has no mask token; choose a model that was trained with one")
    return tokenizer


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    text = row[inputs[0]]
    if not isinstance(text, str):  # `common.texts` says so
        return ""
    if mask := MASK.search(text):
        return (
            f"it holds {mask.group()} already; write the missing word there, because {fill_mask.name} masks one itself"
        )
    return "" if WORD.search(text) else "it has no word of four letters"


def masked_word(text: str) -> re.Match[str]:
    """Return the word of `text` to be predicted."""
    words = list(WORD.finditer(text))[:FIRST_WORDS]
    return words[int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % len(words)]


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 1:
        raise HarnessError(f"inputs={inputs}: fill-mask reads one column of text")
    masked = []
    for text in common.texts(rows, inputs[0]):
        if tokenizer.mask_token in text:
            raise HarnessError(
                f"{text[:80]!r} holds the mask token {tokenizer.mask_token}; write the missing word there"
            )
        start, end = masked_word(text).span()
        masked.append({inputs[0]: text[:start] + tokenizer.mask_token + text[end:]})
    encoded = common.encode(tokenizer, masked, inputs, max_length)
    for (example,) in encoded:
        example["mask_position"] = _mask_position(tokenizer, example)
    return encoded


def _mask_position(tokenizer: Any, example: Example) -> list[int]:
    """Return the position of the mask, in a list; 0 where `max_length` cut it off."""
    ids = list(example["input_ids"])
    return [ids.index(tokenizer.mask_token_id) if tokenizer.mask_token_id in ids else 0]


def _collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    positions = np.array([row["mask_position"][0] for row in examples], dtype=np.int64)
    return {**common.collate(tokenizer, examples), "mask_position": positions}


def _shorten(tokenizer: Any, example: Example, length: int) -> Example:
    shorter = truncate(tokenizer, example, length)
    return shorter | {"mask_position": _mask_position(tokenizer, shorter)}


def _best_tokens(batch: Arrays, outputs: Arrays) -> Arrays:
    """`logits` of shape (batch, length, vocabulary) → the `BEST` tokens at the mask and their logits.

    Also the log of the sum of exponentials of all logits at the mask, which changes with any of them: parity sees a
    difference anywhere in the vocabulary.
    """
    logits = common.output(outputs, "logits")
    at_mask = logits[np.arange(len(logits)), batch["mask_position"]]
    best = np.argsort(-at_mask, axis=1, kind="stable")[:, :BEST]
    values = np.take_along_axis(at_mask, best, axis=1)
    top = values[:, :1]
    total = top + np.log(np.exp(at_mask - top).sum(axis=1, keepdims=True))
    return {"tokens": best, "logits": values, "logsumexp": total}


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    targets = []
    for row, (example,) in zip(encoded.rows, encoded.examples, strict=True):
        labels = [IGNORE_INDEX] * len(example["input_ids"])
        position = int(example["mask_position"][0])
        token = _single_token(encoded.processor, masked_word(row[encoded.inputs[0]]).group())
        if token is not None and example["input_ids"][position] == encoded.processor.mask_token_id:
            labels[position] = token
        targets.append([{"labels": labels}])
    return targets


def _single_token(tokenizer: Any, word: str) -> int | None:
    """Return the token of `word` inside a sentence; None if it is split into several."""
    ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    return int(ids[0]) if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    return [[encoded.processor.decode([token]).strip() for token in common.output(row, "tokens")[0]] for row in outputs]


def _truths(encoded: EncodedRows) -> list[Any]:
    truths = []
    for row in encoded.rows:
        word = masked_word(row[encoded.inputs[0]]).group()
        token = _single_token(encoded.processor, word)
        # As the tokenizer writes it: an uncased one has no capitals.
        truths.append(word if token is None else encoded.processor.decode([token]).strip())
    return truths


fill_mask = Kind(
    name="fill-mask",
    auto_class="AutoModelForMaskedLM",
    metrics=("top-1", "top-5"),
    label="none",
    most_inputs=1,
    load_processor=_load_tokenizer,
    encode=_encode,
    collate=_collate,
    problem=_problem,
    targets=_targets,
    reduce_inputs=("mask_position",),
    reduce=_best_tokens,
    predict=_predict,
    truths=_truths,
    shorten=_shorten,
)
