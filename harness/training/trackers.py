"""Trackers: which run is open, how it is closed, and how it is told more once it is closed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Identity = dict[str, str]
"""What a run is opened by again."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run is told of a comparison."""

    run: str
    """What the run is called, if there is none to go on with."""
    folder: str
    """TensorBoard's name of the same."""
    title: str
    text: str
    """The table, in Markdown."""
    figures: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """Functions that import the tracker inside themselves."""

    opened: Callable[[], Identity | None]
    """The run that is open in this process."""
    close: Callable[[], None]
    add: Callable[[Identity | None, Told], Identity]
    """Tells the run, or a new one where there is none; returns which that was."""


def _in_tensorboard(known: Identity | None, told: Told) -> Identity:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(told.folder) as writer:
        writer.add_text(told.title, told.text)
        for name, value in told.figures.items():
            writer.add_scalar(name, value)
    return {"folder": told.folder}


def _mlflow_run() -> Identity | None:
    import mlflow

    run = mlflow.active_run()
    return {"run": run.info.run_id} if run else None  # without its server's address, which may hold a password


def _close_mlflow() -> None:
    import mlflow

    mlflow.end_run()


def _in_mlflow(known: Identity | None, told: Told) -> Identity:
    import mlflow

    if known is None:
        if os.environ.get("MLFLOW_EXPERIMENT_NAME"):  # as Trainer reads it
            mlflow.set_experiment(os.environ["MLFLOW_EXPERIMENT_NAME"])
        with mlflow.start_run(run_name=told.run) as run:
            known = {"run": run.info.run_id}
    client = mlflow.MlflowClient()
    for name, value in told.figures.items():
        client.log_metric(known["run"], name, value)
    client.log_text(known["run"], told.text, f"{told.title}.md")
    return known


def _wandb_run() -> Identity | None:
    import wandb

    run = wandb.run
    return {"id": run.id, "project": run.project, "entity": run.entity} if run else None


def _close_wandb() -> None:
    import wandb

    wandb.finish()


def _in_wandb(known: Identity | None, told: Told) -> Identity:
    import wandb

    where: dict[str, Any] = {"project": os.environ.get("WANDB_PROJECT", "huggingface")}  # Trainer's own default
    if known is not None:
        # Offline, there is no entity; and no server to resume from: what has the same id is one run once it is synced.
        where = {"id": known["id"], "project": known["project"], "entity": known["entity"] or None, "resume": "allow"}
    with wandb.init(name=told.run, **where) as run:
        run.log({**told.figures, told.title: wandb.Table(columns=["table"], data=[[told.text]])})
        return {"id": run.id, "project": run.project, "entity": run.entity}


def _trackio_run() -> Identity | None:
    from trackio import context_vars

    run = context_vars.current_run.get()
    return (
        {"project": run.project, "run": run.name, "space": context_vars.current_space_id.get() or ""} if run else None
    )


def _close_trackio() -> None:
    import trackio

    trackio.finish()


def _in_trackio(known: Identity | None, told: Told) -> Identity:
    import trackio

    if known is None:
        project = os.environ.get("TRACKIO_PROJECT", "huggingface")  # Trainer's own default
        known = {"project": project, "run": told.run, "space": os.environ.get("TRACKIO_SPACE_ID", "")}
    run = trackio.init(
        project=known["project"],
        name=known["run"],
        space_id=known["space"] or None,
        resume="allow",
        embed=False,
        auto_log_gpu=False,
    )
    trackio.log({**told.figures, told.title: trackio.Markdown(told.text)})
    run.finish()
    return known


TRACKERS = {
    "mlflow": Tracker(opened=_mlflow_run, close=_close_mlflow, add=_in_mlflow),
    "tensorboard": Tracker(opened=lambda: None, close=lambda: None, add=_in_tensorboard),
    "trackio": Tracker(opened=_trackio_run, close=_close_trackio, add=_in_trackio),
    "wandb": Tracker(opened=_wandb_run, close=_close_wandb, add=_in_wandb),
}
