"""The search for a backend's best options: rungs that choose, and fresh rounds that say what the choice is worth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from harness import measure, timings
from harness.contracts import CONTROL, Backend
from harness.costs import TOGETHER, WARMING, Cost, rounds_of
from harness.crew import Check
from harness.errors import HarnessError
from harness.evidence import Series
from harness.halving import Standing, halving
from harness.kind import Kind
from harness.paired import speedup
from harness.progress import Progress
from harness.samples import LOOKS, Arm, Load, Measurement, Samples, Settings
from harness.speed import TOLERANCE, is_settled
from harness.tuned import Options, variant, words

PROOF = 3
"""Number of the first rung whose rounds and starts suffice for an interval."""


@dataclass(frozen=True)
class Field:
    """What is searched: options of one backend, on one artifact."""

    backend: Backend
    """With its default options."""
    artifact: Path
    load: Load
    settings: Settings
    """Target, starts, timeout and machine."""
    check: Check
    """Told of every timed answer; the candidates' must be the default's."""
    accept: Callable[[Backend], None]
    """HarnessError for a variant that does not answer as the default does on all rows."""
    kind: Kind | None = None

    def arm(self, options: Options, name: str) -> Arm:
        """The candidate."""
        return Arm(name, variant(self.backend, options), self.artifact, kind=self.kind)

    @property
    def default(self) -> Arm:
        """What all of them are held against."""
        return Arm(self.backend.name, self.backend, self.artifact, kind=self.kind)


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


def pilot(field: Field) -> Cost:
    """What starting and asking the default takes; from one worker, to plan with."""
    settings, arm, calls = field.settings, field.default, []
    order = (arm.backend, arm.artifact, settings.target, settings.timeout_s, arm.name, arm.front, arm.kind)
    with settings.machine.alone(), ExitStack() as stack:
        began = time.monotonic()
        worker = stack.enter_context(settings.machine.hire(*order))
        start_s = max(time.monotonic() - began, (worker.loaded["import_ns"] + worker.loaded["load_ns"]) / 1e9)
        for number in range(2 + WARMING):
            worker.put(field.load.arrays(field.load.rows(number)))
            answer = worker.run()
            calls.append((answer.ended_ns - answer.began_ns) / 1e9)
    return Cost(start_s, median(calls[WARMING:]))


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
            _fresh(held, found, found.winner, began + budget_s - time.monotonic(), cost, progress)
    return found


def _rung(field: Field, found: Found, names: Sequence[str], number: int, progress: Progress) -> Mapping[str, float]:
    """Log-ratios of the candidates to the default, each from rounds that it shared with it."""
    rounds, ratios = rounds_of(number), {}
    settings = replace(field.settings, starts=number + 1, looks=(rounds,), budget_s=math.inf, seed=number, probes=False)
    load = _from(field.load, rounds)  # rows that no other rung begins with
    batches = math.ceil(len(names) / TOGETHER)
    for batch in range(batches):
        arms = [field.default, *(field.arm(found.tried[name], name) for name in names[batch::batches])]
        measured = measure.measure(arms, [load], settings, field.check, lambda samples: True, progress)
        found.failed |= {name: str(error) for name, error in measured.failed.items()}
        for arm in arms[1:]:
            if arm.name not in measured.failed:
                ratios[arm.name] = _ratio(measured.samples[0], field.backend.name, arm.name)
    return ratios


def _ratio(samples: Samples, reference: str, name: str) -> float:
    pairs = zip(samples.ns[reference], samples.ns[name], strict=True)
    return median(math.log(theirs / own) for start in pairs for theirs, own in zip(*start, strict=True))


def _from(load: Load, first: int) -> Load:
    return replace(load, rows=lambda number: load.rows(first + number))


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
        arms = [field.default, *(field.arm(one, name) for name, one in options.items())]
        rounds = rounds_of(number)
        settings = replace(field.settings, starts=number + 1, looks=(rounds,), budget_s=math.inf, probes=False)
        measured = measure.measure(
            arms, [_from(field.load, 2 * rounds)], settings, field.check, lambda samples: True, Progress()
        )
        (samples,) = measured.samples
        if winner in measured.failed:
            break
        left = [name for name in map(words, fewer) if name not in measured.failed]
        enough = [name for name in left if speedup(samples.ns[name], samples.ns[winner], (), 1).low <= 1]
        best = max(enough, key=lambda name: _ratio(samples, field.backend.name, name), default=None)
        if best is None or not _accepted(field, found, best, options[best]):
            break
        found.tried[best] = options[best]
        winner = best
    return winner


def _fresh(field: Field, found: Found, winner: str, left_s: float, cost: Cost, progress: Progress) -> None:
    """The default, its control and the winner, in starts and rounds that chose nobody."""
    name = field.backend.name
    arms = [field.default, replace(field.default, name=CONTROL), field.arm(found.tried[winner], winner)]
    for_rounds = left_s - 3 * field.settings.starts * cost.start_s
    settings = replace(field.settings, budget_s=max(for_rounds, LOOKS[0] * 3 * cost.round_s), seed=-1)
    wanted = {winner: None}
    measured = measure.measure(
        arms, [field.load], settings, field.check, lambda samples: is_settled(samples, name, wanted), progress
    )
    found.notes += _notes(measured)
    if winner in measured.failed:
        found.failed[winner] = str(measured.failed[winner])
    else:
        threads = field.settings.target.threads
        found.series = timings.series_of(winner, measured.samples[0], measured, threads, name)


def _notes(measured: Measurement) -> list[str]:
    disturbed = measured.disturbance.sentences() if measured.disturbance else []
    return measured.notes() + ([f"disturbed: {'; '.join(disturbed)}"] if disturbed else [])


def _told(standing: Standing) -> str:
    best = next(iter(standing.ratios.items()), None)
    said = f"; the best, {best[0]}, seems {math.exp(best[1]):.2f} times as fast as the default" if best else ""
    return f"rung {standing.number + 1}: {len(standing.ratios)} settings in {rounds_of(standing.number)} rounds{said}"
