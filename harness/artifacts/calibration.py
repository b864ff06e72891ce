"""Held-out rows for builds that calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.evaluation.score import score

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays
    from harness.data.inputs import Inputs


@dataclass(frozen=True)
class HeldOutRows:
    """Encoded calibration and validation rows: the `Calibration` that a build receives.

    Splits are disjoint by digest, so none of them is a test row or a row that the model was trained on.
    """

    calibration: Inputs
    """Rows that show which values a model's layers take."""
    validation: Inputs
    """Rows that show what a choice costs."""
    metric: str
    """The task's."""
    max_drop: float | None
    """The gate's largest drop; None where the suite declares no gate."""
    sha256: str
    """Digest of the rows' contents."""

    def score(self, outputs: Sequence[Arrays]) -> float:
        """Score outputs, one for each validation row; NaN where the metric is undefined on these rows."""
        return score(self.metric, self.validation.predictions(outputs), self.validation.truths())
