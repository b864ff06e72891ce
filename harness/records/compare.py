"""Results that stand side by side: comparisons, the refusal of what cannot be compared, and what to ship."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from harness.contracts import DEVICES, REFERENCE
from harness.errors import Incomparable
from harness.records.schema import Result
from harness.verdicts.choice import choose

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


def recommend(results: list[Result]) -> tuple[Result | None, str]:
    """The case to ship of one comparison and why, or why none can be named."""
    measured = [result for result in results if result.status == "ok"]
    try:
        if measured:
            check_comparable(measured)
    except Incomparable as error:
        return None, f"not comparable: {error}"
    return choose(measured)


def batches(group: Iterable[Result]) -> list[int]:
    """Sizes that any case has figures of, the smallest first."""
    return sorted({series.workload.batch for result in group for series in result.series})


def _identity(result: Result) -> dict[str, Any]:
    known = {f"environment {name}": value for name, value in result.environment.comparable().items()}
    return known | {
        "test rows": result.data.sha256.get("test") if result.data else None,
        "checkpoint": result.checkpoint.info.get("weights_sha256") if result.checkpoint else None,
    }
