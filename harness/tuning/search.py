"""The search for a backend's best options: who leaves, who wins, and what the winner is worth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from harness.errors import HarnessError
from harness.progress import Progress
from harness.records import timings
from harness.records.evidence import Series
from harness.rounds.samples import Measurement
from harness.statistics.paired import speedup
from harness.tuning import trials
from harness.tuning.costs import TOGETHER, Cost, rounds_of
from harness.tuning.halving import Standing, halving
from harness.tuning.trials import Field
from harness.tuning.tuned import Options, words
from harness.verdicts.speed import TOLERANCE

PROOF = 3
"""Number of the first rung whose rounds and starts suffice for an interval."""


@dataclass
class Found:
    """What a search found."""

    tried: dict[str, Options]
    """By name."""
    standings: list[Standing] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Candidate → why it left."""
    winner: str | None = None
    """None where the default itself was the best."""
    series: Series | None = None
    """Of the winner against the default, from fresh rounds."""
    cut: bool = False
    """Whether the budget ended the search before one was left."""
    notes: list[str] = field(default_factory=list)


def search(field: Field, candidates: Sequence[Options], budget_s: float, cost: Cost, progress: Progress) -> Found:
    """Halve the candidates until one is left, and measure that one against the default in fresh starts and rounds."""
    began = time.monotonic()
    found = Found({words(options): options for options in candidates})
    with field.settings.machine.alone():  # throughout, so that the budget is not spent waiting between rungs
        alone = replace(field.settings, machine=replace(field.settings.machine, alone=nullcontext))
        held = replace(field, settings=alone)
        end = began + budget_s - cost.fresh(alone.starts)
        for standing in halving(list(found.tried), lambda names, number: _rung(held, found, names, number, progress)):
            found.standings.append(standing)
            progress.say(_told(standing))
            further = cost.rung(len(standing.kept), standing.number + 1)
            if len(standing.kept) > 1 and time.monotonic() + further > end:
                found.cut = True
                break
        found.winner = _winner(held, found)
        if found.winner is not None:
            found.winner = _lightened(held, found, found.winner, lambda more: time.monotonic() + more <= end, cost)
            _prove(held, found, found.winner, began + budget_s - time.monotonic(), cost, progress)
    return found


def _rung(field: Field, found: Found, names: Sequence[str], number: int, progress: Progress) -> Mapping[str, float]:
    """Log-ratios of the candidates to the default, each from rounds that it shared with it."""
    ratios = {}
    batches = math.ceil(len(names) / TOGETHER)
    for batch in range(batches):
        tried = {name: found.tried[name] for name in names[batch::batches]}
        # Rows that no other rung begins with.
        measured = trials.meet(field, tried, number, rounds_of(number), number, progress)
        found.failed |= {name: str(error) for name, error in measured.failed.items()}
        for name in tried:
            if name not in measured.failed:
                ratios[name] = trials.ratio(measured.samples[0], field.backend.name, name)
    return ratios


def _winner(field: Field, found: Found) -> str | None:
    """The best that seemed faster than the default and answers as it does; of equals, what changes least."""
    last = found.standings[-1].ratios
    best = max(last.values(), default=0.0)
    equals = [name for name in last if last[name] > best - math.log(TOLERANCE)]
    order = dict.fromkeys([*sorted(equals, key=lambda name: len(found.tried[name])), *last])
    for name in (name for name in order if last[name] > 0):
        if _accepted(field, found, name, found.tried[name]):
            return name
    return None


def _accepted(field: Field, found: Found, name: str, options: Options) -> bool:
    try:
        field.accept(field.arm(options, name).backend)
    except HarnessError as error:
        found.failed[name] = str(error)
    return name not in found.failed


def _lightened(field: Field, found: Found, winner: str, allows: Callable[[float], bool], cost: Cost) -> str:
    """The winner without what it does not need: a change goes unless the winner is proven faster with it."""
    number = max(found.standings[-1].number, PROOF)
    while len(found.tried[winner]) > 1 and allows(cost.rung(len(found.tried[winner]) + 1, number)):
        chosen = found.tried[winner]
        fewer = [{name: value for name, value in chosen.items() if name != gone} for gone in chosen]
        options = {words(one): one for one in (chosen, *fewer)}
        measured = trials.meet(field, options, number, 2 * rounds_of(number), field.settings.seed, Progress())
        (samples,) = measured.samples
        if winner in measured.failed:
            break
        left = [name for name in map(words, fewer) if name not in measured.failed]
        enough = [name for name in left if speedup(samples.ns[name], samples.ns[winner], (), 1).low <= 1]
        best = max(enough, key=lambda name: trials.ratio(samples, field.backend.name, name), default=None)
        if best is None or not _accepted(field, found, best, options[best]):
            break
        found.tried[best] = options[best]
        winner = best
    return winner


def _prove(field: Field, found: Found, winner: str, left_s: float, cost: Cost, progress: Progress) -> None:
    """What the winner is worth, from fresh rounds."""
    measured = trials.fresh(field, winner, found.tried[winner], left_s, cost, progress)
    found.notes += _notes(measured)
    if winner in measured.failed:
        found.failed[winner] = str(measured.failed[winner])
    else:
        threads = field.settings.target.threads
        found.series = timings.series_of(winner, measured.samples[0], measured, threads, field.backend.name)


def _notes(measured: Measurement) -> list[str]:
    disturbed = measured.disturbance.sentences() if measured.disturbance else []
    return measured.notes() + ([f"disturbed: {'; '.join(disturbed)}"] if disturbed else [])


def _told(standing: Standing) -> str:
    best = next(iter(standing.ratios.items()), None)
    said = f"; the best, {best[0]}, seems {math.exp(best[1]):.2f} times as fast as the default" if best else ""
    return f"rung {standing.number + 1}: {len(standing.ratios)} settings in {rounds_of(standing.number)} rounds{said}"
