"""What trackers are told: how training went, by Transformers' Trainer, and at the end what may ship."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.records.schema import Result
    from harness.training.trackers import Identity, Told

TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")
"""Names that Trainer knows, each that of the package that it needs."""
RUNS = "runs"
"""Folder beside checkpoints and artifacts: TensorBoard's runs, and which runs of others belong to a fine-tuning."""
FIGURES = ("speedup", "median_ms", "score", "loss")


def check_installed(name: str, asked: str) -> None:
    """HarnessError, saying what `asked` for it, if a tracker's package is not installed."""
    if importlib.util.find_spec(name) is None:
        raise HarnessError(f'{asked}: {name} is not installed; run: python -m pip install -e ".[{name}]"')


def run_folder(artifacts: Path, task: str, model: str, seed: int) -> Path:
    """TensorBoard's run of one fine-tuning."""
    return artifacts / RUNS / f"{task}.{model}.seed-{seed}"


def arguments(report_to: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """TrainingArguments that make Trainer report; `folder` is TensorBoard's run."""
    if not report_to:
        return {"report_to": []}
    known = {"report_to": list(report_to), "logging_dir": str(folder), "run_name": folder.name}
    # Else Trainer makes a Space of the Hub for it, which everybody may read.
    return known | ({"trackio_space_id": None} if "trackio" in report_to else {})


class Runs:
    """The runs of one fine-tuning: noted while they are open, so that they can be told more later."""

    def __init__(self, report_to: tuple[str, ...], folder: Path) -> None:
        from harness.training.trackers import TRACKERS as KNOWN

        self._trackers, self._folder = {name: KNOWN[name] for name in report_to}, folder
        self._users = {name for name, tracker in self._trackers.items() if tracker.opened() is not None}

    def note(self) -> None:
        """Write down which runs Trainer has opened, or found open."""
        for name, tracker in self._trackers.items():
            run = tracker.opened()
            if run is not None:
                _note(self._folder, name, run)

    def close(self) -> None:
        """Close what is still open, as Trainer leaves some of them, but for what was open before: the user's own.

        Else the next fine-tuning would be told to the same run.
        """
        for name, tracker in self._trackers.items():
            if name not in self._users and tracker.opened() is not None:
                tracker.close()


def log_tables(tracker: str, results: Iterable[Result], artifacts: Path) -> Iterator[str]:
    """Tell each comparison's table, and its cases' figures, to the run of its fine-tuning; which that was, in words.

    A model that was not fine-tuned with this tracker gets a run now, and keeps it.
    """
    from harness.records.compare import comparisons
    from harness.stage import told
    from harness.training.trackers import TRACKERS as KNOWN

    for group in comparisons(results):
        first = group[0]
        folder = run_folder(artifacts, first.task, first.model, first.recipe.get("seed", 0))
        known = _noted(folder).get(tracker)
        try:
            run = KNOWN[tracker].add(known, _told(group, folder))
        except Exception as error:  # each has errors of its own, and what was measured is kept already
            raise HarnessError(f"{tracker} did not take the table of {folder.name}: {told(error)}") from error
        if tracker != "tensorboard":  # whose runs are found by their folder
            _note(folder, tracker, run)
        yield f"{folder.name}: {', '.join(f'{name} {value}' for name, value in run.items() if value)}"


def _told(group: list[Result], folder: Path) -> Told:
    from harness.records.tidy import first_and_last
    from harness.report.cells import missing
    from harness.report.tables import section
    from harness.training.trackers import Told

    device = group[0].device
    figures = {
        f"{name}/{case['backend']}.{device}": float(case[name])
        for case, _ in first_and_last(group)
        for name in FIGURES
        if not missing(case[name])
    }
    return Told(run=folder.name, folder=str(folder), title=f"comparison/{device}", text=section(group), figures=figures)


def _noted(folder: Path) -> dict[str, Identity]:
    """Runs by tracker; of a file that is no such note none, so that new ones are made."""
    try:
        found = json.loads(_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note(folder: Path, tracker: str, run: Identity) -> None:
    from harness.whole import write_whole

    write_whole(_file(folder), (json.dumps(_noted(folder) | {tracker: run}, indent=1) + "\n").encode())


def _file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
