"""Comparability: of the results of one comparison with each other, and of today's with stored runs.

Equal must be the environment (machine, processor, system, packages, threads, wait policy), the packages of a backend's
own environment, the test rows and the source of the model; for speed also the workload with its drawn order and the
lengths of the rows. Each of these changes the speed-up of unchanged code. Across days the commit, the recipe and with
it the weights may differ: they are under test, and the time of an architecture does not depend on its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from harness.contracts.backend import DEVICES, REFERENCE
from harness.errors import Incomparable
from harness.results.schema import Result, Series
from harness.util.machine import Environment
from harness.verdicts.speed import flatten

COMPARISON_KEY = ["machine", "task", "model", "device"]
"""Fields that the cases of one comparison share."""

StoredRuns = Mapping[str, Sequence[Result]]
"""Case → its results, one per run, newest last."""


def comparisons(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Group results by comparison, the reference first in each."""

    def key(result: Result) -> tuple[str, str, str, int]:
        return result.environment.machine, result.task, result.model, DEVICES.index(result.device)

    ordered = sorted(results, key=lambda r: (*key(r), r.backend != REFERENCE, r.backend))
    for _, group in groupby(ordered, key):
        yield list(group)


def batch_sizes(group: Iterable[Result]) -> list[int]:
    """Return the batch sizes at which any of the cases was timed, smallest first."""
    return sorted({series.workload.batch for result in group for series in result.series})


def judged_batch(group: Iterable[Result]) -> int:
    """Return the batch size at which the newest of the timed cases was judged; 1 if none was timed."""
    timed = max((result for result in group if result.series), key=lambda result: result.created, default=None)
    return timed.series[0].workload.batch if timed else 1


def check_comparable(results: Iterable[Result]) -> None:
    """Raise Incomparable, naming the fields, if environments, test rows, checkpoints or the gates' batches differ."""
    first, *others = results
    own = _identity(first)
    for other in others:
        theirs = _identity(other)
        unequal = [f"{name}: {own[name]} and {theirs[name]}" for name in own if own[name] != theirs[name]]
        if unequal:
            raise Incomparable(f"{first.name} and {other.name} differ in {'; '.join(unequal)}; run both again")


def _identity(result: Result) -> dict[str, Any]:
    fields = {f"environment {name}": value for name, value in result.environment.comparable().items()}
    return fields | {
        "test rows": result.data.sha256.get("test") if result.data else None,
        "batch of the gate": result.gate.batch if result.gate else 1,
        "checkpoint": result.checkpoint.info.get("weights_sha256") if result.checkpoint else None,
    }


def by_case(results: Iterable[Result]) -> StoredRuns:
    """Group results by case; copies of one run, recognised by its measurement id, count once."""
    runs: dict[str, dict[str, Result]] = {}
    for result in sorted(results, key=lambda r: (r.created, r.measurement)):
        runs.setdefault(result.name, {})[result.measurement] = result
    return {name: list(results.values()) for name, results in runs.items()}


def differences(stored: Result, today: Result) -> list[str]:
    """Name every field that must be equal and is not; fields that a failed run could not record are skipped."""
    unequal = environment_differences(stored.environment, today.environment)
    for place, (before, now) in {
        "where it was built": [r.artifact.info.get("built_packages") if r.artifact else None for r in (stored, today)],
        "where it runs": [r.process.settings.get("packages") if r.process else None for r in (stored, today)],
    }.items():
        if before and now:
            unequal += _unequal(_packages(before, place), _packages(now, place))
    theirs, own = subject(stored), subject(today)
    for name, old in theirs.items():
        if old is not None and own[name] is not None and old != own[name]:
            unequal.append(f"{name} {old} stored, {own[name]} today")
    return unequal


def subject(result: Result) -> dict[str, Any]:
    """Return what a case measured: its rows, metric and model; None where a failed case could not record it."""
    return {
        "test rows": result.data.sha256.get("test") if result.data else None,
        "metric": result.data.readings.get(result.data.metric) if result.data else None,
        "model source": result.recipe.get("source"),
        "model files": result.recipe.get("source_content"),
    }


def environment_differences(
    stored: Environment, today: Environment, names: Sequence[str] = ("stored", "today")
) -> list[str]:
    """Name every field, and every package, in which two environments differ."""
    return _unequal(_environment_fields(stored), _environment_fields(today), names)


def series_length_difference(stored: Sequence[Series], today: Series) -> str:
    """Name the first batch whose length changed; empty if none did."""
    lengths = lengths_of(today)
    return next((text for series in stored if (text := length_difference(lengths_of(series), lengths))), "")


def lengths_of(series: Series) -> dict[int, int]:
    """Return the length of each batch by its first row."""
    return dict(zip(flatten(series.rows), flatten(series.lengths), strict=True))


def length_difference(stored: Mapping[int, int], today: Mapping[int, int]) -> str:
    """Name the first row whose length changed; empty if none did."""
    for row, length in stored.items():
        if today.get(row, length) != length:
            return f"length of the batch that begins with test row {row}: {length} stored, {today[row]} today"
    return ""


def _environment_fields(environment: Environment) -> dict[str, Any]:
    fields = environment.comparable()
    return fields | {f"package {name}": version for name, version in fields.pop("packages").items()}


def _packages(text: str, place: str) -> dict[str, str]:
    """Read the packages of an environment other than pytest's, in which the backend was built or runs."""
    pairs = (package.split(" ", 1) for package in text.split(", "))
    return {f"package {name} {place}": version for name, version in pairs}


def _unequal(
    stored: Mapping[str, Any], today: Mapping[str, Any], names: Sequence[str] = ("stored", "today")
) -> list[str]:
    return [
        f"{name} {stored.get(name, 'none')} {names[0]}, {today.get(name, 'none')} {names[1]}"
        for name in dict.fromkeys((*stored, *today))
        if stored.get(name) != today.get(name)
    ]
