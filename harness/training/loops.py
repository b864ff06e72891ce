"""Trackers in fine-tuning: Transformers' Trainer reports to them, and the harness closes the runs it leaves open.

ALSO: One fine-tuning: what a loop is given, how it is watched, and whose epoch's weights are kept.
ALSO: Two training loops, Transformers' Trainer and plain PyTorch; both keep the epoch that the recipe says.

Of equally good epochs the first is kept, as Trainer does.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness import checkpoint
from harness.contracts.kind import Arrays, Example, without
from harness.data.inputs import Inputs, split_rows
from harness.errors import HarnessError
from harness.evaluation.score import score
from harness.spec import Model, Task
from harness.util.console import Progress

if TYPE_CHECKING:
    import torch

RUNS = "runs"
"""Folder of TensorBoard's runs, beside checkpoints and artifacts."""


def arguments(report_to: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Return the TrainingArguments that make Trainer report; `folder` holds the TensorBoard run and names all runs."""
    if not report_to:
        return {"report_to": []}
    chosen = {"report_to": list(report_to), "logging_dir": str(folder), "run_name": folder.name}
    # Trainer's default would create a public Space on the Hub.
    return chosen | ({"trackio_space_id": None} if "trackio" in report_to else {})


@contextmanager
def closing(report_to: tuple[str, ...]) -> Iterator[None]:
    """Close the runs that Trainer leaves open, so that the next fine-tuning gets its own; keep those open before.

    Trainer closes W&B's run never, MLflow's unless training fails, and the others' itself.
    """
    trackers = [importlib.import_module(name) for name in report_to if name in ("mlflow", "wandb")]
    unused = [tracker for tracker in trackers if not _has_run(tracker)]
    try:
        yield
    finally:
        for tracker in unused:
            if _has_run(tracker):
                (tracker.end_run if tracker.__name__ == "mlflow" else tracker.finish)()


def _has_run(tracker: Any) -> bool:
    run = tracker.active_run() if tracker.__name__ == "mlflow" else tracker.run
    return run is not None


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


def trainer_loop(job: Job) -> list[float]:
    """Train with `transformers.Trainer`; the score on validation rows after each epoch."""
    import transformers

    recipe, kept = job.model.recipe, Kept(job)

    class CheckedTrainer(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().compute_loss(model, inputs, *args, **kwargs)
            if model.training:
                job.check(result[0] if isinstance(result, tuple) else result, self.state.global_step + 1)
            return result

    folder = job.artifacts / RUNS / f"{job.task.name}.{job.model.name}.seed-{recipe.seed}"

    class Bar(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            bar.update()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            known = len(kept.scores)
            kept.after_epoch(round(state.epoch))
            if recipe.report_to and len(kept.scores) > known:
                due = trainer.control.should_log
                trainer.log({f"eval_{job.task.metric}": kept.scores[-1]})
                trainer.control.should_log = due  # which `log` takes for done, though the loss is not told yet

    with TemporaryDirectory(dir=job.out) as scratch, job.progress.bar(f"fine-tune {job.model.name}", job.steps) as bar:
        # TrainingArguments sets this for bf16 and never takes it back.
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
        trainer = CheckedTrainer(
            model=job.module,
            args=transformers.TrainingArguments(**{**_settings(job, scratch, folder), **recipe.trainer}),
            data_collator=job.collate,
            train_dataset=job.train,
            callbacks=[Bar()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        with closing(recipe.report_to):
            trainer.train()
    return kept.restore()


def _settings(job: Job, scratch: str, folder: Path) -> dict[str, Any]:
    """A recipe as TrainingArguments, before what its own `trainer` says."""
    recipe = job.model.recipe
    return {
        "output_dir": scratch,
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": recipe.batch_size,
        "warmup_ratio": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "seed": recipe.seed,
        "bf16": recipe.precision == "bf16",
        "use_cpu": job.device == "cpu",
        "save_strategy": "no",
        "logging_strategy": "epoch",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        **arguments(recipe.report_to, folder),
    }


def native_loop(job: Job) -> list[float]:
    """Train with AdamW and a linear schedule; the score on validation rows after each epoch."""
    import torch
    from transformers import get_scheduler

    recipe, module = job.model.recipe, job.module.to(job.device)
    optimizer = _optimizer(job)
    schedule = get_scheduler("linear", optimizer, math.ceil(recipe.warmup * job.steps), job.steps)
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        job.train,
        batch_size=recipe.batch_size,
        shuffle=True,
        collate_fn=job.collate,
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    kept, step = Kept(job), 0
    with job.progress.bar(f"fine-tune {job.model.name}", job.steps) as bar:
        for epoch in range(recipe.epochs):
            module.train()
            for batch in loader:
                step += 1
                with torch.autocast(job.device, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    loss = _loss(module, {name: tensor.to(job.device) for name, tensor in batch.items()})
                job.check(loss, step)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
            kept.after_epoch(epoch + 1)
    return kept.restore()


def _optimizer(job: Job) -> torch.optim.Optimizer:
    """AdamW, in which biases and norms do not decay, by Trainer's own rule: a recipe means the same in both loops."""
    import torch
    from transformers import Trainer

    recipe, module = job.model.recipe, job.module
    decaying = set(Trainer.get_decay_parameter_names(None, module))
    groups = [
        {
            "params": [p for name, p in module.named_parameters() if name in decaying],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for name, p in module.named_parameters() if name not in decaying], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _loss(module: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Transformers' own; of a native module the cross-entropy of its logits."""
    from torch.nn.functional import cross_entropy
    from transformers import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        return module(**batch).loss  # type: ignore[no-any-return]
    labels = batch.pop("labels")
    logits = module(**batch).float()
    return cross_entropy(logits.flatten(0, -2), labels.flatten())
