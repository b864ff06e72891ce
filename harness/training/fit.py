"""Checks that a model, its processor and its rows fit each other, before anything expensive starts.

Each check yields problems, sentences that say what to do. What changes no answer but must be known is a note. A later
stage needs what an earlier one has found in order: files, configuration, weights and processor, rows.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import sources
from harness.errors import HarnessError, brief_error
from harness.training import folder_checks, weight_checks
from harness.training.pretrained import Fit

if TYPE_CHECKING:
    from harness.spec import Model, Task

STAGES = (folder_checks.FILES, folder_checks.CONFIGURATION, weight_checks.PARTS, weight_checks.ROWS, weight_checks.RUNS)
"""Checks in their order: a stage needs what an earlier one has found sound."""


@cache
def check(task: Task, model: Model, folder: Path) -> tuple[str, ...]:
    """Return notes on a pretrained model for a suite in `folder`; HarnessError with every problem of a stage."""
    pretrained = sources.pretrained(model.source, folder)
    if pretrained is None:
        return ()
    fit = Fit(task, model, folder, pretrained)
    for stage in STAGES:
        problems: dict[str, None] = {}
        for one in stage:
            try:
                problems |= dict.fromkeys(one(fit))
            except HarnessError as error:
                problems[str(error)] = None
            except Exception as error:  # Transformers raises errors of many kinds
                problems[f"{pretrained}: {brief_error(error)}"] = None
        if problems:
            raise HarnessError("\n".join(line if line.startswith("model ") else f"model {model.name}: {line}"
                                         for problem in problems for line in problem.splitlines()))  # fmt: skip
    return tuple(note for one in weight_checks.NOTES for note in one(fit))
