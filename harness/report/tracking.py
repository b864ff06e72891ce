"""Final tables in an experiment tracker: a new run for each comparison."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.errors import HarnessError
from harness.report.tables import is_missing, section
from harness.results.schema import Result
from harness.training.loops import RUNS
from harness.util.text import error_text
from harness.verdicts.comparability import comparisons
from harness.verdicts.table import first_and_last

FIGURES = ("speedup", "median_ms", "score", "drop")

Figures = dict[str, float]

TITLE = "comparison"

PROJECT = "huggingface"  # Trainer's default in W&B and Trackio


def log_tables(tracker: str, results: Iterable[Result], artifacts: Path) -> Iterator[str]:
    """Log each comparison's table and figures to a run of its own; yield the run's name."""
    for group in comparisons(results):
        first = group[0]
        name = f"{first.task}.{first.model}.{first.device}"
        # TensorBoard and Trackio would add to an earlier run of the same name.
        folder = artifacts / RUNS / f"{name}.{first.created.replace(':', '-')}"
        figures = {
            f"{figure}/{cells['backend']}": float(cells[figure])
            for cells, _ in first_and_last(group)
            for figure in FIGURES
            if not is_missing(cells[figure])
        }
        try:
            _log(tracker, name, folder, section(group), figures)
        except Exception as error:  # every tracker has its own
            raise HarnessError(f"{name} was not logged to {tracker}: {error_text(error)}") from error
        yield name


def _log(tracker: str, name: str, folder: Path, table: str, figures: Figures) -> None:
    match tracker:
        case "mlflow":
            _log_to_mlflow(name, table, figures)
        case "tensorboard":
            _log_to_tensorboard(folder, table, figures)
        case "trackio":
            _log_to_trackio(folder.name, table, figures)
        case "wandb":
            _log_to_wandb(name, table, figures)


def _log_to_mlflow(name: str, table: str, figures: Figures) -> None:
    import mlflow

    with mlflow.start_run(run_name=name, nested=True) as run:  # the caller may have a run open
        mlflow.log_metrics(figures, run_id=run.info.run_id)
        mlflow.log_text(table, f"{TITLE}.md", run_id=run.info.run_id)


def _log_to_tensorboard(folder: Path, table: str, figures: Figures) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_text(TITLE, table)
        for name, value in figures.items():
            writer.add_scalar(name, value)


def _log_to_trackio(name: str, table: str, figures: Figures) -> None:
    import trackio

    project, space = os.environ.get("TRACKIO_PROJECT", PROJECT), os.environ.get("TRACKIO_SPACE_ID") or None
    run = trackio.init(project=project, name=name, space_id=space, resume="allow", embed=False, auto_log_gpu=False)
    run.log({**figures, TITLE: trackio.Markdown(table)})
    run.finish()


def _log_to_wandb(name: str, table: str, figures: Figures) -> None:
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    with wandb.init(project=project, name=name, reinit="create_new") as run:  # the caller may have a run open
        run.log({**figures, TITLE: wandb.Table(columns=["table"], data=[[table]])})
