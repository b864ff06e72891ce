"""Which backend of a comparison to ship, and which ones no other beats.

ALSO: What the finals of a task found out, and who wins them: models held against each other, each on its best backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import NamedTuple

from harness.contracts.backend import REFERENCE
from harness.errors import HarnessError, Incomparable
from harness.results.schema import Finalist, Finals, Result
from harness.stats.intervals import Interval, drop_interval, listed, points, times
from harness.verdicts.accuracy import drop
from harness.verdicts.comparability import check_comparable
from harness.verdicts.speed import Pace, agreed, flat, invalid, noise_floor, own_speedup, own_speedups
from harness.verdicts.verdict import shortfalls, verdict

SAME_MEMORY = 1.02
"""Resident memory within this factor is the same: allocators differ by more from run to run than models do by less."""


def choose(results: Iterable[Result]) -> tuple[Result | None, str]:
    """The result to ship of one comparison, and why; None where nothing may be shipped.

    The fastest with verdict `ship` that keeps its gate and the constraints of the run; else the reference, if it does.
    """
    results = list(results)
    usable = [r for r in results if r.status == "ok" and r.series and not shortfalls(r)]
    within = [r for r in usable if not list(_beyond(r))]
    shippable = [r for r in within if _word(r) == "ship"]
    if shippable:
        best = max(shippable, key=_gain)
        gain = own_speedup(best.series[0])
        why = f"{times(gain)} the reference's speed at batch 1{_price(best)}"
        level = [r.backend for r in shippable if r is not best and _speed(r)[2] >= gain.low]
        return best, why + (f", not told apart from {listed(level)}" if level else "")
    if not usable:
        return None, "no backend was measured that keeps its promise"
    if not within:
        broken = [f"{r.backend}: {', '.join(_beyond(r))}" for r in usable]
        return None, f"nothing keeps the constraints of this run ({'; '.join(broken)})"
    reference = next((r for r in within if r.backend == REFERENCE), None)
    if reference is None:
        return None, f"the reference, {REFERENCE}, was not selected or keeps no promise, and {_why_none(within)}"
    return reference, _why_none(within)


def _price(result: Result) -> str:
    """What a result that ships is known to lose, in words."""
    lost, data, promise = drop(result), result.data, result.gate
    if lost is None or data is None or promise is None:
        return ""
    return f", losing {points(lost)} of {data.metric} where {100 * promise.max_drop:g} may be lost"


def _why_none(results: Sequence[Result]) -> str:
    contenders = [r for r in results if r.backend != REFERENCE]
    if not contenders:
        return "nothing else was measured that keeps its promise"
    why = invalid(contenders[0].series[0])
    if why is not None:
        return f"speed is invalid here, because {why}; measure again on a quieter machine"
    words = ", ".join(f"{r.backend} {_word(r)}" for r in contenders)
    return f"nothing beside it is proven both faster and no worse ({words})"


def _beyond(result: Result) -> Iterator[str]:
    """Every constraint that the result breaks, in words."""
    values = {"max_latency_ms": latency_ms(result), "max_memory_mb": memory_mb(result), "max_size_mb": size_mb(result)}
    for name, limit in asdict(result.constraints).items():
        value = values[name]
        if limit is not None and value is not None and value > limit:
            what, unit = name.removeprefix("max_").rsplit("_", 1)
            yield f"{what} {value:.3g} {unit.replace('mb', 'MB')} is over {limit:g}"


def undominated(results: Iterable[Result]) -> list[Result]:
    """Those of one comparison that no other beats beyond doubt on speed, drop and memory, in the order given.

    One beats another that is no better in any of the three by estimate, if it is proven faster, proven more accurate,
    or needs less memory by more than SAME_MEMORY.
    """
    measured = [(r, _standing(r)) for r in results if r.status == "ok" and r.series and r.answers is not None]
    known = [standing for _, standing in measured if standing is not None]
    return [r for r, own in measured if own is None or not any(_beats(other, own) for other in known)]


class _Standing(NamedTuple):
    """What a result is compared by."""

    measurement: str
    valid: bool
    speed: tuple[float, float, float]
    lost: Interval
    memory: float


def _standing(result: Result) -> _Standing | None:
    """None where something is not known."""
    lost, memory = drop(result), memory_mb(result)
    if lost is None or memory is None:
        return None
    return _Standing(result.measurement, invalid(result.series[0]) is None, _speed(result), lost, memory)


def _beats(one: _Standing, other: _Standing) -> bool:
    if not one.valid or one.measurement != other.measurement:
        return False
    no_worse = (
        one.speed[1] >= other.speed[1]
        and one.lost.estimate <= other.lost.estimate
        and one.memory <= other.memory * SAME_MEMORY
    )
    better = one.speed[0] > other.speed[2] or one.lost.high < other.lost.low or one.memory * SAME_MEMORY < other.memory
    return no_worse and better


def _speed(result: Result) -> tuple[float, float, float]:
    """Low end, estimate and high end of the speed-up; the reference's are those of the control around 1."""
    if result.backend == REFERENCE:
        noise = noise_floor(result.series[0])
        return min(1.0, noise.low), 1.0, max(1.0, noise.high)
    gain = own_speedup(result.series[0])
    return gain.low, gain.estimate, gain.high


