"""The cases that a run leaves out or cannot measure, and the comparisons that the others fall into."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.backends.variants import unavailable_reason
from harness.contracts.declarations import check_choice
from harness.spec import Case
from harness.util.machine import LOCAL, no_cuda

Place = tuple[str, str, str]
"""Task, model and device: what the cases of a comparison share."""


class Selected(NamedTuple):
    """The test of a case."""

    case: Case
    folder: Path
    """The suite's."""
    machine: str = LOCAL
    test: str = ""
    """The test's id from the root folder, as a session for one machine has it."""


GROUPS = ("default", "all")
"""Words that `--ship-backends` takes in addition to names."""


def unwanted(cases: Sequence[Case], namespace: Namespace) -> set[str]:
    """Return the names of the cases that the options leave out; HarnessError for a backend that no case has."""
    choices = (*sorted({case.backend.name for case in cases}), *GROUPS)
    names = [name.strip() for name in (namespace.ship_backends or "default").split(",")]
    for name in names if cases else ():
        check_choice("--ship-backends", "backend", name, choices)

    def is_wanted(case: Case) -> bool:
        # A backend that one suite measures on request may be another suite's own.
        named = case.backend.name in names or "all" in names or ("default" in names and not case.on_request)
        return named and namespace.ship_device in ("all", case.device)

    return {str(case) for case in cases if not is_wanted(case)}


def skip_reason(case: Case, namespace: Namespace) -> str | None:
    """Return why the case cannot run here, if so."""
    if case.reads_hub and not namespace.ship_hub:
        return "reads the Hugging Face Hub; run with --ship-hub"
    if namespace.ship_ray:  # its node will tell
        return None
    if case.device == "cuda" and (reason := no_cuda()) is not None:
        return reason
    return unavailable_reason(case.backend, case.device)


def place_of(case: Case) -> Place:
    """Return the comparison that the case belongs to."""
    return case.task.name, case.model.name, case.device


def name_of(place: Place) -> str:
    """Name a comparison in a line."""
    task, model, device = place
    return f"{task}/{model} on {device}"
