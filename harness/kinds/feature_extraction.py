"""Feature extraction: texts become vectors. A row is a query and the document that answers it; both are embedded.

A row's prediction is the list of documents nearest to its query, among the documents of all rows. A vector is what the
model's own Sentence Transformers folder makes of a text: its pooling, prompts, length and similarity count. Without
such a folder it is the mean over a text's tokens, scaled to length 1; for another one write
`dataclasses.replace(feature_extraction, reduce=…)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, column
from harness.contracts.sources import Row
from harness.contracts.tolerance import COSINE
from harness.errors import HarnessError, Unsupported
from harness.kinds import common, sentence_folder

NEAREST = 10
"""Documents that a prediction lists, the nearest first."""


SETTINGS = "shipbench_embedding"
"""Key of tokenizer_config.json under which the settings travel with a checkpoint."""


def _load_tokenizer(folder: Path) -> Any:
    tokenizer = common.load_masking_tokenizer(folder)
    if (settings := sentence_folder.read(folder)) is not None:
        # Sentence Transformers cuts there; tokenizers without a limit have an immense number.
        limit = min(settings["max_length"] or tokenizer.model_max_length, 2**31)
        tokenizer.init_kwargs[SETTINGS] = settings | {"max_length": limit}
    return tokenizer


def settings_of(tokenizer: Any) -> dict[str, Any]:
    """Return how the tokenizer's model makes vectors; `harness.kinds.sentence_folder.PLAIN` are the defaults."""
    return {**sentence_folder.PLAIN, **tokenizer.init_kwargs.get(SETTINGS, {})}


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 2:
        raise HarnessError(f"inputs={inputs}: feature extraction compares two columns; give a query and its document")
    settings = settings_of(tokenizer)
    length = min(max_length, settings["max_length"] or max_length)
    columns = []
    for name, prompt in zip(inputs, settings["prompts"], strict=True):
        texts = [_with_prompt(text, prompt, name) for text in common.texts(rows, name)]
        texts = [text.lower() for text in texts] if settings["lower"] else texts
        columns.append(common.encode(tokenizer, [{name: text} for text in texts], (name,), length))
    return [[*query, *document] for query, document in zip(*columns, strict=True)]


def _with_prompt(text: str, prompt: str, name: str) -> str:
    if prompt and text.startswith(prompt):
        raise HarnessError(
            f"column {name} holds {text[:40]!r}, which begins with the prompt {prompt!r} that the model's folder puts "
            f"before every text: remove it from the rows, or from {sentence_folder.SETTINGS}"
        )
    return prompt + text


def _collate(tokenizer: Any, examples: list[Example]) -> Arrays:
    settings = settings_of(tokenizer)
    pooling = sentence_folder.POOLINGS.index(settings["pooling"])
    choices = {"pooling": pooling, "normalize": int(settings["normalize"])}
    fixed = {name: np.full(len(examples), value, dtype=np.int64) for name, value in choices.items()}
    return {**common.collate(tokenizer, examples), **fixed}


def _pool(batch: Arrays, outputs: Arrays) -> Arrays:
    """`last_hidden_state` of shape (batch, length, size) → `embedding` of shape (batch, size)."""
    states, mask = common.output(outputs, "last_hidden_state"), batch["attention_mask"][:, :, None].astype(np.float32)
    rows, pooling = np.arange(len(states)), sentence_folder.POOLINGS[batch["pooling"][0]]
    if pooling == "cls":
        vectors = states[rows, batch["attention_mask"].argmax(axis=1)]
    elif pooling == "lasttoken":
        vectors = states[rows, mask.shape[1] - 1 - batch["attention_mask"][:, ::-1].argmax(axis=1)]
    elif pooling == "max":
        vectors = np.where(mask > 0, states, -np.inf).max(axis=1)
    else:
        weights = mask * np.arange(1, mask.shape[1] + 1, dtype=np.float32)[:, None] if "weighted" in pooling else mask
        total = weights.sum(axis=1)
        vectors = (states * weights).sum(axis=1) / (np.sqrt(total) if "sqrt" in pooling else total)
    if batch["normalize"][0]:
        vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return {"embedding": vectors}


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    raise Unsupported("feature extraction uses models as they are; leave out the recipe")


def _documents(encoded: EncodedRows) -> list[int]:
    """Return the number of each row's document; equal documents share a number."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(text, len(numbers)) for text in column(encoded.rows, encoded.inputs[1])]


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    vectors = np.stack([common.output(row, "embedding") for row in outputs])
    _, first_rows = np.unique(_documents(encoded), return_index=True)
    documents = vectors[first_rows, 1].T
    # One query after the other: all at once would take memory quadratic in the rows.
    return [np.argsort(-(query @ documents), kind="stable")[:NEAREST].tolist() for query in vectors[:, 0]]


feature_extraction = Kind(
    name="feature-extraction",
    auto_class="AutoModel",
    metrics=("accuracy@1", "mrr"),
    label="none",
    most_inputs=2,
    load_processor=_load_tokenizer,
    encode=_encode,
    collate=_collate,
    targets=_targets,
    reduce_inputs=("pooling", "normalize"),
    reduce=_pool,
    predict=_predict,
    truths=_documents,
    tolerance=COSINE,
    optional_weights=("pooler.",),
)
