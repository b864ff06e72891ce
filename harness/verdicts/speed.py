"""What the stored rounds say of speed: ratios to the reference, their intervals, and what they allow to be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from statistics import median
from typing import Literal

import numpy as np

from harness.contracts.backend import CONTROL
from harness.measure.samples import Samples
from harness.results.schema import Process, Result, Series
from harness.stats.intervals import Interval
from harness.stats.speedup import Claim, PerLaunch, foresee, speedup

TOLERANCE = 1.02
"""A speed-up within this factor of 1 is no difference."""

Pace = Literal["faster", "same", "slower", "undecided"]


def own_speedup(series: Series) -> Interval:
    """Of the case's backend."""
    return speedup(series.reference_ns, series.own_ns, series.control_ns, series.arms)


def against(other: Series, series: Series) -> Interval:
    """Of the case's backend, to another than the reference that was measured in the same rounds."""
    return speedup(other.own_ns, series.own_ns, series.reference_ns, series.arms)


def noise_floor(series: Series) -> Interval:
    """Of the control, a second worker of the reference, as if it were a contender: 1 on a quiet machine."""
    if not series.control_ns:
        return Interval(math.nan, -math.inf, math.inf)
    return speedup(series.reference_ns, series.control_ns, _beside_control(series), series.arms)


def _beside_control(series: Series) -> PerLaunch:
    """In the reference's own result there is no third worker to know the spread between launches by."""
    return series.own_ns if series.own_ns != series.reference_ns else ()


def foresee_all(results: Iterable[Result]) -> None:
    """Work out at once what tables will ask of the results, one by one."""
    foresee(claim for result in results for series in result.series for claim in _claims(series))


def _claims(series: Series) -> Iterator[Claim]:
    yield Claim(series.reference_ns, series.own_ns, series.control_ns, series.arms)
    if series.control_ns:
        yield Claim(series.reference_ns, series.control_ns, _beside_control(series), series.arms)
        yield Claim(series.control_ns, series.own_ns, series.reference_ns, series.arms)


def launches_differ_by(series: Series) -> float | None:
    """How far launches of the same worker lie apart: standard deviation of their speed-ups, as a share; None of one."""
    medians = [
        median(math.log(reference / own) for reference, own in zip(*launch, strict=True))
        for launch in zip(series.reference_ns, series.own_ns, strict=True)
    ]
    return float(np.std(medians, ddof=1)) if len(medians) > 1 else None


def pace(found: Interval, factor: float = 1.0) -> Pace:
    """How a speed-up stands to `factor`, up to the tolerance; only if the whole interval says so."""
    if found.low > factor * TOLERANCE:
        return "faster"
    if found.high < factor / TOLERANCE:
        return "slower"
    return "same" if found.low >= factor / TOLERANCE and found.high <= factor * TOLERANCE else "undecided"


def reaches(found: Interval, factor: float) -> bool | None:
    """Whether a speed-up is at least `factor`; None where its interval holds both."""
    return True if found.low >= factor else False if found.high < factor else None


def both(reference_ns: PerLaunch, own_ns: PerLaunch, control_ns: PerLaunch, arms: int) -> list[Interval]:
    """The speed-up against each of the reference's two workers: what is claimed of speed must hold against either.

    One of them may be unlucky in every launch, which no spread between launches tells.
    """
    gains = [speedup(reference_ns, own_ns, control_ns, arms)]
    if control_ns:
        gains.append(speedup(control_ns, own_ns, reference_ns, arms))
    return gains


def own_speedups(series: Series) -> tuple[Interval, ...]:
    """`both` of a result's series."""
    return tuple(both(series.reference_ns, series.own_ns, series.control_ns, series.arms))


def agreed(gains: Sequence[Interval]) -> Pace:
    """What all of them say; `undecided` where they do not say the same."""
    paces = {pace(gain) for gain in gains}
    return paces.pop() if len(paces) == 1 else "undecided"


def all_reach(gains: Sequence[Interval], factor: float) -> bool | None:
    """Likewise, of a smallest speed-up."""
    reached = {reaches(gain, factor) for gain in gains}
    return reached.pop() if len(reached) == 1 else None


def is_decided(gains: Sequence[Interval], min_speedup: float | None) -> bool:
    """Whether more rounds could change nothing of what is asked."""
    known = min_speedup is None or all_reach(gains, min_speedup) is not None
    return known and agreed(gains) != "undecided"


def is_settled(samples: Samples, reference: str, wanted: Mapping[str, float | None]) -> bool:
    """Whether every arm named in `wanted` that is still there is decided, and its smallest speed-up with it.

    Or the control lies outside the tolerance: more rounds would not make speed valid.
    """
    rounds = list(map(len, samples.ns[reference]))
    whole = {name: ns for name, ns in samples.ns.items() if list(map(len, ns)) == rounds}
    contenders = [name for name in wanted if name in whole]
    control, arms = whole.get(CONTROL, ()), len(contenders)
    return all(
        is_decided(both(whole[reference], whole[name], control, arms), wanted[name])
        or (control and pace(speedup(whole[reference], control, whole[name], arms)) in ("faster", "slower"))
        for name in contenders
    )


def invalid(series: Series) -> str | None:
    """Why speed cannot be judged, if so: the reference's two workers differ beyond the tolerance."""
    noise = noise_floor(series)
    if math.isnan(noise.estimate):
        return "the control was lost"
    if pace(noise) in ("faster", "slower"):
        return f"the reference differs from itself: {noise.estimate:.3f} [{noise.low:.3f}, {noise.high:.3f}]"
    return None


def break_even(result: Result) -> float | None:
    """Requests at batch 1 after which a slower launch has paid for itself, against the reference of the same launches.

    Infinite if it answers no faster; else zero if it starts no later; None where nothing was measured. Starting is
    everything up to the first answer.
    """
    found = _later_and_saved(result)
    if found is None:
        return None
    later_ms, saved_ms = found
    return max(0, math.ceil(later_ms / saved_ms)) if saved_ms > 0 else math.inf


def lead(result: Result) -> float | None:
    """Requests that a backend is ahead for which starts earlier than the reference and answers no faster.

    None of any other.
    """
    found = _later_and_saved(result)
    if found is None or found[0] >= 0 or found[1] > 0:
        return None
    later_ms, saved_ms = found
    return math.floor(later_ms / saved_ms) if saved_ms else math.inf


def _later_and_saved(result: Result) -> tuple[float, float] | None:
    """By how much later than the reference it starts, and what it saves a request; None where it was not measured."""
    if result.process is None or result.reference_process is None or not result.series:
        return None
    own_ms, reference_ms = (median(flat(ns)) / 1e6 for ns in (result.series[0].own_ns, result.series[0].reference_ns))
    return startup_ms(result.process) - startup_ms(result.reference_process), reference_ms - own_ms


def startup_ms(process: Process) -> float:
    """From a fresh interpreter to the first answer: median over launches."""
    phases = zip(process.import_ns, process.load_ns, process.compile_ns, process.first_ns, strict=True)
    return median(map(sum, phases)) / 1e6


def flat(samples: Iterable[Iterable[int]]) -> list[int]:
    """Samples of all launches in one list."""
    return list(chain.from_iterable(samples))
