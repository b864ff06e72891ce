"""Fill-mask: a word of each text is covered, and the model says which it may be.

Which word is drawn from the text alone, so that every model is asked the same: one of four letters and more among the
first of the text. It is covered by one mask, as in Transformers' pipeline; a word that a tokenizer cuts into several
tokens can therefore not be answered, and counts as wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import IGNORE_INDEX, Arrays, EncodedRows, Example, Kind, truncate
from harness.contracts.sources import Row, Source
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.common import output

WORD = re.compile(r"[^\W\d_]{4,}")

FIRST = 16
"""The covered word is one of so many, so that few are cut off by `max_length`; one that is counts as wrong."""

BEST = 5


def _load_tokenizer(folder: Path) -> Any:
    tokenizer = common.load_aligned(folder, fast=False)
    if tokenizer.mask_token_id is None:
        raise HarnessError(f"{folder}: the tokenizer has no mask token, so no word can be covered")
    return tokenizer


def _processor(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    return _load_tokenizer(common.folder_of(source, pretrained))


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    text = row[inputs[0]]
    if not isinstance(text, str) or WORD.search(text):
        return ""
    return "there is no word of four letters in it; leave such rows out"


def covered(text: str) -> re.Match[str]:
    """The word of `text` that is asked for."""
    words = list(WORD.finditer(text))[:FIRST]
    return words[int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % len(words)]


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 1:
        raise HarnessError(f"inputs={inputs}: fill-mask reads one column of text")
    asked = []
    for text in common.texts(rows, inputs[0]):
        start, end = covered(text).span()
        asked.append({inputs[0]: text[:start] + tokenizer.mask_token + text[end:]})
    found = common.encode(tokenizer, asked, inputs, max_length)
    for (example,) in found:
        ids = list(example["input_ids"])
        example["mask_position"] = [ids.index(tokenizer.mask_token_id) if tokenizer.mask_token_id in ids else 0]
    return found


def _collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    at = np.array([row["mask_position"][0] for row in examples], dtype=np.int64)
    return {**common.collate(tokenizer, examples), "mask_position": at}


def _shorten(example: Example, length: int) -> Example:
    return truncate(example, length) | {"mask_position": [min(int(example["mask_position"][0]), length - 1)]}


def best_of_mask(batch: Arrays, outputs: Arrays) -> Arrays:
    """`logits` of shape (batch, length, vocabulary) → at the mask the `BEST` tokens, their logits, and of all logits
    the log of summed exponentials, which changes with any of them."""
    logits = output(outputs, "logits")
    at_mask = logits[np.arange(len(logits)), batch["mask_position"]]
    best = np.argsort(-at_mask, axis=1, kind="stable")[:, :BEST]
    values = np.take_along_axis(at_mask, best, axis=1)
    top = values[:, :1]
    total = top + np.log(np.exp(at_mask - top).sum(axis=1, keepdims=True))
    return {"tokens": best, "logits": values, "logsumexp": total}


def _targets(asked: EncodedRows) -> list[list[Example]]:
    found = []
    for row, (example,) in zip(asked.rows, asked.examples, strict=True):
        taught = [IGNORE_INDEX] * len(example["input_ids"])
        token = _single_token(asked.processor, covered(row[asked.inputs[0]]).group())
        if token is not None and example["input_ids"][example["mask_position"][0]] == asked.processor.mask_token_id:
            taught[int(example["mask_position"][0])] = token
        found.append([{"labels": taught}])
    return found


def _single_token(tokenizer: Any, word: str) -> int | None:
    """The one token of `word` inside a sentence, if it is one."""
    ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
    return int(ids[0]) if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def _predict(asked: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    return [[asked.processor.decode([token]).strip() for token in output(row, "tokens")[0]] for row in outputs]


def _truths(asked: EncodedRows) -> list[Any]:
    found = []
    for row in asked.rows:
        word = covered(row[asked.inputs[0]]).group()
        token = _single_token(asked.processor, word)
        # As this tokenizer writes it: an uncased one knows no capitals.
        found.append(word if token is None else asked.processor.decode([token]).strip())
    return found


fill_mask = Kind(
    name="fill-mask",
    auto_class="AutoModelForMaskedLM",
    metrics=("top-1", "top-5"),
    label="none",
    processor=_processor,
    load_processor=_load_tokenizer,
    encode=_encode,
    collate=_collate,
    problem=_problem,
    targets=_targets,
    aside=("mask_position",),
    reduce=best_of_mask,
    predict=_predict,
    truths=_truths,
    axes=("batch", "sequence"),
    shorten=_shorten,
)
