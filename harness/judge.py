"""What the stored evidence allows to be said: pure functions from a result to intervals and shortfalls."""

from __future__ import annotations

import math
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
    if not series.control_ns:
        return Interval(math.nan, -math.inf, math.inf)
    return speedup(flat(series.reference_ns), flat(series.control_ns))


def loss(result: Result) -> Interval | None:
    """Score lost against the reference on the same rows, positive is worse; each end is a one-sided 95 % bound.

    Only accuracy is a mean over rows; of another metric the difference is known and its interval is not.
    """
    if result.answers is None or result.data is None:
        return None
    if result.data.metric != "accuracy":
        return Interval(result.answers.reference_score - result.answers.score, -math.inf, math.inf)
    return _rows_lost(result.answers.lost, result.answers.gained, result.answers.rows)


def _rows_lost(lost: int, gained: int, rows: int) -> Interval:
    found = paired_difference(lost, gained, rows)
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
    of_reference = loss(result)
    if of_reference is not None and of_reference.low > promise.max_loss:
        problems.append(_proven(of_reference, "the reference", answers.lost, answers.gained, result))
    # What a lossy artifact was built from answers as the reference does, up to a rounding at the edge of a label.
    elif result.data is not None and result.data.metric == "accuracy" and answers.compared_with != REFERENCE:
        of_source = _rows_lost(answers.source_lost, answers.source_gained, answers.rows)
        if of_source.low > promise.max_loss:
            problems.append(
                _proven(of_source, answers.compared_with, answers.source_lost, answers.source_gained, result)
            )
    return problems


def _proven(found: Interval, other: str, lost: int, gained: int, result: Result) -> str:
    assert result.promise is not None
    assert result.answers is not None
    return (
        f"loses {100 * found.estimate:.2f} points [{100 * found.low:.2f}, {100 * found.high:.2f}] against {other}, "
        f"more than the {100 * result.promise.max_loss:g} allowed: {lost} rows lost, {gained} gained of "
        f"{result.answers.rows}"
    )


def choose(results: Iterable[Result]) -> tuple[Result | None, str]:
    """The result to ship of one comparison, and why; None where not even the reference ran well.

    The fastest at batch 1 whose speed-up lies above the tolerance and above the control's interval, whose score holds
    the floor, and whose loss on the test rows is within the gate. Where none is, or where the control lies outside the
    tolerance, which makes speed invalid, the reference.
    """
    usable = [r for r in results if r.status == "ok" and r.series and not shortfalls(r)]
    reference = next((r for r in usable if r.backend == REFERENCE), None)
    valid = [r for r in usable if invalid(r.series[0]) is None]
    better = [(own_speedup(r.series[0]), r) for r in valid if r.backend != REFERENCE and _is_safe(r) and _is_faster(r)]
    if better:
        gain, best = max(better, key=lambda pair: pair[0].estimate)
        return best, f"{gain.estimate:.2f} times the reference's speed [{gain.low:.2f}, {gain.high:.2f}] at batch 1"
    if not usable:
        return None, "no backend was measured that keeps its promise"
    if not valid:
        return reference, f"speed is invalid here, {invalid(usable[0].series[0])}; measure again on a quieter machine"
    if reference is None:
        return None, f"the reference, {REFERENCE}, stays: nothing selected is faster beyond noise and within its gate"
    return reference, "nothing measured beside it is faster beyond noise and within the loss allowed"


def invalid(series: Series) -> str | None:
    """Why speed cannot be judged, if so: the reference's two workers differ beyond the tolerance."""
    noise = noise_floor(series)
    if math.isnan(noise.estimate):
        return "because the control was lost"
    if noise.low > TOLERANCE or noise.high < 1 / TOLERANCE:
        return f"because the reference differs from itself: {noise.estimate:.3f} [{noise.low:.3f}, {noise.high:.3f}]"
    return None


def _is_faster(result: Result) -> bool:
    gain, noise = own_speedup(result.series[0]), noise_floor(result.series[0])
    return gain.low > TOLERANCE and gain.low > noise.high and gain.low * noise.low > 1


def _is_safe(result: Result) -> bool:
    lost = loss(result)
    return lost is not None and result.promise is not None and lost.estimate <= result.promise.max_loss


def flat(samples: Iterable[Iterable[int]]) -> list[int]:
    """Samples of all starts in one list."""
    return list(chain.from_iterable(samples))
