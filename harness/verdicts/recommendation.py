"""The recommendation: the backend to ship, the Pareto front, and the winner of the finals."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError, Incomparable
from harness.metrics import in_points, less_is_better
from harness.results.schema import NO_CONSTRAINTS, Finalist, Finals, Result
from harness.stats.intervals import Interval, drop_interval, join_names, lead_with_bound
from harness.verdicts.accuracy import format_allowed, format_change, format_drop, lost_score, magnitude, score_drop
from harness.verdicts.comparability import check_comparable
from harness.verdicts.labels import reference_collapse
from harness.verdicts.speed import (
    TOLERANCE,
    Pace,
    agreed_pace,
    median_ms,
    noise_floor,
    own_speedup,
    own_speedups,
    why_invalid,
)
from harness.verdicts.verdict import shortfalls, verdict

SAME_MEMORY = 1.02  # resident memory within this factor counts as equal: allocators differ by more between runs


def recommend(results: Iterable[Result]) -> tuple[Result | None, str]:
    """Return the result to ship from one comparison, or None if nothing may be shipped, and the reason.

    Of those with verdict `ship` that pass their gate and meet the constraints of the run, the one with the largest
    proven speed-up; of several within the tolerance, the one with the smallest proven drop. Else the reference, if it
    passes and meets them.
    """
    measured = [result for result in results if result.status == "ok"]
    try:
        if measured:
            check_comparable(measured)
    except Incomparable as error:
        return None, f"results are not comparable: {error}"
    if problem := next(filter(None, map(reference_collapse, measured)), None):
        return None, f"{problem}, so nothing can be compared with it; check its labels, or train it otherwise"
    passing = [r for r in measured if (r.series or r.backend == REFERENCE) and not shortfalls(r)]
    broken = [f"{r.backend}: {re.split('; | .reference: ', p[0])[0]}" for r in measured if (p := shortfalls(r))]
    eligible = [result for result in passing if not list(_exceeded_limits(result))]
    shippable = [result for result in eligible if _word(result) == "ship"]
    if shippable:
        return _fastest(shippable)
    if not passing:
        return None, f"no measured backend passes its gate{_in_brackets(broken)}"
    if not eligible:
        exceeded = [f"{result.backend}: {', '.join(_exceeded_limits(result))}" for result in passing]
        return None, f"no backend meets the constraints of this run ({'; '.join(exceeded)})"
    reference = next((result for result in eligible if result.backend == REFERENCE), None)
    if reference is None:
        return (
            None,
            f"{REFERENCE}, the reference, was not measured or does not qualify, and {_why_no_other(eligible, broken)}",
        )
    return reference, _why_no_other(eligible, broken)


def may_ship(results: Sequence[Result]) -> list[Result]:
    """Return the results of one comparison that may ship: with that verdict, or the reference; none if nothing may."""
    if recommend(results)[0] is None:
        return []
    return [
        result
        for result in results
        if result.status == "ok" and result.series and (result.backend == REFERENCE or _word(result) == "ship")
        if not shortfalls(result) and not list(_exceeded_limits(result))
    ]


def last_run(group: Iterable[Result]) -> str:
    """Return the measurement of a comparison's newest results; others were kept from earlier runs."""
    return max(group, key=lambda result: result.created).measurement


def slower_batches(result: Result) -> list[str]:
    """Return a phrase for each batch but the judged one at which the backend is proven slower than the reference."""
    return [
        f"{lead_with_bound(gains[0])} at batch {series.workload.batch}"
        for series in result.series[1:]
        if why_invalid(series) is None and agreed_pace(gains := own_speedups(series)) == "slower"
    ]


