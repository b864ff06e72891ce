"""Feature extraction: texts become vectors. A row is a query and the document that answers it; both are embedded.

A row's prediction is the list of documents nearest to its query, among the documents of all rows. A vector is the mean
over a text's tokens, scaled to length 1, which is Sentence Transformers' default pooling; for another one write
`dataclasses.replace(feature_extraction, reduce=…)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.contracts.kind import COSINE, Arrays, EncodedRows, Example, Kind, column
from harness.contracts.sources import Row
from harness.errors import HarnessError, Unsupported
from harness.kinds import common

NEAREST = 10
"""Documents that a prediction lists, the nearest first."""


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 2:
        raise HarnessError(f"inputs={inputs}: feature extraction compares two columns, a query and its document")
    columns = (common.encode(tokenizer, rows, (name,), max_length) for name in inputs)
    return [[*query, *document] for query, document in zip(*columns, strict=True)]


def _mean_over_tokens(batch: Arrays, outputs: Arrays) -> Arrays:
    """`last_hidden_state` of shape (batch, length, size) → `embedding` of shape (batch, size), each of length 1."""
    mask = batch["attention_mask"][:, :, None].astype(np.float32)
    vectors = (common.output(outputs, "last_hidden_state") * mask).sum(axis=1) / mask.sum(axis=1)
    return {"embedding": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)}


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
    load_processor=common.load_masking_tokenizer,
    encode=_encode,
    collate=common.collate,
    targets=_targets,
    reduce=_mean_over_tokens,
    predict=_predict,
    truths=_documents,
    tolerance=COSINE,
    optional_weights=("pooler.",),
)
