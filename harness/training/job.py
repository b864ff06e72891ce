"""One fine-tuning: what a loop is given, how it is watched, and whose epoch's weights are kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.accuracy.score import score
from harness.contracts import Arrays
from harness.dataset.inputs import Inputs, split_rows
from harness.errors import HarnessError
from harness.kind import Example, without
from harness.progress import Progress
from harness.spec import Model, Task
from harness.training import checkpoint

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Job:
    """Everything a loop needs."""

    task: Task
    model: Model
    module: Any
    train: Any
    """Examples with their targets, by number."""
    validation: Inputs
    collate: Callable[[list[Example]], dict[str, torch.Tensor]]
    """Inputs and targets of a batch, by the names of the model's `forward`."""
    progress: Progress
    device: str
    artifacts: Path
    """Where everything that is built is kept; trackers that write files do so there."""
    out: Path
    """Where the checkpoint will be; scratch files lie there too, and go with it if this process is killed."""

    @property
    def steps(self) -> int:
        """Optimiser steps over all epochs."""
        return self.model.recipe.epochs * math.ceil(len(self.train) / self.model.recipe.batch_size)

    def check(self, loss: torch.Tensor, step: int) -> None:
        """HarnessError at the first loss that is not finite."""
        if not math.isfinite(loss.item()):
            raise HarnessError(
                f"{self.task.name}/{self.model.name}: training diverged: the loss is {loss.item()} at step {step} of "
                f"{self.steps}; lower the learning rate ({self.model.recipe.learning_rate:g})"
            )

    def validate(self) -> float:
        """The task's metric on the validation rows."""
        inputs, module, size = self.validation, self.module.eval(), self.model.recipe.batch_size
        answer = checkpoint.answering(module, self.device)
        outputs: list[Arrays] = []
        for at in range(0, len(inputs), size):
            rows = range(at, min(at + size, len(inputs)))
            batch = inputs.batch(rows)
            found = answer(without(batch, inputs.kind.aside))
            outputs += split_rows(
                inputs.kind.reduce(batch, found) if inputs.kind.reduce else found, inputs.entries(rows)
            )
        return score(self.task.metric, inputs.predictions(outputs), inputs.truths())


class Kept:
    """The weights that a recipe keeps, and what each epoch scored."""

    def __init__(self, job: Job) -> None:
        self.scores: list[float] = []
        self._job, self._weights = job, None

    def after_epoch(self, number: int) -> None:
        """Score the model as it is after epoch `number`, from 1; remember weights that are better than all before."""
        recipe = self._job.model.recipe
        if recipe.keep == "last" and number < recipe.epochs:
            return
        found = self._job.validate()
        if found > max(self.scores, default=-math.inf):
            self._weights = copy.deepcopy(self._job.module.state_dict())
        self.scores.append(found)

    def restore(self) -> list[float]:
        """Give the model the weights to keep; the scores."""
        if self._weights is not None:
            self._job.module.load_state_dict(self._weights)
        return self.scores
