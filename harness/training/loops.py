"""Two training loops, Transformers' Trainer and plain PyTorch; both keep the weights that the recipe asks for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.training.job import Job, Kept, batches, loss_of, trained_parameters

if TYPE_CHECKING:
    import torch

RUNS = "runs"
"""Folder of TensorBoard's runs, next to checkpoints and artifacts."""


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


def _optimizer(job: Job) -> torch.optim.Optimizer:
    """Return AdamW with Trainer's rule for weight decay."""
    import torch

    recipe, (weights, others) = job.model.recipe, trained_parameters(job.module)
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
