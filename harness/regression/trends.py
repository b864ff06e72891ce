"""How a case went over time: points in order, in segments of one environment, with the steps in each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result, Workload
from harness.stats.changepoints import Step, steps
from harness.stats.intervals import Interval
from harness.verdicts.comparability import differences, lengths_of, other_length
from harness.verdicts.speed import invalid, own_speedup

BATCH = 1
"""Whose speed-up is told."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement of one case."""

    result: Result
    """Without samples and answers, so that thousands fit into memory."""
    gain: Interval | None
    """Speed-up; None where there is none, or none that is valid."""
    why: str
    """Why there is none."""
    score: float | None
    workload: Workload | None
    lengths: dict[int, int]
    """The first row of a batch → its length."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Points that may be held against each other."""

    points: Sequence[Point]
    """Each with a speed-up."""
    began: str
    """What had changed since the point before it; empty of the first segment."""
    steps: Sequence[Step]
    """Of the logs of speed-ups; places are indices into `points`."""

    @property
    def levels(self) -> list[tuple[int, int, float]]:
        """Between steps: the first point, the one after the last, and the geometric mean of their speed-ups."""
        cuts = (0, *(step.at for step in self.steps), len(self.points))
        logs = [math.log(one.gain.estimate) for one in self.points if one.gain]
        return [(a, b, math.exp(math.fsum(logs[a:b]) / (b - a))) for a, b in pairwise(cuts)]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One case on one machine."""

    machine: str
    case: str
    points: Sequence[Point]
    """All, in the order in which they were measured."""
    segments: Sequence[Segment]
    """Of those with a speed-up; none of the reference, whose speed-up is 1."""


def point(result: Result) -> Point:
    """What is kept of a result."""
    series = next((one for one in result.series if one.workload.batch == BATCH), None)
    why = ""
    if result.error is not None:
        why = f"{result.status} at {result.error.stage}"
    elif series is None:
        why = f"no speed was measured at batch {BATCH}"
    elif result.backend != REFERENCE:
        why = invalid(series) or ""
    told = series is not None and not why
    return Point(
        result=replace(result, series=(), answers=None, reference_process=None, seeds=(), notes=()),
        gain=own_speedup(series) if series and told else None,
        why=why,
        score=result.answers.score if result.answers else None,
        workload=series.workload if series else None,
        lengths=lengths_of(series) if series else {},
    )


def trends(points: Iterable[Point]) -> list[Trend]:
    """A trend a machine and case, by name; points are in the order in which they were measured."""
    found: dict[tuple[str, str], list[Point]] = {}
    for one in points:
        found.setdefault((one.result.environment.machine, one.result.name), []).append(one)
    return [
        Trend(machine=machine, case=case, points=found[machine, case], segments=list(segments(found[machine, case])))
        for machine, case in sorted(found)
    ]


def segments(points: Sequence[Point]) -> Iterator[Segment]:
    """Points with a speed-up, parted where something changed that speed-ups depend on."""
    held: list[Point] = []
    began = ""
    for one in points:
        if one.gain is None or one.result.backend == REFERENCE:
            continue
        changed = "; ".join(_changes(held[-1], one)) if held else ""
        if changed:
            yield _segment(held, began)
            held, began = [], changed
        held.append(one)
    if held:
        yield _segment(held, began)


def _segment(points: Sequence[Point], began: str) -> Segment:
    logs = [math.log(one.gain.estimate) for one in points if one.gain]
    return Segment(points=points, began=began, steps=steps(logs))


def _changes(before: Point, after: Point) -> list[str]:
    """Every difference that makes two points incomparable: what changed, from what, to what."""
    found = [told.replace(" stored, ", " before, ") for told in differences(before.result, after.result)]
    if before.workload != after.workload:
        found.append(f"workload {before.workload} before, {after.workload} today")
    longer = other_length(before.lengths, after.lengths)
    found += [longer.replace(" stored, ", " before, ")] if longer else []
    return [told.removesuffix(" today") + (" after" if told.endswith(" today") else "") for told in found]
