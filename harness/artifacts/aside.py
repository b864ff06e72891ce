"""What a build may look at besides its source: rows set aside, and what of their score may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.contracts import Arrays
from harness.kind import without

if TYPE_CHECKING:
    from harness.dataset.inputs import Inputs


@dataclass(frozen=True)
class Aside:
    """None of the rows is a test row, nor one that the model was trained on: splits are disjoint by digest."""

    calibration: Inputs
    """To see which values a model's layers take."""
    validation: Inputs
    """To see what a choice costs."""
    metric: str
    """The task's."""
    max_loss: float | None
    """What the gate allows to be lost; None where the suite told no gate beforehand."""
    sha256: str
    """Changes with what the rows hold."""

    def score(self, outputs: Sequence[Arrays]) -> float:
        """Of outputs for each validation row; NaN where the metric is undefined on these rows."""
        from harness.accuracy.score import (
            score,  # which workers, that import their backend's module too, can do without
        )

        return score(self.metric, self.validation.predictions(outputs), self.validation.truths())


def alone(rows: Inputs) -> list[Arrays]:
    """Each row as a batch of its own, with what a model is given of it."""
    return [without(rows.batch([row]), rows.kind.aside) for row in range(len(rows))]
