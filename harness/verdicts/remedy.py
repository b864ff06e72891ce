"""The evidence that an undecided case lacks: test rows, rounds, or what no repetition brings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.results.schema import Result
from harness.stats.intervals import Interval, drop_interval
from harness.stats.speedup import LOOKS
from harness.verdicts.accuracy import counts_rows, judge_accuracy, score_drops
from harness.verdicts.labels import reference_collapse
from harness.verdicts.speed import TOLERANCE, agreed_pace, all_reach, flatten, own_speedups, why_invalid
from harness.verdicts.verdict import verdict

MOST_ROWS = 10_000_000
NO_REPEAT = "running again will not help"


@dataclass(frozen=True)
class Remedy:
    """A way to a decision."""

    text: str
    by_repeating: bool = False
    """True if another run of the same suite may decide."""


def remedies(result: Result) -> list[Remedy]:
    """Return what an undecided or invalid case lacks for a decision; empty for every other case."""
    judgement = verdict(result)
    if judgement is None or judgement.word not in ("undecided", "invalid"):
        return []
    ways = [] if reference_collapse(result) else [*_rounds(result), *_rows(result)]
    return ways or [Remedy(NO_REPEAT)]  # what collapsed gives the same answers again


def _rows(result: Result) -> Iterator[Remedy]:
    answers, data, gate = result.answers, result.data, result.gate
    if judge_accuracy(result) != "undecided":
        return
    if answers is None or data is None or gate is None or not (drops := [drop for _, drop in score_drops(result)]):
        yield Remedy(f"a drop is judged by a defined score and a max_drop; {NO_REPEAT}")
        return
    flips = ((answers.lost, answers.gained), (answers.source_lost, answers.source_gained))
    unsure = [(d, *f) for d, f in zip(drops, flips, strict=False) if d.low <= gate.max_drop <= d.high < math.inf]
    if not unsure:
        yield Remedy(f"needs more than {answers.rows:,} test rows; {NO_REPEAT}")
        return
    counted, rows = counts_rows(data.metric), answers.rows
    needed = max(_rows_needed(drop, lost, gained, rows, gate.max_drop, counted) for drop, lost, gained in unsure)
    every, larger = sum(data.sizes.values()), math.floor(1000 * max(drop.high for drop, *_ in unsure) + 1) / 1000
    text = "no number of test rows decides a drop so close to max_drop"
    if needed < MOST_ROWS:
        reach = "its splits together hold as many" if needed <= every else f"its splits together hold {every:,}"
        text = f"needs about {needed:,} test rows instead of {rows:,}, if as many in a hundred flip ({reach})"
    yield Remedy(f"{text}, or max_drop ≥ {larger:g}; {NO_REPEAT}")


def _rows_needed(drop: Interval, lost: int, gained: int, rows: int, limit: float, counted: bool) -> int:
    """Return the fewest rows that decide a drop as large as this one; at most MOST_ROWS."""

    def is_decided(size: int) -> bool:
        share = math.sqrt(rows / size)  # by which a bootstrap's interval shrinks
        spread = Interval(
            drop.estimate,
            drop.estimate - share * (drop.estimate - drop.low),
            drop.estimate + share * (drop.high - drop.estimate),
        )
        whole = drop_interval(lost * size / rows, gained * size / rows, size) if counted else spread
        return whole.high < limit or whole.low > limit

    low, high = rows, 2 * rows
    while not is_decided(high):
        low, high = high, 2 * high
        if high > MOST_ROWS:
            return MOST_ROWS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_decided(middle) else (middle, high)
    return _rounded_up(high)


def _rounded_up(number: int) -> int:
    """Round up to two digits: an estimate has no more."""
    unit = int(10 ** max(len(str(number)) - 2, 0))
    return math.ceil(number / unit) * unit


def _rounds(result: Result) -> Iterator[Remedy]:
    if not result.series:
        yield Remedy(f"speed was not measured; {NO_REPEAT} until what prevented it is mended")
        return
    series, wanted = result.series[0], result.gate.min_speedup if result.gate else None
    if why_invalid(series) is not None:
        yield Remedy("run again on a quieter machine", by_repeating=True)
        return
    gains, rounds = own_speedups(series), len(flatten(series.own_ns))
    limits = [1 / TOLERANCE, TOLERANCE] if agreed_pace(gains) == "undecided" else []
    limits += [wanted] if wanted is not None and all_reach(gains, wanted) is None else []
    if not limits:
        return
    excess = max(_excess(gain, limit) for gain in gains for limit in limits)
    needed = _rounded_up(math.ceil(rounds * min(excess, 1e3) ** 2))
    if excess <= 1:
        yield Remedy("the reference's two workers disagree; run again on a quieter machine", by_repeating=True)
    elif excess == math.inf:
        few = f"{rounds} rounds in {len(series.own_ns)} launch(es) give no interval"
        yield Remedy(f"{few}; run again with more of them (--ship-launches, --ship-budget)", by_repeating=True)
    elif needed <= LOOKS[-1]:
        yield Remedy(f"needs about {needed} rounds instead of {rounds}; run again, longer (--ship-budget)", True)
    else:
        text = f"needs about {needed:,} rounds instead of {rounds}, and a comparison has at most {LOOKS[-1]}"
        yield Remedy(f"{text}; {NO_REPEAT}, unless on a quieter machine")


def _excess(gain: Interval, limit: float) -> float:
    """Return how many times too wide the interval is to leave out the limit; at most 1 if it does."""
    if gain.low <= 0 or gain.high == math.inf:
        return math.inf
    distance = math.log(gain.estimate / limit)
    half = math.log(gain.estimate / gain.low) if distance > 0 else math.log(gain.high / gain.estimate)
    return half / max(abs(distance), 1e-9)
