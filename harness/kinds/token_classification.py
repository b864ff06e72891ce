"""Token classification: one label for each word of a text that comes as a list of words.

A word's label is that of its first token; its other tokens are neither trained nor evaluated. Arrays as for text
classification; logits have shape (batch, length, labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import IGNORE_INDEX, Arrays, EncodedRows, Example, Kind, row_labels
from harness.contracts.sources import Row
from harness.kinds import common

NO_WORD = -1
"""In `word_ids`: a token that belongs to no word. As a prediction: a word beyond `max_length`."""


def _load_tokenizer(folder: Path) -> Any:
    # RoBERTa's tokenizers require it for lists of words; others ignore it.
    return common.load_aligned_tokenizer(folder, add_prefix_space=True)


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    words = [list(row[inputs[0]]) for row in rows]
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    encoded["word_ids"] = [[NO_WORD if w is None else w for w in encoded.word_ids(i)] for i in range(len(rows))]
    return [[{name: values[i] for name, values in encoded.items()}] for i in range(len(rows))]


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    words, labels = row[inputs[0]], row["label"]
    if isinstance(words, str):
        return f"its column {inputs[0]} holds a text instead of a list of words"
    if not all(isinstance(word, str) for word in words):
        return f"its column {inputs[0]} holds a word that is not text"
    message = f"it has {len(words)} words and {len(labels)} labels; each word needs one"
    return "" if len(words) == len(labels) else message


def _first_tokens(example: Example) -> dict[int, int]:
    """Return each word's first token, which backwards is its last."""
    backwards = reversed(list(enumerate(example["word_ids"])))
    return {int(word): token for token, word in backwards if word != NO_WORD}


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    targets = []
    for (example,), labels in zip(encoded.examples, row_labels(encoded), strict=True):
        taught = [IGNORE_INDEX] * len(example["word_ids"])
        for word, token in _first_tokens(example).items():
            taught[token] = labels[word]
        targets.append([{"labels": taught}])
    return targets


def _keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
    return common.zero_padding(batch, outputs, "logits")


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    predictions = []
    for row, (example,), row_outputs in zip(encoded.rows, encoded.examples, outputs, strict=True):
        likeliest = common.output(row_outputs, "logits")[0].argmax(axis=-1)
        labels = np.full(len(row[encoded.inputs[0]]), NO_WORD)
        for word, token in _first_tokens(example).items():
            labels[word] = likeliest[token]
        predictions.append(labels.tolist())
    return predictions


def _remark(checkpoint: Path, encoded: EncodedRows, outputs: Sequence[Arrays]) -> str:
    """Count the words that have no token, whose labels no model can answer."""
    words = [len(row[encoded.inputs[0]]) for row in encoded.rows]
    lost = sum(words) - sum(len(_first_tokens(example)) for (example,) in encoded.examples)
    text = f"{lost:,} of {sum(words):,} words of the test rows have no token and count as wrong: they are blank"
    return f"{text}, or lie beyond max_length={encoded.max_length}" if lost else ""


token_classification = Kind(
    name="token-classification",
    auto_class="AutoModelForTokenClassification",
    metrics=("entity-f1", "word-accuracy"),
    label="each",
    most_inputs=1,
    load_processor=_load_tokenizer,
    new_processor=common.new_tokenizer,
    encode=_encode,
    collate=common.collate,
    problem=_problem,
    targets=_targets,
    reduce=_keep_logits,
    predict=_predict,
    remark=_remark,
    native_arguments=common.native_arguments,
)