def _fastest(shippable: Sequence[Result]) -> tuple[Result, str]:
    proven = [own_speedup(result.series[0]).low for result in shippable]
    close = [r for r, bound in zip(shippable, proven, strict=True) if bound * TOLERANCE >= max(proven)]
    best = min(close, key=lambda result: drop.high if (drop := score_drop(result)) else math.inf)
    gain, drop, gate = own_speedup(best.series[0]), score_drop(best), best.gate
    reason = f"{lead_with_bound(gain)} the reference's speed at batch {best.series[0].workload.batch}"
    if drop is not None and best.data is not None and gate is not None:
        metric, allowed = best.data.metric, format_allowed(gate.max_drop, best.data.metric)
        subject = metric if in_points(metric) else "score"
        reason += f", {subject} {format_drop(drop, metric)} (allowed: {allowed})"
    level = [result.backend for result in shippable if result is not best and _speed(result).high >= gain.low]
    reason += f"; {join_names(level)} may be as fast" if level else ""
    slower = slower_batches(best)
    return best, reason + (f"; but slower than the reference, {join_names(slower)}" if slower else "")


def _in_brackets(phrases: Sequence[str]) -> str:
    return f" ({'; '.join(phrases)})" if phrases else ""


def _why_no_other(eligible: Sequence[Result], broken: Sequence[str]) -> str:
    contenders = [result for result in eligible if result.backend != REFERENCE]
    if not contenders:
        constraints = "" if eligible[0].constraints == NO_CONSTRAINTS else " and meets the constraints of this run"
        if not constraints and not broken:
            return "no other backend was measured"
        return f"no other measured backend passes its gate{constraints}{_in_brackets(broken)}"
    problem = why_invalid(contenders[0].series[0])
    if problem is not None:
        return f"speed is not valid, because {problem}; measure again on a quieter machine"
    words = ", ".join(f"{result.backend}: {_word(result)}" for result in contenders)
    gate = contenders[0].gate
    aim = f"to reach min_speedup={gate.min_speedup:g}" if gate and gate.min_speedup is not None else "faster"
    aim += f" at batch {gate.batch}" if gate and gate.batch > 1 else ""
    reason = f"no other backend is proven {aim} within the allowed drop ({words})"
    return f"{reason}; these break their gate{_in_brackets(broken)}" if broken else reason


def _exceeded_limits(result: Result) -> Iterator[str]:
    """Yield every constraint of the run that the result exceeds, as a phrase."""
    latency_ms = median_ms(result.series[0].own_ns) if result.series else None
    values = {"max_latency_ms": latency_ms, "max_memory_mb": memory_mb(result), "max_size_mb": size_mb(result)}
    for name, limit in asdict(result.constraints).items():
        value = values[name]
        if limit is not None and value is not None and value > limit:
            quantity, unit = name.removeprefix("max_").rsplit("_", 1)
            yield f"{quantity} {value:.3g} {unit.replace('mb', 'MB')} exceeds {limit:g}"


def _word(result: Result) -> str | None:
    judgement = verdict(result)
    return judgement.word if judgement else None


def _speed(result: Result) -> Interval:
    """Return the speed-up at the judged batch; the reference's is 1 with the bounds of the control."""
    if result.backend == REFERENCE:
        noise = noise_floor(result.series[0])
        return Interval(1.0, min(1.0, noise.low), max(1.0, noise.high))
    return own_speedup(result.series[0])


def pareto_front(results: Iterable[Result]) -> list[Result]:
    """Return the results of one comparison that no other beats on speed, drop and memory, in the order given.

    One beats another if by estimate it is no worse in any of the three, and it is proven faster, proven more accurate,
    or needs less memory by more than SAME_MEMORY. A result without all three figures is never beaten.
    """
    measured = [r for r in results if r.status == "ok" and r.series and r.answers is not None]
    return [result for result in measured if not any(_beats(other, result) for other in measured)]


def _beats(first: Result, second: Result) -> bool:
    if first.measurement != second.measurement or why_invalid(first.series[0]) is not None:
        return False
    drop, other_drop = score_drop(first), score_drop(second)
    memory, other_memory = memory_mb(first), memory_mb(second)
    if drop is None or other_drop is None or memory is None or other_memory is None:
        return False
    speed, other_speed = _speed(first), _speed(second)
    no_worse = (
        speed.estimate >= other_speed.estimate
        and drop.estimate <= other_drop.estimate
        and memory <= other_memory * SAME_MEMORY
    )
    return no_worse and (
        speed.low > other_speed.high or drop.high < other_drop.low or memory * SAME_MEMORY < other_memory
    )


