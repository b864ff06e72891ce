"""What must be equal for results of different days to be held against each other.

The environment (machine, processor, system, packages, threads, wait policy), the packages of environments that a
backend has of its own, the test rows and the source of the model; for speed also the workload with its drawn order, and
the lengths of the rows: each of these changes the speed-up of unchanged code. What is under test may differ: the
commit, the recipe, and with it the weights, on whose values the time of an architecture does not depend.


ALSO: Results that stand side by side: comparisons, the refusal of what cannot be compared, and what to ship."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from harness.contracts.backend import DEVICES, REFERENCE
from harness.errors import Incomparable
from harness.results.schema import Result, Series
from harness.util.machine import Environment
from harness.verdicts.speed import flat

StoredRuns = Mapping[str, Sequence[Result]]
"""Case → its results, one a run, the newest last."""


def by_case(results: Iterable[Result]) -> StoredRuns:
    """Results by case; a run that is there twice, by its measurement id, counts once."""
    found: dict[str, dict[str, Result]] = {}
    for result in sorted(results, key=lambda r: (r.created, r.measurement)):
        found.setdefault(result.name, {})[result.measurement] = result
    return {name: list(runs.values()) for name, runs in found.items()}


def differences(stored: Result, today: Result) -> list[str]:
    """Every field that is not equal though it must be; what a failed run could not record is no difference."""
    found = environment_differences(stored.environment, today.environment)
    before, now = _elsewhere(stored), _elsewhere(today)
    for place in (place for place in before if place in now):
        found += _unequal(before[place], now[place])
    for name, (one, other) in {
        "test rows": [result.data.sha256.get("test") if result.data else None for result in (stored, today)],
        "model source": [result.recipe.get("source") for result in (stored, today)],
        "model files": [result.recipe.get("source_content") for result in (stored, today)],
    }.items():
        if one is not None and other is not None and one != other:
            found.append(f"{name} {one} stored, {other} today")
    return found


def environment_differences(stored: Environment, today: Environment) -> list[str]:
    """The same for where they ran, package by package."""
    return _unequal(_fields(stored), _fields(today))


def length_differences(stored: Sequence[Series], today: Series) -> str:
    """The first batch that is longer or shorter than it was, in words; empty if there is none."""
    lengths = lengths_of(today)
    return next((told for series in stored if (told := other_length(lengths_of(series), lengths))), "")


def lengths_of(series: Series) -> dict[int, int]:
    """The first row of a batch → its length."""
    return dict(zip(flat(series.rows), flat(series.lengths), strict=True))


def other_length(stored: Mapping[int, int], today: Mapping[int, int]) -> str:
    """Likewise, of lengths by row."""
    for row, length in stored.items():
        if today.get(row, length) != length:
            return f"length of the batch that begins with test row {row}: {length} stored, {today[row]} today"
    return ""


def _fields(environment: Environment) -> dict[str, Any]:
    fields = environment.comparable()
    return fields | {f"package {name}": version for name, version in fields.pop("packages").items()}


def _elsewhere(result: Result) -> dict[str, dict[str, str]]:
    """Packages of the environments, not pytest's, that its backend was built and run in, by place and name."""
    told = {
        "where it was built": result.artifact.info.get("built_packages") if result.artifact else None,
        "where it runs": result.process.settings.get("packages") if result.process else None,
    }
    return {
        place: {f"package {name} {place}": version for name, version in (one.split(" ", 1) for one in text.split(", "))}
        for place, text in told.items()
        if text
    }


def _unequal(stored: Mapping[str, Any], today: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {stored.get(name, 'none')} stored, {today.get(name, 'none')} today"
        for name in dict.fromkeys((*stored, *today))
        if stored.get(name) != today.get(name)
    ]


PAIR = ["machine", "task", "model", "device"]
"""What the cases of one comparison share."""


def comparisons(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Results by comparison, the reference first in each."""

    def key(result: Result) -> tuple[str, str, str, int]:
        return result.environment.machine, result.task, result.model, DEVICES.index(result.device)

    ordered = sorted(results, key=lambda r: (*key(r), r.backend != REFERENCE, r.backend))
    for _, group in groupby(ordered, key):
        yield list(group)


def check_comparable(results: Iterable[Result]) -> None:
    """Incomparable, field by field, if the results come from unequal environments, data or checkpoints."""
    first, *others = results
    for other in others:
        mine, theirs = _identity(first), _identity(other)
        unequal = [f"{name}: {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]]
        if unequal:
            raise Incomparable(f"{first.name} and {other.name} differ in {'; '.join(unequal)}; run both again")


def batches(group: Iterable[Result]) -> list[int]:
    """Sizes that any case has figures of, the smallest first."""
    return sorted({series.workload.batch for result in group for series in result.series})


def _identity(result: Result) -> dict[str, Any]:
    known = {f"environment {name}": value for name, value in result.environment.comparable().items()}
    return known | {
        "test rows": result.data.sha256.get("test") if result.data else None,
        "checkpoint": result.checkpoint.info.get("weights_sha256") if result.checkpoint else None,
    }
