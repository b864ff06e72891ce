"""One fine-tuning, whichever loop runs it: batches, loss, score on validation rows, and the weights to keep."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import checkpoint
from harness.contracts.kind import omit
from harness.data.inputs import split_rows
from harness.errors import HarnessError, brief_error
from harness.evaluation.score import score

if TYPE_CHECKING:
    import torch

    from harness.contracts.kind import Arrays, Example
    from harness.data.inputs import Inputs
    from harness.spec import Model, Task
    from harness.util.console import Progress


@dataclass(frozen=True)
class Job:
    """Everything that a loop needs for one fine-tuning."""

    task: Task
    model: Model
    module: Any
    train: Any
    """Examples with their targets, by number."""
    validation: Inputs
    collate: Callable[[list[Example]], dict[str, Any]]
    """Returns a batch by the argument names of the module's `forward`."""
    progress: Progress
    device: str
    artifacts: Path
    """Root of the store; trackers that write files write below it."""
    out: Path
    """Folder of the checkpoint, and of scratch files, which go with it if this process is killed."""

    @property
    def steps(self) -> int:
        """Optimiser steps over all epochs."""
        batches = len(self.train) / self.model.recipe.batch_size
        return self.model.recipe.epochs * (math.floor(batches) if self.drops_last else math.ceil(batches))

    @property
    def warmup_steps(self) -> int:
        """Steps over which the learning rate rises."""
        return math.ceil(self.model.recipe.warmup * self.steps)

    @property
    def drops_last(self) -> bool:
        """True if an epoch's last batch would be a single row, of which a batch norm makes nothing."""
        size = self.model.recipe.batch_size
        return len(self.train) > size > 1 == len(self.train) % size

    def check_single_rows(self) -> None:
        """Raise HarnessError if every batch is a single row and the module's batch norms cannot be trained on one."""
        import torch

        norms = [part for part in self.module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        if not norms or min(self.model.recipe.batch_size, len(self.train)) > 1:
            return
        try:
            with torch.random.fork_rng(devices=[]):
                loss_of(copy.deepcopy(self.module).train(), self.collate([self.train[0]]))
        except ValueError as error:
            raise HarnessError(
                f"{self.task.name}/{self.model.name}: {type(norms[0]).__name__} cannot be trained on one row at a time "
                f"({brief_error(error)}); set Recipe(batch_size=2) or more, with at least as many training rows"
            ) from error

    def check_loss(self, loss: torch.Tensor, step: int) -> None:
        """Raise HarnessError at the first loss that is not finite."""
        if not math.isfinite(loss.item()):
            raise HarnessError(
                f"{self.task.name}/{self.model.name}: training diverged: the loss is {loss.item()} at step {step} of "
                f"{self.steps}; lower the learning rate ({self.model.recipe.learning_rate:g})"
            )

    def validate(self) -> float:
        """Return the task's metric on the validation rows."""
        inputs, size = self.validation, self.model.recipe.batch_size
        run = checkpoint.make_run(self.module.eval(), self.device)
        outputs: list[Arrays] = []
        for start in range(0, len(inputs), size):
            rows = range(len(inputs))[start : start + size]
            batch = inputs.batch(rows)
            answer = run(omit(batch, inputs.kind.reduce_inputs))
            if inputs.kind.reduce:
                answer = inputs.kind.reduce(batch, answer)
            outputs += split_rows(answer, inputs.entries(rows))
        return score(inputs.metrics[self.task.metric], inputs.predictions(outputs), inputs.truths())


class Kept:
    """Validation scores, where they choose an epoch, and the weights to keep: of the first best, or of the last."""

    def __init__(self, job: Job) -> None:
        self.scores: list[float] = []
        self._job, self._weights = job, None

    def after_epoch(self, number: int) -> None:
        """Score the model after epoch `number`, counted from 1, and remember weights better than all before.

        Where the last epoch is kept anyway, it alone is scored, and only for a tracker.
        """
        recipe = self._job.model.recipe
        if (recipe.keep == "last" or recipe.epochs == 1) and (number < recipe.epochs or not recipe.report_to):
            return
        metric = self._job.validation.metrics[self._job.task.metric]
        if metric.is_best(scored := self._job.validate(), self.scores):
            self._weights = copy.deepcopy(self._job.module.state_dict())
        self.scores.append(scored)

    def restore(self) -> list[float]:
        """Give the model the kept weights and return the scores."""
        if self._weights is not None:
            self._job.module.load_state_dict(self._weights)
        return self.scores


def batches(job: Job) -> Iterable[dict[str, Any]]:
    """Return a loader of the training rows' batches, in an order that the seed draws anew for each epoch."""
    import torch
    from torch.utils.data import DataLoader

    settings: dict[str, Any] = {
        "shuffle": True,
        "collate_fn": job.collate,
        "generator": torch.Generator().manual_seed(job.model.recipe.seed),
        "drop_last": job.drops_last,
    }
    return DataLoader[Any](job.train, job.model.recipe.batch_size, **settings)


def trained_parameters(module: Any) -> tuple[list[Any], list[Any]]:
    """Return the parameters to train: those that decay by Trainer's rule, then those that do not, biases and norms."""
    from transformers import Trainer

    decaying = set(Trainer.get_decay_parameter_names(None, module))
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    weights = [parameter for name, parameter in trained if name in decaying]
    return weights, [parameter for name, parameter in trained if name not in decaying]


def loss_of(module: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Return a Transformers model's own loss, or that of a native module's logits.

    It is the cross-entropy of labels; of flags, floats of shape (batch, labels), that of each; else the squared error.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
    from transformers import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        return module(**batch).loss  # type: ignore[no-any-return]
    labels = batch.pop("labels")
    logits = module(**batch).float()
    if labels.is_floating_point():
        return binary_cross_entropy_with_logits(logits, labels) if labels.ndim > 1 else mse_loss(logits[:, 0], labels)
    return cross_entropy(logits.flatten(0, -2), labels.flatten())
