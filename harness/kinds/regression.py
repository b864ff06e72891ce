"""Text regression: one number a text, or a pair of texts, such as their similarity. Arrays as for classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.contracts.kind import Arrays, EncodedRows
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.classification import text_classification


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[float]:
    """Return the only one of `logits`, shape (1, 1) a row; HarnessError for a head with several outputs."""
    logits = [common.output(row, "logits") for row in outputs]
    if several := next((values.shape[-1] for values in logits if values.size != 1), None):
        raise HarnessError(f"the head answers {several} numbers a row, and a regression has one; train a head for it")
    return [float(values.item()) for values in logits]


text_regression = replace(
    text_classification,
    name="text-regression",
    export="text-classification",
    metrics=("pearson", "spearman", "mae", "rmse", "r2"),
    label="number",
    predict=_predict,
)
