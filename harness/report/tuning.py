"""What tuning found, as text: how far each setting came, what the winner is worth, and the line that makes it so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from harness.report import cells
from harness.tuning.tuned import python, words
from harness.verdicts.phrases import times
from harness.verdicts.speed import agreed, invalid, noise_floor, own_speedup, own_speedups

if TYPE_CHECKING:
    from harness.commands.tune import Tuning


def tuning(one: Tuning) -> str:
    """The table of settings, and below it the verdict."""
    view = pd.DataFrame(list(_rows(one)))
    aligned = ["left", "right", "right"]
    table = view.to_markdown(index=False, tablefmt="simple", disable_numparse=True, colalign=aligned)
    return "\n".join([_head(one), "", table, "", *_left(one), *_verdict(one)])


def _head(one: Tuning) -> str:
    known = words({"threads": one.threads, "spinning": False, **one.case.backend.options})
    return (
        f"{one.case}: {len(one.found.tried)} of {one.choices} settings against the default "
        f"({known}), batch 1, {one.rows} validation rows"
    )


def _rows(one: Tuning) -> Iterator[dict[str, str]]:
    """A setting a row, whoever came farthest first; the ratios of a rung are for choosing, and flatter its best."""
    listed = set()
    for standing in reversed(one.found.standings):
        for name, ratio in standing.ratios.items():
            if name not in listed:
                yield _row(name, str(standing.number + 1), f"{math.exp(ratio):.2f}x", one)
            listed.add(name)
    for name in one.found.tried:
        if name not in listed:
            yield _row(name, "", "", one)


def _row(name: str, rung: str, ratio: str, one: Tuning) -> dict[str, str]:
    return {"setting": name, "last rung": "left" if name in one.found.failed else rung, "there, to the default": ratio}


def _left(one: Tuning) -> Iterator[str]:
    """Why settings left, once a reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in one.found.failed.items():
        by_reason.setdefault(cells.first_line(why.removeprefix(f"{name}: ")), []).append(name)
    yield from (f"{'; '.join(names)} left: {why}" for why, names in by_reason.items())


def _verdict(one: Tuning) -> Iterator[str]:
    found, name = one.found, one.case.backend.name
    if found.cut:
        yield "The budget ended the search before one setting was left; with a larger --budget it goes on."
    if found.winner is None:
        yield "no setting was proven faster than the default: none seemed so at the last rung"
        return
    if found.series is None:
        yield f"no setting was proven faster than the default: {found.winner} failed in the fresh rounds"
        return
    rounds = sum(map(len, found.series.own_ns))
    said = (
        f"{times(own_speedup(found.series))} the default, from {rounds} fresh rounds in {len(found.series.rows)} starts"
    )
    noise = times(noise_floor(found.series))
    yield from (f"{note[:1].upper()}{note[1:]}." for note in found.notes)
    yield f"The default against itself in the same rounds: {noise}."
    why = invalid(found.series)
    if why is not None:
        yield f"no setting was proven faster than the default: {why}; with {found.winner} {name} is {said}"
    elif agreed(own_speedups(found.series)) != "faster":
        yield f"no setting was proven faster than the default: with {found.winner} {name} is {said}"
    else:
        yield f"{name} with {found.winner}: {said}"
        yield f"In the suite: cases(…, backends=[…, {python(one.called, found.tried[found.winner])}])"
