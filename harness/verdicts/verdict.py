"""The verdict on a case, and how the case breaks its gate: pure functions of a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.contracts.backend import REFERENCE
from harness.metrics import in_points
from harness.results.schema import Answers, Result
from harness.spec import Gate
from harness.stats.intervals import Interval, format_bounds, format_ratio
from harness.verdicts.accuracy import (
    counts_rows,
    format_allowed,
    format_drop,
    judge_accuracy,
    provable_drop,
    score_drops,
    score_interval,
)
from harness.verdicts.labels import own_collapse, reference_collapse, worse_labels
from harness.verdicts.speed import agreed_pace, all_reach, own_speedups, why_invalid

Word = Literal["failed", "worse", "below", "invalid", "slower", "undecided", "same", "ship"]

WORST_FIRST: tuple[Word, ...] = ("failed", "worse", "below", "invalid", "slower", "undecided", "same", "ship")
"""A case that breaks its gate is failed, worse (max_drop) or below (min_score or max_score, min_speedup), and never
ships."""


@dataclass(frozen=True)
class Verdict:
    """One of eight words, with its reasons."""

    word: Word
    reasons: tuple[str, ...]


def verdict(result: Result) -> Verdict | None:
    """Return the worst of the verdicts on speed, accuracy and the other limits of the gate.

    None for the reference, which others are compared with, and for an unsupported combination.
    """
    if result.status == "failed" and result.error is not None:
        return Verdict("failed", (f"failed at {result.error.stage}: {result.error.message}",))
    if result.backend == REFERENCE or result.status == "unsupported":
        return None
    below = [(word, text) for word, text in _broken_limits(result) if word == "below"]
    if problem := reference_collapse(result):
        return Verdict("invalid", (f"{problem}, so a drop against it means nothing", *(text for _, text in below)))
    labels = list(_judge_labels(result))
    reasons = [*_judge_speed(result), *_judge_accuracy(result), *labels, *below]
    worst = min((word for word, _ in reasons), key=WORST_FIRST.index)
    # Labels that are never answered are named whatever the word.
    return Verdict(worst, tuple(text for word, text in reasons if word == worst or (word, text) in labels))


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
    yield "ship" if pace == "faster" else pace, f"speed-up {_both_workers(gains)} (batch {series.workload.batch})"
    wanted = result.gate.min_speedup if result.gate else None
    if wanted is not None and all_reach(gains, wanted) is None:
        yield "undecided", f"speed-up {_both_workers(gains)} may or may not reach min_speedup={wanted:g}"


def _both_workers(gains: Sequence[Interval]) -> str:
    """Write the speed-ups against both workers of the reference: a claim must hold against each of them."""
    workers = zip(gains, ("the reference", "the control"), strict=False)
    return ", ".join(f"{format_ratio(gain)} against {name}" for gain, name in workers)


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
        metric = result.data.metric
        against = " and ".join(f"{format_drop(drop, metric)} against {name}" for name, drop in score_drops(result))
        reason = f"score {against} (allowed: {format_allowed(result.gate.max_drop, metric)})"
        if counts_rows(metric):
            margin = f"{100 * provable_drop(answers):.2f} points"
            reason += f"; {answers.rows} rows with this many flips can only rule out drops above {margin}"
        yield "ship" if judgement == "not worse" else judgement, reason


def _judge_labels(result: Result) -> Iterator[tuple[Word, str]]:
    """Yield the labels whose recall is proven to drop too far, and what this backend never answers, proven or not."""
    worse, collapse = worse_labels(result), own_collapse(result.answers)
    yield from (("worse", text) for text in worse)
    if collapse and result.answers:
        is_proven = worse or (result.gate and result.answers.constant == "output")
        yield "worse" if is_proven else "undecided", f"this backend {collapse}"


def shortfalls(result: Result) -> list[str]:
    """Return every way in which the result breaks its gate; a drop or a missing speed-up only if proven."""
    if result.status == "failed" and result.error is not None:
        return [f"failed at {result.error.stage}: {result.error.message}"]
    return [text for _, text in _broken_limits(result)]


def _broken_limits(result: Result) -> Iterator[tuple[Word, str]]:
    """Yield every limit of the gate that a measured result breaks, with the word that it calls for."""
    answers, gate = result.answers, result.gate
    if answers is None or gate is None:
        return
    if answers.score is not None and not gate.admits(answers.score):
        yield "below", _poor_score(result, answers, gate)
    if result.backend == REFERENCE:
        return
    metric = result.data.metric if result.data else ""
    flips = ((answers.lost, answers.gained), (answers.source_lost, answers.source_gained))
    drops = [] if reference_collapse(result) else zip(score_drops(result), flips, strict=False)
    for (name, drop), (lost, gained) in drops:
        if drop.low > gate.max_drop:
            allowed = f"more than the {format_allowed(gate.max_drop, metric)} allowed"
            rows = f" ({lost} of {answers.rows} rows lost, {gained} gained)" if in_points(metric) else ""
            yield "worse", f"score {format_drop(drop, metric)} against {name}, {allowed}{rows}"
            break
    if not reference_collapse(result):
        yield from ((word, text) for word, text in _judge_labels(result) if word == "worse")
    if gate.min_speedup is not None and result.series and why_invalid(result.series[0]) is None:
        gains = own_speedups(result.series[0])
        if all_reach(gains, gate.min_speedup) is False:
            limit = f"min_speedup={gate.min_speedup:g} (batch {result.series[0].workload.batch})"
            yield "below", f"speed-up {_both_workers(gains)} is below {limit}"


def _poor_score(result: Result, answers: Answers, gate: Gate) -> str:
    """Say that the score is beyond its limit, and whether its interval would reach it, which takes it without one."""
    reference = "undefined" if answers.reference_score is None else f"{answers.reference_score:.4f}"
    side, name = ("below", "min_score") if gate.max_score is None else ("above", "max_score")
    text = f"score {answers.score:.4f} on {answers.rows} rows is {side} {gate.limit} (reference: {reference})"
    interval = score_interval(result)
    if interval is None or not gate.admits(interval.high if gate.max_score is None else interval.low):
        return text
    bounds = format_bounds(interval.low, interval.high, 4)
    return f"{text}; its 95 % interval {bounds} includes {name}, which is held against the score itself"
