"""What lies beside a result: its answers row by row, and the whole story of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.records import results
from harness.whole import save_table, write_whole

if TYPE_CHECKING:
    import pandas as pd

    from harness.records.schema import Result


def keep(folder: Path, result: Result, answers: pd.DataFrame | None, trace: str) -> None:
    """Write a result under a results folder, and what lies beside it; of an earlier run nothing stays there."""
    path = results.path_of(folder, result)
    # The result comes last: where it is, a session that resumes this one may rely on its answers.
    _save_answers(answers_of(path), answers)
    _save_log(log_of(path), trace if result.status == "failed" else "")
    results.save(folder, result)


def answers_of(path: Path) -> Path:
    """Where the answers lie, beside the result at `path`."""
    return path.with_suffix(".parquet")


def log_of(path: Path) -> Path:
    """Where the whole story of a failure lies, beside the result at `path`."""
    return path.with_suffix(".log")


def story(folder: Path, result: Result) -> Path | None:
    """The file with the whole story of a result's failure, if it failed."""
    path = log_of(results.path_of(folder, result))
    return path if result.status == "failed" and path.exists() else None


def _save_answers(path: Path, answers: pd.DataFrame | None) -> None:
    if answers is None:
        path.unlink(missing_ok=True)
    else:
        save_table(path, answers)


def _save_log(path: Path, trace: str) -> None:
    if trace:
        write_whole(path, trace.encode(errors="replace"))
    else:
        path.unlink(missing_ok=True)
