"""The verdict on a case, and the ways in which it breaks its gate: pure functions of a result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result
from harness.stats.intervals import points, times
from harness.verdicts.accuracy import counts_rows, drops, judge_accuracy, provable_drop
from harness.verdicts.speed import Pace, agreed, all_reach, invalid, own_speedup, own_speedups

Word = Literal["failed", "worse", "invalid", "slower", "undecided", "same", "ship"]

WORST_FIRST: tuple[Word, ...] = ("failed", "worse", "invalid", "slower", "undecided", "same", "ship")


@dataclass(frozen=True)
class Verdict:
    """What the evidence allows, and why."""

    word: Word
    reasons: tuple[str, ...]


def verdict(result: Result) -> Verdict | None:
    """The worst of what can be said; None for the reference, which is what others are held against, and where the
    combination does not exist."""
    if result.status == "failed" and result.error is not None:
        return Verdict("failed", (f"failed at {result.error.stage}: {result.error.message}",))
    if result.backend == REFERENCE or result.status == "unsupported":
        return None
    said = [*_of_speed(result), *_of_accuracy(result)]
    worst = min((word for word, _ in said), key=WORST_FIRST.index)
    return Verdict(worst, tuple(reason for word, reason in said if word == worst))


def _of_speed(result: Result) -> Iterator[tuple[Word, str]]:
    if not result.series:
        yield "invalid", "no speed was measured"
        return
    series = result.series[0]
    why = invalid(series)
    if why is not None:
        yield "invalid", f"speed says nothing here: {why}"
        return
    words: dict[Pace, Word] = {"faster": "ship", "same": "same", "slower": "slower", "undecided": "undecided"}
    gains = own_speedups(series)
    told = ", ".join(
        f"{times(gain)} against {name}" for gain, name in zip(gains, ("the reference", "its control"), strict=False)
    )
    yield words[agreed(gains)], f"its speed-up is {told} at batch {series.workload.batch}"
    wanted = result.gate.min_speedup if result.gate else None
    if wanted is not None and all_reach(gains, wanted) is None:
        yield "undecided", f"{times(gains[0])} does not tell whether {wanted:g} is reached"


def _of_accuracy(result: Result) -> Iterator[tuple[Word, str]]:
    answers = result.answers
    if answers is None or result.data is None:
        yield "undecided", "no answers were scored"
    elif answers.score is None or answers.reference_score is None:
        yield "undecided", f"{result.data.metric} is undefined (NaN) on these {answers.rows} rows"
    elif result.gate is None:
        yield "undecided", "no gate says which drop is allowed"
    else:
        words: dict[str, Word] = {"not worse": "ship", "worse": "worse", "undecided": "undecided"}
        found = "; ".join(f"{points(interval)} against {name}" for name, interval in drops(result))
        best = f"; {answers.rows} rows can exclude {100 * provable_drop(answers):.2f} at best"
        yield (
            words[judge_accuracy(result)],
            f"loses {found} where {100 * result.gate.max_drop:g} are allowed"
            + (best if counts_rows(result.data.metric) else ""),
        )


def shortfalls(result: Result) -> list[str]:
    """Every way in which the result breaks its promise, in words; a drop or a missing speed-up only when proven."""
    if result.status == "failed" and result.error is not None:
        return [f"failed at {result.error.stage}: {result.error.message}"]
    if result.answers is None or result.gate is None:
        return []
    answers, held = result.answers, result.gate
    problems = []
    if answers.score is not None and answers.score < held.min_score:
        of_reference = "undefined" if answers.reference_score is None else f"{answers.reference_score:.4f}"
        problems.append(
            f"score {answers.score:.4f} on {answers.rows} rows is under the floor {held.min_score:g}"
            f" (the reference has {of_reference})"
        )
    if result.backend == REFERENCE:
        return problems
    for (name, found), flips in zip(drops(result), _flips(result), strict=False):
        if found.low > held.max_drop:
            problems.append(
                f"loses {points(found)} against {name}, more than the {100 * held.max_drop:g} allowed: {flips}"
            )
            break
    if held.min_speedup is not None and result.series and invalid(result.series[0]) is None:
        gain = own_speedup(result.series[0])
        if all_reach(own_speedups(result.series[0]), held.min_speedup) is False:
            problems.append(f"speed-up {times(gain)} is under the {held.min_speedup:g} asked for")
    return problems


def _flips(result: Result) -> Iterator[str]:
    assert result.answers is not None
    found = result.answers
    yield f"{found.lost} rows lost, {found.gained} gained of {found.rows}"
    yield f"{found.source_lost} rows lost, {found.source_gained} gained of {found.rows}"
