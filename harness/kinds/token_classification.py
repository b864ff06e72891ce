"""Token classification: one label for each word of a text that comes as a list of words.

A word's answer is that of its first token; its other tokens are neither taught nor asked. Arrays as for texts, logits
of shape (batch, length, labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import IGNORE_INDEX, Arrays, EncodedRows, Example, Kind, own_label
from harness.contracts.sources import Native, Row, Source
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.common import output

NO_WORD = -1
"""In `word_ids`, of tokens that belong to no word; as an answer, of words beyond `max_length`."""


def _load_tokenizer(folder: Path) -> Any:
    # RoBERTa's tokenizers insist on it where words come one by one; others do without.
    return common.load_aligned(folder, add_prefix_space=True)


def _processor(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    if isinstance(source, Native) or pretrained is None:
        return common.tokenizer_for(source, pretrained, rows, inputs)
    return _load_tokenizer(pretrained)


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    words = [row[inputs[0]] for row in rows]
    for text in words:
        if isinstance(text, str) or not all(isinstance(word, str) for word in text):
            raise HarnessError(f"column {inputs[0]} is to be read as a list of words, and holds {type(text).__name__}")
    encoded = tokenizer(list(map(list, words)), is_split_into_words=True, truncation=True, max_length=max_length)
    return [
        [
            {name: values[i] for name, values in encoded.items()}
            | {"word_ids": [NO_WORD if word is None else word for word in encoded.word_ids(i)]}
        ]
        for i in range(len(rows))
    ]


def _problem(row: Row, inputs: tuple[str, ...]) -> str:
    words, labels = row[inputs[0]], row["label"]
    if isinstance(words, str):
        return f"column {inputs[0]} is to be read as a list of words, and holds text"
    if not all(isinstance(word, str) for word in words):
        return f"among its words in {inputs[0]} is one that is no text"
    if len(words) == len(labels):
        return ""
    return f"it has {len(words)} words and {len(labels)} labels; each word needs one"


def _first_tokens(example: Example) -> dict[int, int]:
    """Word → place of its first token."""
    places: dict[int, int] = {}
    for place, word in enumerate(example["word_ids"]):
        if word != NO_WORD:
            places.setdefault(int(word), place)
    return places


def _targets(asked: EncodedRows) -> list[list[Example]]:
    found = []
    for (example,), labels in zip(asked.examples, own_label(asked), strict=True):
        taught = [IGNORE_INDEX] * len(example["word_ids"])
        for word, place in _first_tokens(example).items():
            taught[place] = labels[word]
        found.append([{"labels": taught}])
    return found


def _of_words(batch: Arrays, outputs: Arrays) -> Arrays:
    return common.without_padding(batch, {"logits": output(outputs, "logits")})


def _predict(asked: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    found = []
    for row, (example,), answered in zip(asked.rows, asked.examples, outputs, strict=True):
        likeliest = output(answered, "logits")[0].argmax(axis=-1)
        labels = np.full(len(row[asked.inputs[0]]), NO_WORD)
        for word, place in _first_tokens(example).items():
            labels[word] = likeliest[place]
        found.append(labels.tolist())
    return found


token_classification = Kind(
    name="token-classification",
    auto_class="AutoModelForTokenClassification",
    metrics=("entity-f1", "word-accuracy"),
    label="each",
    processor=_processor,
    load_processor=_load_tokenizer,
    encode=_encode,
    collate=common.collate,
    problem=_problem,
    targets=_targets,
    reduce=_of_words,
    predict=_predict,
    native_arguments=common.native_arguments,
    axes=("batch", "sequence"),
)