def _gain(result: Result) -> float:
    return own_speedup(result.series[0]).estimate


def _word(result: Result) -> str | None:
    found = verdict(result)
    return found.word if found else None


def latency_ms(result: Result) -> float | None:
    """Median time of a call of batch 1."""
    return median(flat(result.series[0].own_ns)) / 1e6 if result.series else None


def memory_mb(result: Result) -> float | None:
    """Largest resident memory of the case's workers: median over launches."""
    return median(result.process.peak_rss_bytes) / 1e6 if result.process else None


def vram_mb(result: Result) -> float | None:
    """Likewise, of the GPU's memory."""
    return median(result.process.peak_vram_bytes) / 1e6 if result.process and result.process.peak_vram_bytes else None


def size_mb(result: Result) -> float | None:
    """Artifact on disk."""
    return result.artifact.size_bytes / 1e6 if result.artifact else None


def recommend(results: list[Result]) -> tuple[Result | None, str]:
    """The case to ship of one comparison and why, or why none can be named."""
    measured = [result for result in results if result.status == "ok"]
    try:
        if measured:
            check_comparable(measured)
    except Incomparable as error:
        return None, f"not comparable: {error}"
    return choose(measured)


@dataclass(frozen=True)
class Standing:
    """An entry against the first."""

    gain: Interval
    """Times faster, tokenisation included."""
    pace: Pace | None
    """None where speed is invalid."""
    lost: Interval
    """Score lost; of a share of rows: those that the first has right and this one wrong, less the reverse."""
    why_invalid: str | None

    def may_replace(self, max_drop: float | None) -> bool:
        """Whether it is proven faster, and proven to lose no more than allowed."""
        return self.pace == "faster" and max_drop is not None and self.lost.high < max_drop


def standing(finals: Finals, entry: Finalist) -> Standing | None:
    """None for the first entry, and for one that was not measured."""
    first = finals.entries[0]
    if entry is first or not entry.series:
        return None
    pairs = list(zip(first.right, entry.right, strict=True))
    lost, gained = pairs.count(("1", "0")), pairs.count(("0", "1"))
    gain, why = own_speedup(entry.series[0]), invalid(entry.series[0])
    said = agreed(own_speedups(entry.series[0])) if why is None else None
    found = drop_interval(lost, gained, len(pairs))
    if entry.bounds is not None and entry.score is not None and first.score is not None:
        found = Interval(first.score - entry.score, entry.bounds.low, entry.bounds.high)
    return Standing(gain, said, found, why)


def winner(finals: Finals) -> tuple[Finalist, str]:
    """The fastest entry that may replace the first, or the first; and why, in a sentence."""
    if not finals.entries:
        raise HarnessError(f"{finals.task}: finals without an entry; delete the file and run the suite again")
    first, *others = finals.entries
    held = [(entry, found) for entry in others if (found := standing(finals, entry)) is not None]
    able = [(entry, found) for entry, found in held if found.may_replace(finals.max_drop)]
    if able:
        entry, found = max(able, key=lambda pair: pair[1].gain.estimate)
        return entry, f"{_told(entry, found)} than {first.model} on {first.backend}, which it may replace"
    told = [f"{_told(entry, found)}{_open(found, finals.max_drop)}" for entry, found in held]
    return first, "; ".join(told) or "no other model was measured"


def _told(entry: Finalist, found: Standing) -> str:
    lost = found.lost
    speed = f"{times(found.gain)} as fast" if found.why_invalid is None else f"of no valid speed ({found.why_invalid})"
    fewer = lost.estimate >= 0
    change = points(lost if fewer else Interval(-lost.estimate, -lost.high, -lost.low))
    if entry.bounds is not None:
        rows = f"scores {change} {'less' if fewer else 'more'}"
    else:
        rows = f"has {change} {'fewer' if fewer else 'more'} rows right"
    return f"{entry.model} on {entry.backend} is {speed} and {rows}"


def _open(found: Standing, max_drop: float | None) -> str:
    if max_drop is None:
        return ", and no gate says what may be lost"
    if found.lost.low > max_drop:
        return f", proven more than the {100 * max_drop:g} allowed"
    if found.lost.high >= max_drop:
        return f", which leaves open whether it loses more than the {100 * max_drop:g} allowed"
    return "" if found.pace == "faster" else ", and is not proven faster"
