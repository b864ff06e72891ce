"""Two training loops, Transformers' Trainer and plain PyTorch; both keep the weights that the recipe asks for."""

from __future__ import annotations

import copy
import importlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
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

RUNS = "runs"
"""Folder of TensorBoard's runs, next to checkpoints and artifacts."""


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


def trainer_loop(job: Job) -> list[float]:
    """Train with `transformers.Trainer`; return the score on validation rows after each epoch."""
    import transformers

    recipe, kept = job.model.recipe, Kept(job)

    class CheckedTrainer(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().compute_loss(model, inputs, *args, **kwargs)
            if model.training:
                job.check_loss(result[0] if isinstance(result, tuple) else result, self.state.global_step + 1)
            return result

    class Bar(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            bar.update()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            kept.after_epoch(round(state.epoch))
            if recipe.report_to and kept.scores:
                due = trainer.control.should_log
                trainer.log({f"eval_{job.task.metric}": kept.scores[-1]})
                trainer.control.should_log = due  # `log` clears it, but the loss is still to be logged

    with TemporaryDirectory(dir=job.out) as scratch, job.progress.bar("fine-tune", job.steps) as bar:
        # TrainingArguments sets this for bf16 and never resets it.
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(_run_folder(job))
        trainer = CheckedTrainer(
            model=job.module,
            args=transformers.TrainingArguments(**_training_arguments(job, scratch)),
            data_collator=job.collate,
            train_dataset=job.train,
            callbacks=[Bar()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        with closing_runs(recipe.report_to):
            trainer.train()
    return kept.restore()


def _training_arguments(job: Job, scratch: str) -> dict[str, Any]:
    """Return the recipe as arguments of TrainingArguments."""
    recipe = job.model.recipe
    arguments: dict[str, Any] = {
        "output_dir": scratch,
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": recipe.batch_size,
        "warmup_steps": min(recipe.warmup, 1 - 1e-9),  # a share; 1 would be a single step
        "weight_decay": recipe.weight_decay,
        "seed": recipe.seed,
        "bf16": recipe.precision == "bf16",
        "use_cpu": job.device == "cpu",
        "dataloader_drop_last": job.drops_last,
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "report_to": list(recipe.report_to),
    }
    if recipe.report_to:
        # Trackio's default would create a public Space on the Hub.
        arguments |= {"run_name": _run_folder(job).name, "trackio_space_id": None}
    return {**arguments, **recipe.trainer}


def _run_folder(job: Job) -> Path:
    """Return the folder of a TensorBoard run, whose name is the run's for every tracker."""
    return job.artifacts / RUNS / f"{job.task.name}.{job.model.name}.seed-{job.model.recipe.seed}"


@contextmanager
def closing_runs(report_to: tuple[str, ...]) -> Iterator[None]:
    """Close the runs that Trainer leaves open (W&B's; MLflow's unless it fails), but none that was open before."""
    trackers = [importlib.import_module(name) for name in report_to if name in ("mlflow", "wandb")]
    idle = [tracker for tracker in trackers if not _has_run(tracker)]
    try:
        yield
    finally:
        for tracker in filter(_has_run, idle):
            (tracker.end_run if tracker.__name__ == "mlflow" else tracker.finish)()


def _has_run(tracker: Any) -> bool:
    return (tracker.active_run() if tracker.__name__ == "mlflow" else tracker.run) is not None


def native_loop(job: Job) -> list[float]:
    """Train with AdamW and a linear schedule; return the score on validation rows after each epoch."""
    import torch
    from accelerate.utils import send_to_device
    from transformers import get_scheduler

    recipe, module = job.model.recipe, job.module.to(job.device)
    optimizer = _optimizer(job)
    schedule = get_scheduler("linear", optimizer, job.warmup_steps, job.steps)
    loader, kept, step = batches(job), Kept(job), 0
    with job.progress.bar("fine-tune", job.steps) as bar:
        for epoch in range(recipe.epochs):
            module.train()
            for batch in loader:
                step += 1
                with torch.autocast(job.device, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    loss = loss_of(module, send_to_device(batch, job.device))
                job.check_loss(loss, step)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
            kept.after_epoch(epoch + 1)
    return kept.restore()


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


def _optimizer(job: Job) -> torch.optim.Optimizer:
    """Return AdamW with Trainer's rule for weight decay."""
    import torch

    recipe, (weights, others) = job.model.recipe, trained_parameters(job.module)
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


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