def memory_mb(result: Result) -> float | None:
    """Return the peak resident memory of the case's workers, median over launches."""
    return median(result.process.peak_rss_bytes) / 1e6 if result.process else None


def size_mb(result: Result) -> float | None:
    """Return the size of the artifact on disk."""
    return result.artifact.size_bytes / 1e6 if result.artifact else None


@dataclass(frozen=True)
class Standing:
    """An entry of the finals compared with the first entry."""

    gain: Interval
    """Speed-up, preprocessing included."""
    pace: Pace | None
    """None where speed is invalid."""
    drop: Interval
    """Score lost; for a share of rows, those that only the first answers correctly less those that only this does."""
    why_invalid: str | None


def standing(finals: Finals, entry: Finalist) -> Standing | None:
    """Compare an entry with the first; None for the first itself, and for one that was not measured."""
    first = finals.entries[0]
    if entry is first or not entry.series:
        return None
    pairs = list(zip(first.correct, entry.correct, strict=True))
    drop = drop_interval(pairs.count(("1", "0")), pairs.count(("0", "1")), len(pairs))
    if entry.drop_bounds is not None and entry.score is not None and first.score is not None:
        drop = Interval(
            lost_score(finals.metric, entry.score, first.score), entry.drop_bounds.low, entry.drop_bounds.high
        )
    problem = why_invalid(entry.series[0])
    entry_pace = agreed_pace(own_speedups(entry.series[0])) if problem is None else None
    return Standing(own_speedup(entry.series[0]), entry_pace, drop, problem)


def winner(finals: Finals) -> tuple[Finalist, str]:
    """Return the entry with the largest proven speed-up that may replace the first, else the first, and the reason."""
    if not finals.entries:
        raise HarnessError(f"{finals.task}: finals without an entry; delete the file and run the suite again")
    first, *others = finals.entries
    compared = [(entry, position) for entry in others if (position := standing(finals, entry)) is not None]
    limit = -math.inf if finals.max_drop is None else finals.max_drop
    able = [(entry, p) for entry, p in compared if p.pace == "faster" and p.drop.high < limit]
    if able:
        entry, position = max(able, key=lambda pair: pair[1].gain.low)
        return (
            entry,
            f"{_compare(entry, position, finals.metric)} than {first.model} on {first.backend}, which it may replace",
        )
    reasons = [
        f"{_compare(entry, position, finals.metric)}{_obstacle(position, finals.max_drop, finals.metric)}"
        for entry, position in compared
    ]
    return first, "; ".join(reasons) or "no other model was measured"


def _compare(entry: Finalist, position: Standing, metric: str) -> str:
    is_worse, change = position.drop.estimate >= 0, format_change(magnitude(position.drop), metric)
    score = f"has {change} {'fewer' if is_worse else 'more'} rows right"
    if entry.drop_bounds is not None:
        score = f"scores {change} {'less' if is_worse ^ less_is_better(metric) else 'more'}"
    if position.why_invalid is not None:
        return f"{entry.model} on {entry.backend} has no valid speed ({position.why_invalid}) and {score}"
    return f"{entry.model} on {entry.backend} is {lead_with_bound(position.gain)} as fast and {score}"


def _obstacle(position: Standing, max_drop: float | None, metric: str) -> str:
    """Say what keeps an entry from replacing the first."""
    if max_drop is None:
        return ", but no gate sets a max_drop"
    if position.drop.low > max_drop:
        return f", proven more than the {format_allowed(max_drop, metric)} allowed"
    if position.drop.high >= max_drop:
        return f", perhaps more than the {format_allowed(max_drop, metric)} allowed"
    return "" if position.pace in ("faster", None) else ", but is not proven faster"
