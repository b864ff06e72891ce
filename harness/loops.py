"""Two training loops, Transformers' Trainer and plain PyTorch; both keep the epoch best on validation rows.

Of equal epochs the first is kept, as Trainer does.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.progress import Progress
from harness.score import score
from harness.spec import Model, Task

if TYPE_CHECKING:
    import torch

Encoded = list[dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """Everything a loop needs."""

    task: Task
    model: Model
    module: Any
    train: Encoded
    validation: Encoded
    collate: Callable[[Encoded], dict[str, torch.Tensor]]
    progress: Progress
    device: str
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

    def score(self, logits: Any, labels: Any) -> float:
        """The task's metric of `logits`, shape (rows, labels)."""
        return score(self.task.metric, logits.argmax(-1).tolist(), labels.tolist())


def trainer_loop(job: Job) -> list[float]:
    """Train with `transformers.Trainer`; the score on validation rows after each epoch."""
    import transformers

    recipe = job.model.recipe

    class CheckedTrainer(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().compute_loss(model, inputs, *args, **kwargs)
            if model.training:
                job.check(result[0] if isinstance(result, tuple) else result, self.state.global_step + 1)
            return result

    class Bar(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            bar.update()

    with TemporaryDirectory(dir=job.out) as scratch, job.progress.bar(f"fine-tune {job.model.name}", job.steps) as bar:
        settings: dict[str, Any] = {
            "output_dir": scratch,
            "num_train_epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "per_device_train_batch_size": recipe.batch_size,
            "warmup_ratio": recipe.warmup,
            "weight_decay": recipe.weight_decay,
            "seed": recipe.seed,
            "bf16": recipe.precision == "bf16",
            "use_cpu": job.device == "cpu",
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "score",
            "logging_strategy": "epoch",
            "disable_tqdm": True,
            "remove_unused_columns": False,
            "report_to": [],
        }
        # TrainingArguments sets this for bf16 and never takes it back.
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
        trainer = CheckedTrainer(
            model=job.module,
            args=transformers.TrainingArguments(**{**settings, **recipe.trainer}),
            data_collator=job.collate,
            train_dataset=job.train,
            eval_dataset=job.validation,
            compute_metrics=lambda seen: {"score": job.score(seen.predictions, seen.label_ids)},
            callbacks=[Bar()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return [entry["eval_score"] for entry in trainer.state.log_history if "eval_score" in entry]


def native_loop(job: Job) -> list[float]:
    """Train with AdamW and a linear schedule; the score on validation rows after each epoch."""
    import torch
    from transformers import Trainer, get_scheduler

    recipe, module = job.model.recipe, job.module.to(job.device)
    # Biases and norms do not decay, by Trainer's own rule, so that a recipe means the same in both loops.
    decaying = set(Trainer.get_decay_parameter_names(None, module))
    groups = [
        {
            "params": [p for name, p in module.named_parameters() if name in decaying],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for name, p in module.named_parameters() if name not in decaying], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    schedule = get_scheduler("linear", optimizer, math.ceil(recipe.warmup * job.steps), job.steps)
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        job.train,  # type: ignore[arg-type]  # a list is a map-style dataset
        batch_size=recipe.batch_size,
        shuffle=True,
        collate_fn=job.collate,
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    scores: list[float] = []
    best: dict[str, Any] = {}
    step = 0
    with job.progress.bar(f"fine-tune {job.model.name}", job.steps) as bar:
        for _ in range(recipe.epochs):
            module.train()
            for batch in loader:
                step += 1
                with torch.autocast(job.device, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    loss = torch.nn.functional.cross_entropy(*_answer(module, batch, job.device))
                job.check(loss, step)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
            scores.append(_validate(job))
            if scores[-1] > max(scores[:-1], default=-math.inf):
                best = copy.deepcopy(module.state_dict())
    module.load_state_dict(best)
    return scores


def _answer(module: Any, batch: dict[str, torch.Tensor], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    output = module(**inputs)
    return getattr(output, "logits", output).float(), labels


def _validate(job: Job) -> float:
    import torch

    module, size = job.module.eval(), job.model.recipe.batch_size
    batches = (job.collate(job.validation[at : at + size]) for at in range(0, len(job.validation), size))
    with torch.inference_mode():
        answers = [_answer(module, batch, job.device) for batch in batches]
    logits, labels = (torch.cat(parts).cpu() for parts in zip(*answers, strict=True))
    return job.score(logits, labels)
