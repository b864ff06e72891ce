"""Text classification: one label a text, or a pair of texts. Batches hold `input_ids`, … of shape (batch, length)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, row_labels
from harness.kinds import common


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    return [[{"labels": label}] for label in row_labels(encoded)]


def _keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
    """Return `logits` without the further outputs of some models, an encoder's states for instance."""
    return {"logits": outputs["logits"]} if "logits" in outputs else outputs


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[int]:
    """Return the index of the largest of `logits`, shape (1, labels) a row; a tie goes to the first."""
    logits = np.concatenate([common.output(row, "logits") for row in outputs])
    return logits.argmax(axis=-1).tolist()  # type: ignore[no-any-return]


text_classification = Kind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    metrics=("accuracy", "f1", "f1-macro", "off-by-one-accuracy"),
    most_inputs=2,
    load_processor=common.load_tokenizer,
    new_processor=common.new_tokenizer,
    encode=common.encode,
    collate=common.collate,
    targets=_targets,
    reduce=_keep_logits,
    predict=_predict,
    native_arguments=common.native_arguments,
)
