"""Two training loops, Transformers' Trainer and plain PyTorch; both keep the epoch that the recipe says.

Of equally good epochs the first is kept, as Trainer does.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.training import tracking
from harness.training.job import Job, Kept

if TYPE_CHECKING:
    import torch


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

    folder = tracking.run_folder(job.artifacts, job.task.name, job.model.name, recipe.seed)
    runs = tracking.Runs(recipe.report_to, folder)

    class Bar(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            runs.note()  # callbacks of trackers come before those of ours

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
        try:
            trainer.train()
        finally:
            runs.close()
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
        **tracking.arguments(recipe.report_to, folder),
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
