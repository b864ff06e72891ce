"""Trends: a case over time, as points in order, in segments of one environment, with the steps in each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result, Workload
from harness.stats.changepoints import Step, steps
from harness.stats.intervals import Interval
from harness.verdicts.comparability import differences, length_difference, lengths_of
from harness.verdicts.speed import own_speedup, why_invalid

BATCH = 1
"""The batch size whose speed-up is followed."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement of one case."""

    result: Result
    """Without samples and answers, so that thousands fit into memory."""
    speedup: Interval | None
    """None if it was not measured or is not valid."""
    why: str
    """The reason for a missing speed-up."""
    score: float | None
    workload: Workload | None
    lengths: dict[int, int]
    """First row of a batch → its length."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Successive points that can be compared."""

    points: Sequence[Point]
    """Each has a speed-up."""
    cause: str
    """The fields that changed since the point before; empty for the first segment."""
    steps: Sequence[Step]
    """Steps of the log speed-ups; places are indices into `points`."""

    @property
    def levels(self) -> list[tuple[int, int, float]]:
        """Between steps: the first point, the one after the last, and the geometric mean of their speed-ups."""
        cuts, logs = (0, *(step.at for step in self.steps), len(self.points)), _logs(self.points)
        return [(a, b, math.exp(math.fsum(logs[a:b]) / (b - a))) for a, b in pairwise(cuts)]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One case on one machine."""

    machine: str
    case: str
    points: Sequence[Point]
    """All of them, in the order of measurement."""
    segments: Sequence[Segment]
    """Segments of the points with a speed-up; empty for the reference, whose speed-up is 1."""


def point_of(result: Result) -> Point:
    """Return the part of a result that a trend needs."""
    series = next((series for series in result.series if series.workload.batch == BATCH), None)
    why = ""
    if result.error is not None:
        why = f"{result.status} at {result.error.stage}"
    elif series is None:
        why = f"no speed was measured at batch {BATCH}"
    elif result.backend != REFERENCE:
        why = why_invalid(series) or ""
    return Point(
        result=replace(result, series=(), answers=None, reference_process=None, seeds=(), notes=()),
        speedup=own_speedup(series) if series and not why else None,
        why=why,
        score=result.answers.score if result.answers else None,
        workload=series.workload if series else None,
        lengths=lengths_of(series) if series else {},
    )


def trends(points: Iterable[Point]) -> list[Trend]:
    """Return a trend for each machine and case, sorted by name; points come in the order of measurement."""
    by_case: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        by_case.setdefault((point.result.environment.machine, point.result.name), []).append(point)
    return [
        Trend(machine=machine, case=case, points=own, segments=list(_segments(own)))
        for (machine, case), own in sorted(by_case.items(), key=lambda item: item[0])
    ]


def _segments(points: Sequence[Point]) -> Iterator[Segment]:
    """Split the points with a speed-up where something changed that speed-ups depend on."""
    current: list[Point] = []
    cause = ""
    for point in points:
        if point.speedup is None or point.result.backend == REFERENCE:
            continue
        changed = "; ".join(_changes(current[-1], point)) if current else ""
        if changed:
            yield Segment(points=current, cause=cause, steps=steps(_logs(current)))
            current, cause = [], changed
        current.append(point)
    if current:
        yield Segment(points=current, cause=cause, steps=steps(_logs(current)))


def _logs(points: Sequence[Point]) -> list[float]:
    return [math.log(point.speedup.estimate) for point in points if point.speedup]


def _changes(before: Point, after: Point) -> list[str]:
    """Return every difference that makes two points incomparable: the field, its value before and after."""
    changes = differences(before.result, after.result)
    if before.workload != after.workload:
        changes.append(f"workload {before.workload} stored, {after.workload} today")
    if longer := length_difference(before.lengths, after.lengths):
        changes.append(longer)
    return [
        change.replace(" stored, ", " before, ").removesuffix(" today") + " after" * change.endswith(" today")
        for change in changes
    ]
