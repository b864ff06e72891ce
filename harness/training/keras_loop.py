"""The loop of Keras 3 on its PyTorch backend: compile, fit and callbacks, around the module that all loops train."""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from harness.errors import HarnessError
from harness.training.job import Job, Kept, batches, loss_of, trained_parameters
from harness.util.keras_module import on_torch
from harness.util.machine import missing_module

if TYPE_CHECKING:
    import torch

OLDEST = "3.15"
EPSILON = 1e-8
"""PyTorch's and Trainer's."""


def check_keras(owner: str) -> None:
    """Raise HarnessError unless Keras is installed, new enough, and left to run on PyTorch."""
    if advice := missing_module("keras", '"shipbench[keras]"'):
        raise HarnessError(f"{owner}: {advice}")
    if Version(release := version("keras")) < Version(OLDEST):
        raise HarnessError(
            f'{owner}: keras {release} is older than {OLDEST}; run: python -m pip install -U "shipbench[keras]"'
        )
    place, backend = _chosen_backend()
    if backend != "torch":
        raise HarnessError(
            f"{owner}: {place} chooses Keras's backend {backend!r}, but the models here are PyTorch's; set "
            "KERAS_BACKEND=torch"
        )


def _chosen_backend() -> tuple[str, str]:
    """Return who chooses Keras's backend, and which; nobody's choice is PyTorch."""
    if "keras" in sys.modules:
        return "the program that imported Keras", sys.modules["keras"].config.backend()
    if backend := os.environ.get("KERAS_BACKEND"):
        return "KERAS_BACKEND", backend
    file = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        return str(file), str(json.loads(file.read_text())["backend"])
    except (OSError, ValueError, LookupError, TypeError):
        return "nobody", "torch"


def import_keras() -> Any:
    """Return Keras on PyTorch."""
    with on_torch():
        return import_module("keras")


def keras_loop(job: Job) -> list[float]:
    """Train with Keras's `fit`, AdamW and a linear schedule; return the score on validation rows after each epoch."""
    keras = import_keras()
    kept, terminal, epochs = Kept(job), job.progress.terminal, job.model.recipe.epochs
    with keras.device(job.device), job.progress.bar("fine-tune", job.steps) as bar:

        class Epochs(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                _set_step(self.model.optimizer, job)

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if terminal is None:
                    bar.update()

            def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
                kept.after_epoch(epoch + 1)
                if kept.scores:
                    logs[f"val_{job.task.metric}"] = kept.scores[-1]  # which the bar shows

        learner = _learner(keras, job)
        learner.compile(optimizer=_optimizer(keras, job, learner.trainable_variables))
        # A terminal gets Keras's own bar, whatever pytest captures; a log gets a line now and then.
        with redirect_stdout(terminal or sys.stdout):
            learner.fit(batches(job), epochs=epochs, verbose=int(terminal is not None), callbacks=[Epochs()])
    if (steps := int(learner.optimizer.iterations)) != job.steps:
        raise HarnessError(
            f"{job.task.name}/{job.model.name}: Keras stopped after {steps} of {job.steps} steps; unset "
            "KERAS_MAX_EPOCHS and KERAS_MAX_STEPS_PER_EPOCH"
        )
    return kept.restore()


def _learner(keras: Any, job: Job) -> Any:
    """Return a Keras model around the module, whose output for a batch is the loss."""
    import torch

    class Learner(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.wrapper = keras.layers.TorchModuleWrapper(job.module)
            self.built = True

        def call(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            with torch.autocast(job.device, torch.bfloat16, enabled=job.model.recipe.precision == "bf16"):
                return loss_of(job.module, dict(batch))

        def compute_loss(self, x: Any, y: Any, y_pred: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            job.check_loss(y_pred, int(self.optimizer.iterations) + 1)
            return y_pred

    return Learner()


def _optimizer(keras: Any, job: Job, variables: list[Any]) -> Any:
    """Return AdamW with Trainer's rule for weight decay, and gradients clipped as in the other loops."""
    recipe, (_, spared) = job.model.recipe, trained_parameters(job.module)
    # With weight decay, Keras's Adam is AdamW; without, it does not touch every weight for nothing.
    optimizer = keras.optimizers.Adam(
        recipe.learning_rate, weight_decay=recipe.weight_decay or None, global_clipnorm=1.0
    )
    numbers = {id(parameter) for parameter in spared}
    optimizer.exclude_from_weight_decay([variable for variable in variables if id(variable.value) in numbers])
    return optimizer


def _set_step(optimizer: Any, job: Job) -> None:
    """Give the optimizer the learning rate of its next step; and the epsilon, which it adds before its correction of
    the variance, where PyTorch adds it afterwards.
    """
    step, warmup = int(optimizer.iterations), job.warmup_steps
    share = step / warmup if step < warmup else (job.steps - step) / (job.steps - warmup)
    optimizer.learning_rate = job.model.recipe.learning_rate * share
    optimizer.epsilon = EPSILON * math.sqrt(1 - optimizer.beta_2 ** (step + 1))
