"""What the stored evidence allows to be said: pure functions from a result to intervals and shortfalls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from harness.results import Promise, Result, Series
from harness.spec import REFERENCE, Gate
from harness.stats import Interval, paired_difference, speedup

TOLERANCE = 1.02
"""A speed-up within this factor of 1 is no difference."""


def with_promise(result: Result, gate: Gate) -> Result:
    """The result with the gate it is held to."""
    return replace(result, promise=Promise(floor=gate.floor, max_loss=gate.max_loss))


def own_speedup(series: Series) -> Interval:
    """Speed-up against the reference over all rounds."""
    return speedup(flat(series.reference_ns), flat(series.own_ns))


def noise_floor(series: Series) -> Interval:
    """The control, a second worker of the reference, as if it were a contender: 1 on a quiet machine."""
    return speedup(flat(series.reference_ns), flat(series.control_ns))


def loss(result: Result) -> Interval | None:
    """Score lost against the reference on the same rows, positive is worse; each end is a one-sided 95 % bound."""
    if result.answers is None:
        return None
    found = paired_difference(result.answers.lost, result.answers.gained, result.answers.rows)
    return Interval(0.0 - found.estimate, 0.0 - found.high, 0.0 - found.low)  # 0.0 - 0.0 has no sign


def shortfalls(result: Result) -> list[str]:
    """Every way in which the result breaks its promise, in words; a loss only when it is proven."""
    if result.status == "failed" and result.error is not None:
        return [f"failed at {result.error.stage}: {result.error.message}"]
    if result.answers is None or result.promise is None:
        return []
    problems = []
    answers, promise = result.answers, result.promise
    if answers.score < promise.floor:
        problems.append(
            f"score {answers.score:.4f} on {answers.rows} rows is under the floor {promise.floor:g}"
            f" (the reference has {answers.reference_score:.4f})"
        )
    lost = loss(result)
    if lost is not None and lost.low > promise.max_loss:
        problems.append(
            f"loses {100 * lost.estimate:.2f} points [{100 * lost.low:.2f}, {100 * lost.high:.2f}] against the "
            f"reference, more than the {100 * promise.max_loss:g} allowed: {answers.lost} rows lost, "
            f"{answers.gained} gained of {answers.rows}"
        )
    return problems


def choose(results: Iterable[Result]) -> tuple[Result | None, str]:
    """The result to ship of one comparison, and why; None where not even the reference ran well.

    The fastest at batch 1 whose speed-up lies above the tolerance and above the control's interval, whose score holds
    the floor, and whose loss on the test rows is within the gate. Where none is, the reference.
    """
    usable = [r for r in results if r.status == "ok" and r.series and not shortfalls(r)]
    reference = next((r for r in usable if r.backend == REFERENCE), None)
    better = [(own_speedup(r.series[0]), r) for r in usable if r.backend != REFERENCE and _is_safe(r) and _is_faster(r)]
    if better:
        gain, best = max(better, key=lambda pair: pair[0].estimate)
        return best, f"{gain.estimate:.2f} times the reference's speed [{gain.low:.2f}, {gain.high:.2f}] at batch 1"
    if reference is None:
        return None, "no backend was measured that keeps its promise"
    return reference, "nothing measured beside it is faster beyond noise and within the loss allowed"


def _is_faster(result: Result) -> bool:
    gain, noise = own_speedup(result.series[0]), noise_floor(result.series[0])
    return gain.low > max(TOLERANCE, noise.high)


def _is_safe(result: Result) -> bool:
    lost = loss(result)
    return lost is not None and result.promise is not None and lost.estimate <= result.promise.max_loss


def flat(samples: Iterable[Iterable[int]]) -> list[int]:
    """Samples of all starts in one list."""
    return list(chain.from_iterable(samples))
