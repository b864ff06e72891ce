"""The choice between machines: what may ship on each, its milliseconds, and what a million requests cost.

Speed-ups hold within a machine. Between machines only milliseconds and money are compared, each from its own rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, median
from typing import Any

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result, Series
from harness.stats.intervals import Interval, join_names, spread_interval
from harness.verdicts.comparability import batch_sizes, subject
from harness.verdicts.recommendation import last_run, may_ship, recommend
from harness.verdicts.speed import flatten, own_speedup
from harness.verdicts.verdict import verdict

Prices = Mapping[str, float]
"""Machine → money for an hour."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A case at one batch size, without its samples."""

    batch: int
    call_ms: Interval
    """Median time of a call."""
    request_ms: Interval
    """Mean time of a row, which is what many of them take."""
    gain: Interval | None
    """Speed-up over the reference on the same machine; None for the reference."""

    def cost(self, price: float) -> Interval:
        """Return what a million requests cost at this price for an hour, one after another on this machine."""
        return million_cost(self.request_ms, price)


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A case on one machine, without its samples, so that thousands fit into memory."""

    machine: str
    task: str
    model: str
    device: str
    backend: str
    word: str
    """Verdict, or the status of a case that has none."""
    first: Timing | None
    """At batch 1."""
    last: Timing | None
    """At the largest batch of the comparison; None if it has one size only."""
    ships: bool
    """True if it may ship: by its verdict, or as the reference."""
    is_chosen: bool
    """True if it is the one recommended on its machine."""
    subject: Mapping[str, Any]
    """Fields that must be equal for milliseconds to be compared."""
    weights: str | None
    """Digest of the checkpoint's weights."""

    @property
    def place(self) -> str:
        """Backend and machine in a few words."""
        return f"{self.backend} on {self.machine}{f' ({self.device})' if self.device != 'cpu' else ''}"


def candidates(group: list[Result]) -> Iterator[Candidate]:
    """Yield the cases of one comparison as candidates for a choice between machines."""
    chosen, able, sizes, newest = recommend(group)[0], may_ship(group), batch_sizes(group), last_run(group)
    for result in group:
        judgement = verdict(result)
        word = judgement.word if judgement else "reference" if result.status == "ok" else result.status
        timings = {series.workload.batch: _timing(result, series) for series in result.series}
        yield Candidate(
            machine=result.environment.machine,
            task=result.task,
            model=result.model,
            device=result.device,
            backend=result.backend,
            word=word if result.measurement == newest else f"{word}, not in the last run",
            first=timings.get(1),
            last=timings.get(sizes[-1]) if len(sizes) > 1 else None,
            ships=any(result is one for one in able),
            is_chosen=result is chosen,
            subject=subject(result) | {"max_length": result.recipe.get("max_length")},
            weights=result.checkpoint.info.get("weights_sha256") if result.checkpoint else None,
        )


def by_model(several: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Group candidates by task and model."""

    def key(one: Candidate) -> tuple[str, str]:
        return one.task, one.model

    for _, group in groupby(sorted(several, key=key), key):
        yield list(group)


def cheapest(several: Sequence[tuple[Candidate, Interval]]) -> tuple[Candidate, list[Candidate]]:
    """Return the candidate with the least, and all others whose interval overlaps its."""
    best, least = min(several, key=lambda pair: pair[1].estimate)
    return best, [one for one, interval in several if one is not best and interval.low <= least.high]


def subject_differences(several: Sequence[Candidate]) -> list[str]:
    """Name the fields in which machines measured different things; one that a failed case lacks does not count."""
    differences = []
    for top in several[0].subject:
        recorded = [
            (one.machine, dict(_leaves(top, value))) for one in several if (value := one.subject[top]) is not None
        ]
        for name in dict.fromkeys(name for _, leaves in recorded for name in leaves):
            values: dict[str, dict[str, None]] = {}
            for machine, leaves in recorded:
                values.setdefault(str(leaves.get(name, "none")), {})[machine] = None
            if len(values) > 1:
                texts = (f"{value} on {join_names(list(machines))}" for value, machines in values.items())
                differences.append(f"{name} is {', '.join(texts)}")
    return differences


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a nested mapping, each with the names that lead to it."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, part in value.items():
        yield from _leaves(f"{name}, {key}", part)


def request_ms(series: Series) -> Interval:
    """Return the mean time of a row, with the interval that the spread between launches gives."""
    rows = series.workload.batch * 1e6
    return spread_interval(fmean(flatten(series.own_ns)) / rows, [fmean(launch) / rows for launch in series.own_ns])


def million_cost(request: Interval, price: float) -> Interval:
    """Return what a million requests of so many milliseconds cost, one after another, at a price for an hour."""
    factor = 1e6 * price / 3_600_000
    return Interval(factor * request.estimate, factor * request.low, factor * request.high)


def _timing(result: Result, series: Series) -> Timing:
    launches = series.own_ns
    return Timing(
        batch=series.workload.batch,
        call_ms=spread_interval(median(flatten(launches)) / 1e6, [median(launch) / 1e6 for launch in launches]),
        request_ms=request_ms(series),
        gain=None if result.backend == REFERENCE else own_speedup(series),
    )
