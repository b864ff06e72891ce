"""Text classification: one label a text, or a pair of texts; or any number of labels, each on its own.

Batches hold `input_ids`, … of shape (batch, length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example, Kind, row_labels
from harness.kinds import common


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    return [[{"labels": label}] for label in row_labels(encoded)]


def keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
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
    reduce=keep_logits,
    predict=_predict,
    native_arguments=common.native_arguments,
)


def _flag_targets(encoded: EncodedRows) -> list[list[Example]]:
    """Return 1.0 for each label that a row has and 0.0 for the others, as the loss of such a head takes them."""
    return [[{"labels": [float(flag) for flag in flags]}] for flags in row_labels(encoded)]


def _predict_all(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[list[int]]:
    """Return the indices of the labels whose logit is above 0, which is a probability above a half."""
    return [np.flatnonzero(common.output(row, "logits")[0] > 0).tolist() for row in outputs]


def _flagged(encoded: EncodedRows) -> list[list[int]]:
    return [np.flatnonzero(flags).tolist() for flags in row_labels(encoded)]


multi_label_classification = replace(
    text_classification,
    name="multi-label-classification",
    export="text-classification",
    metrics=("f1-micro", "f1-macro", "subset-accuracy"),
    label="many",
    targets=_flag_targets,
    predict=_predict_all,
    truths=_flagged,
)
