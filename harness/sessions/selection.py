"""Which cases a session measures, and why it leaves out the others."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence

from harness.case import Case
from harness.environment import no_cuda
from harness.errors import HarnessError
from harness.tuning.tuned import lacking

GROUPS = ("default", "all")
"""What `--ship-backends` knows beside names."""


def unwanted(cases: Sequence[Case], given: Namespace) -> set[str]:
    """Names of the cases that the options leave out; HarnessError for a backend that no case has."""
    known = {case.backend.name for case in cases}
    named = (given.ship_backends or "default").split(",")
    unknown = [name for name in named if name not in (*known, *GROUPS)]
    if unknown and cases:
        raise HarnessError(
            f"--ship-backends: no backend {', '.join(unknown)}; there are {', '.join(sorted(known))}; and default, all"
        )
    device = given.ship_device
    return {str(c) for c in cases if not _is_asked(c, named) or device not in ("all", c.device)}


def _is_asked(case: Case, named: Sequence[str]) -> bool:
    """Whether its backend is among those named; what one suite has on request may be another one's own."""
    return case.backend.name in named or "all" in named or ("default" in named and not case.on_request)


def skip_reason(case: Case, given: Namespace) -> str | None:
    """Why the case cannot run here, if so."""
    if case.device == "cuda" and (reason := no_cuda()) is not None:
        return reason
    if case.reads_hub and not given.ship_hub:
        return "it reads the Hugging Face Hub, and --ship-hub was not given"
    return lacking(case.backend, case.device)


def comparison_of(case: Case, selected: Iterable[Case], given: Namespace) -> tuple[Case, ...]:
    """The selected cases, this one among them, that are measured in its rounds; those of them that can run here."""
    place = (case.task, case.model, case.device)
    mates = (one for one in selected if (one.task, one.model, one.device) == place)
    return tuple(one for one in mates if skip_reason(one, given) is None)
