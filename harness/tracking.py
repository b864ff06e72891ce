"""What trackers are told: how training went, by Transformers' Trainer, and at the end what may ship."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.schema import Result

TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")
"""Names that Trainer knows, each that of the package that it needs."""
TABLES = ("tensorboard",)
"""Those of them that the final table can go to: its runs are folders, so the same run is open again by its name."""
RUNS = "runs"
"""Folder of TensorBoard's runs, beside checkpoints and artifacts."""


def check_installed(name: str, asked: str) -> None:
    """HarnessError, saying what `asked` for it, if a tracker's package is not installed."""
    if importlib.util.find_spec(name) is None:
        raise HarnessError(f"{asked}: {name} is not installed; run: python -m pip install {name}")


def run_folder(artifacts: Path, task: str, model: str, seed: int) -> Path:
    """TensorBoard's run of one fine-tuning."""
    return artifacts / RUNS / f"{task}.{model}.seed-{seed}"


def arguments(report_to: tuple[str, ...], artifacts: Path, task: str, model: str, seed: int) -> dict[str, Any]:
    """TrainingArguments that make Trainer report."""
    if not report_to:
        return {"report_to": []}
    folder = run_folder(artifacts, task, model, seed)
    return {"report_to": list(report_to), "logging_dir": str(folder), "run_name": folder.name}


def log_tables(results: Iterable[Result], artifacts: Path) -> Iterator[Path]:
    """Write each comparison's table, and its cases' figures, to the TensorBoard run of its fine-tuning; the folders."""
    from torch.utils.tensorboard import SummaryWriter

    from harness.compare import comparisons
    from harness.report.cells import missing
    from harness.report.tables import section
    from harness.tidy import first_and_last

    for group in comparisons(results):
        first = group[0]
        folder = run_folder(artifacts, first.task, first.model, first.recipe.get("seed", 0))
        with SummaryWriter(str(folder)) as writer:
            writer.add_text(f"comparison/{first.device}", section(group))
            for case, _ in first_and_last(group):
                for name in ("speedup", "median_ms", "score", "loss"):
                    if not missing(case[name]):
                        writer.add_scalar(f"{name}/{case['backend']}.{first.device}", case[name])
        yield folder
