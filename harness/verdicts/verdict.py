"""The verdict on a case, and how the case breaks its gate: pure functions of a result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result
from harness.stats.intervals import format_ratio
from harness.verdicts.accuracy import counts_rows, format_drop, judge_accuracy, provable_drop, score_drops
from harness.verdicts.speed import agreed_pace, all_reach, own_speedups, why_invalid

Word = Literal["failed", "worse", "invalid", "slower", "undecided", "same", "ship"]

WORST_FIRST: tuple[Word, ...] = ("failed", "worse", "invalid", "slower", "undecided", "same", "ship")


@dataclass(frozen=True)
class Verdict:
    """One of seven words, with its reasons."""

    word: Word
    reasons: tuple[str, ...]


def verdict(result: Result) -> Verdict | None:
    """Return the worse of the verdicts on speed and accuracy.

    None for the reference, which others are compared with, and for an unsupported combination.
    """
    if result.status == "failed" and result.error is not None:
        return Verdict("failed", (f"failed at {result.error.stage}: {result.error.message}",))
    if result.backend == REFERENCE or result.status == "unsupported":
        return None
    reasons = [*_judge_speed(result), *_judge_accuracy(result)]
    worst = min((word for word, _ in reasons), key=WORST_FIRST.index)
    return Verdict(worst, tuple(reason for word, reason in reasons if word == worst))


def _judge_speed(result: Result) -> Iterator[tuple[Word, str]]:
    if not result.series:
        yield "invalid", "speed was not measured"
        return
    series = result.series[0]
    problem = why_invalid(series)
    if problem is not None:
        yield "invalid", f"speed is not valid: {problem}"
        return
    gains = own_speedups(series)
    pace = agreed_pace(gains)
    workers = zip(gains, ("the reference", "the control"), strict=False)
    against = ", ".join(f"{format_ratio(gain)} against {name}" for gain, name in workers)
    yield "ship" if pace == "faster" else pace, f"speed-up {against} (batch {series.workload.batch})"
    wanted = result.gate.min_speedup if result.gate else None
    if wanted is not None and all_reach(gains, wanted) is None:
        yield "undecided", f"speed-up {format_ratio(gains[0])} may or may not reach min_speedup={wanted:g}"


def _judge_accuracy(result: Result) -> Iterator[tuple[Word, str]]:
    answers = result.answers
    if answers is None or result.data is None:
        yield "undecided", "no predictions were scored"
    elif answers.score is None or answers.reference_score is None:
        yield "undecided", f"{result.data.metric} is undefined (NaN) on these {answers.rows} rows"
    elif result.gate is None:
        yield "undecided", "no gate sets a max_drop"
    else:
        judgement = judge_accuracy(result)
        against = " and ".join(f"{format_drop(drop)} against {name}" for name, drop in score_drops(result))
        reason = f"score {against} (allowed: {100 * result.gate.max_drop:g})"
        if counts_rows(result.data.metric):
            margin = f"{100 * provable_drop(answers):.2f} points"
            reason += f"; {answers.rows} rows with this many flips can only rule out drops above {margin}"
        yield "ship" if judgement == "not worse" else judgement, reason


def shortfalls(result: Result) -> list[str]:
    """Return every way in which the result breaks its gate; a drop or a missing speed-up only if proven."""
    if result.status == "failed" and result.error is not None:
        return [f"failed at {result.error.stage}: {result.error.message}"]
    answers, gate = result.answers, result.gate
    if answers is None or gate is None:
        return []
    problems = []
    if answers.score is not None and answers.score < gate.min_score:
        reference = "undefined" if answers.reference_score is None else f"{answers.reference_score:.4f}"
        problems.append(
            f"score {answers.score:.4f} on {answers.rows} rows is below min_score={gate.min_score:g} "
            f"(reference: {reference})"
        )
    if result.backend == REFERENCE:
        return problems
    flips = ((answers.lost, answers.gained), (answers.source_lost, answers.source_gained))
    for (name, drop), (lost, gained) in zip(score_drops(result), flips, strict=False):
        if drop.low > gate.max_drop:
            problems.append(
                f"score {format_drop(drop)} against {name}, more than the {100 * gate.max_drop:g} allowed "
                f"({lost} of {answers.rows} rows lost, {gained} gained)"
            )
            break
    if gate.min_speedup is not None and result.series and why_invalid(result.series[0]) is None:
        gains = own_speedups(result.series[0])
        if all_reach(gains, gate.min_speedup) is False:
            problems.append(f"speed-up {format_ratio(gains[0])} is below min_speedup={gate.min_speedup:g}")
    return problems
