"""Rounds in which settings of a backend meet its default: what a search asks, and how."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from harness.contracts import CONTROL, Backend
from harness.kind import Kind
from harness.progress import Progress
from harness.rounds import measure
from harness.rounds.crew import Check
from harness.rounds.samples import LOOKS, Arm, Load, Measurement, Samples, Settings
from harness.tuning.costs import WARMING, Cost, rounds_of
from harness.tuning.tuned import Options, variant
from harness.verdicts.speed import is_settled


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


def meet(
    field: Field, tried: Mapping[str, Options], number: int, first: int, seed: int, progress: Progress
) -> Measurement:
    """The default and these candidates, in as many rounds and starts as the rung with this number has.

    `first` is the number of the round in `field.load` that they begin with.
    """
    arms = [field.default, *(field.arm(options, name) for name, options in tried.items())]
    settings = replace(
        field.settings, starts=number + 1, looks=(rounds_of(number),), budget_s=math.inf, seed=seed, probes=False
    )
    return measure.measure(arms, [_from(field.load, first)], settings, field.check, lambda samples: True, progress)


def fresh(field: Field, name: str, options: Options, left_s: float, cost: Cost, progress: Progress) -> Measurement:
    """The default, its control and one candidate, in starts and rounds that chose nobody."""
    default, wanted = field.default, {name: None}
    arms = [default, replace(default, name=CONTROL), field.arm(options, name)]
    for_rounds = left_s - 3 * field.settings.starts * cost.start_s
    settings = replace(field.settings, budget_s=max(for_rounds, LOOKS[0] * 3 * cost.round_s), seed=-1)
    return measure.measure(
        arms, [field.load], settings, field.check, lambda samples: is_settled(samples, default.name, wanted), progress
    )


def ratio(samples: Samples, reference: str, name: str) -> float:
    """How much faster than the reference it seems: the median log-ratio of their rounds."""
    pairs = zip(samples.ns[reference], samples.ns[name], strict=True)
    return median(math.log(theirs / own) for start in pairs for theirs, own in zip(*start, strict=True))


def _from(load: Load, first: int) -> Load:
    return replace(load, rows=lambda number: load.rows(first + number))
