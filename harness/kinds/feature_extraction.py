"""Feature extraction: texts become vectors. A row is a query and the document that answers it; both are embedded.

A row's prediction are the documents nearest to its query, of all documents that the rows have. Vectors are the mean
over a text's tokens, of length 1, as Sentence Transformers' default pooling has it; for another one,
`dataclasses.replace(feature_extraction, reduce=…)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import COSINE, Arrays, EncodedRows, Example, Kind, column
from harness.contracts.sources import Row, Source
from harness.errors import HarnessError, Unsupported
from harness.kinds import common
from harness.kinds.common import output

NEAREST = 10
"""Documents that a prediction names, the nearest first."""


def _load_tokenizer(folder: Path) -> Any:
    return common.load_aligned(folder, fast=False)


def _processor(source: Source, pretrained: Path | None, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    return _load_tokenizer(common.folder_of(source, pretrained))


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    if len(inputs) != 2:
        raise HarnessError(f"inputs={inputs}: feature extraction compares two columns, a query and its document")
    columns = (common.encode(tokenizer, rows, (name,), max_length) for name in inputs)
    return [[*query, *document] for query, document in zip(*columns, strict=True)]


def mean_over_tokens(batch: Arrays, outputs: Arrays) -> Arrays:
    """`last_hidden_state` of shape (batch, length, size) → `embedding` of shape (batch, size), each of length 1."""
    mask = batch["attention_mask"][:, :, None].astype(np.float32)
    vectors = (output(outputs, "last_hidden_state") * mask).sum(axis=1) / mask.sum(axis=1)
    return {"embedding": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)}


def _targets(asked: EncodedRows) -> list[list[Example]]:
    raise Unsupported("feature extraction uses models as they are; leave out the recipe")


def _documents(asked: EncodedRows) -> tuple[list[int], list[int]]:
    """For each row the number of its document, and for each document the first row that has it."""
    numbers: dict[str, int] = {}
    texts = column(asked.rows, asked.inputs[1])
    own = [numbers.setdefault(text, len(numbers)) for text in texts]
    return own, [own.index(number) for number in range(len(numbers))]


def _predict(asked: EncodedRows, outputs: Sequence[Arrays]) -> list[Any]:
    vectors = np.stack([output(row, "embedding") for row in outputs])
    _, firsts = _documents(asked)
    documents = vectors[firsts, 1].T
    # One after the other, since all at once would take memory by the square of the rows.
    return [np.argsort(-(query @ documents), kind="stable")[:NEAREST].tolist() for query in vectors[:, 0]]


def _truths(asked: EncodedRows) -> list[Any]:
    return _documents(asked)[0]


feature_extraction = Kind(
    name="feature-extraction",
    auto_class="AutoModel",
    metrics=("accuracy@1", "mrr"),
    label="none",
    processor=_processor,
    load_processor=_load_tokenizer,
    encode=_encode,
    collate=common.collate,
    targets=_targets,
    reduce=mean_over_tokens,
    predict=_predict,
    truths=_truths,
    likeness=COSINE,
    axes=("batch", "sequence"),
    spare=("pooler.",),
)
