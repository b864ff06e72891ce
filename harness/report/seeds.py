"""Seeds as text: how far apart they lie beside what backends differ by, and the floors they allow."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, stdev
from typing import TYPE_CHECKING

import pandas as pd

from harness.accuracy.loss import loss
from harness.contracts import REFERENCE
from harness.records.schema import Result, Seed
from harness.report import cells
from harness.training.proposal import CONFIDENCE, ENOUGH
from harness.training.seeds import collapse, is_collapsed, sound

if TYPE_CHECKING:
    from harness.commands.floors import Line


def spread_of_seeds(group: list[Result]) -> list[str]:
    """How far apart fine-tunings with other seeds lie, beside what backends of one differ by; and who collapsed."""
    seeds = max((result.seeds for result in group), key=len)
    told = [_spread(seeds, group)] if len(sound(seeds)) > 1 else []
    return told + [f"Fine-tuning with {collapse(seed)}." for seed in seeds if is_collapsed(seed)]


def _spread(seeds: Sequence[Seed], group: list[Result]) -> str:
    scores = sound(seeds)
    count = f"{len(scores)} of {len(seeds)} seeds" if len(scores) < len(seeds) else f"{len(scores)} seeds"
    told = (
        f"Fine-tuned with {count}, the reference scores {min(scores):.4f} to {max(scores):.4f}: "
        f"{100 * (max(scores) - min(scores)):.2f} points apart (standard deviation {100 * stdev(scores):.2f})"
    )
    lost = [abs(found.estimate) for r in group if r.backend != REFERENCE and (found := loss(r)) is not None]
    return (
        f"{told}; backends of one fine-tuning differ from it by {100 * max(lost):.2f} at most." if lost else f"{told}."
    )


def proposals(lines: Sequence[Line]) -> str:
    """The table of floors, and below it what it does not hold."""
    view = pd.DataFrame([_row(line) for line in lines])
    aligned = ["left", "left", *["right"] * (len(view.columns) - 3), "left"]
    told = [_rule()]
    for line in lines:
        said = [collapse(seed) + "; it is left out of the proposal" for seed in line.seeds if is_collapsed(seed)]
        why = [f"no floor: {line.proposal.why}"] if line.proposal.why else []
        told += [f"{_pair(line)}: {cells.plain(sentence)}" for sentence in (*said, *line.failed, *why)]
    table = view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=aligned)
    return "\n".join([table, "", *told])


def _pair(line: Line) -> str:
    return f"{line.case.task.name}/{line.case.model.name}"


def _row(line: Line) -> dict[str, str]:
    found, gate = line.proposal, line.case.gate
    scores = found.scores
    return {
        "task": line.case.task.name,
        "model": line.case.model.name,
        "seeds": str(len(scores)),
        "lowest": cells.number(min(scores, default=None), decimals=4),
        "median": cells.number(median(scores) if scores else None, decimals=4),
        "highest": cells.number(max(scores, default=None), decimals=4),
        "sd": cells.number(stdev(scores) if len(scores) > 1 else None, decimals=4),
        f"{100 * CONFIDENCE:.0f} % bound": cells.number(found.bound, decimals=4),
        "allowed loss": cells.number(gate.max_loss if gate else None, decimals=3),
        "proposed floor": cells.number(found.floor, decimals=3),
        "present floor": cells.number(gate.floor if gate else None, decimals=3),
        "": _caveat(line),
    }


def _caveat(line: Line) -> str:
    if line.case.model.is_as_it_is:
        return "as it is: nothing is drawn"
    return f"provisional: under {ENOUGH} seeds" if line.proposal.provisional else ""


def _rule() -> str:
    return (
        f"A floor lies under the next run with {100 * CONFIDENCE:.0f} % confidence (mean - t * sd * sqrt(1 + 1/n), "
        "n - 1 degrees of freedom), less the loss that every backend is allowed, rounded down to 0.005."
    )
