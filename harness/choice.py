"""Which backend of a comparison to ship, and which ones no other beats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from statistics import median

from harness.contracts import REFERENCE
from harness.judge import shortfalls, verdict
from harness.loss import loss
from harness.phrases import times
from harness.schema import Result
from harness.speed import flat, invalid, noise_floor, own_speedup

SAME_MEMORY = 1.02
"""Resident memory within this factor is the same: allocators differ by more from run to run than models do by less."""


def choose(results: Iterable[Result]) -> tuple[Result | None, str]:
    """The result to ship of one comparison, and why; None where nothing may be shipped.

    The fastest with verdict `ship` that keeps its gate and the constraints of the run; else the reference, if it does.
    """
    results = list(results)
    usable = [r for r in results if r.status == "ok" and r.series and not shortfalls(r)]
    within = [r for r in usable if not list(_beyond(r))]
    best = max((r for r in within if _word(r) == "ship"), key=_gain, default=None)
    if best is not None:
        gain = own_speedup(best.series[0])
        why = f"{times(gain)} the reference's speed at batch 1"
        level = [r.backend for r in within if r is not best and _word(r) == "ship" and _speed(r)[2] >= gain.low]
        return best, why + (f", not told apart from {' and '.join(level)}" if level else "")
    if not usable:
        return None, "no backend was measured that keeps its promise"
    if not within:
        broken = [f"{r.backend}: {', '.join(_beyond(r))}" for r in usable]
        return None, f"nothing keeps the constraints of this run ({'; '.join(broken)})"
    reference = next((r for r in within if r.backend == REFERENCE), None)
    if reference is None:
        return None, f"the reference, {REFERENCE}, was not selected or keeps no promise, and {_why_none(within)}"
    return reference, _why_none(within)


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
    """Those of one comparison that no other beats beyond doubt on speed, loss and memory, in the order given.

    One beats another that is no better in any of the three by estimate, if it is proven faster, proven more accurate,
    or needs less memory by more than SAME_MEMORY.
    """
    measured = [r for r in results if r.status == "ok" and r.series and r.answers is not None]
    return [r for r in measured if not any(_beats(other, r) for other in measured if other is not r)]


def _beats(one: Result, other: Result) -> bool:
    if invalid(one.series[0]) is not None or one.measurement != other.measurement:
        return False
    lost, others_lost = loss(one), loss(other)
    memory, others_memory = memory_mb(one), memory_mb(other)
    if lost is None or others_lost is None or memory is None or others_memory is None:
        return False
    speed, others_speed = _speed(one), _speed(other)
    no_worse = (
        speed[1] >= others_speed[1] and lost.estimate <= others_lost.estimate and memory <= others_memory * SAME_MEMORY
    )
    better = speed[0] > others_speed[2] or lost.high < others_lost.low or memory * SAME_MEMORY < others_memory
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
    """Largest resident memory of the case's workers: median over starts."""
    return median(result.process.peak_rss_bytes) / 1e6 if result.process else None


def size_mb(result: Result) -> float | None:
    """Artifact on disk."""
    return result.artifact.size_bytes / 1e6 if result.artifact else None
