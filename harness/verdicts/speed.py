"""The speed rule: ratios to the reference from stored rounds, their intervals, and what they prove."""

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
from harness.stats.speedup import Claim, PerLaunch, precompute, speedup

TOLERANCE = 1.02  # a speed-up within this factor of 1 is no difference

Pace = Literal["faster", "same", "slower", "undecided"]


def own_speedup(series: Series) -> Interval:
    """Return the backend's speed-up against the reference."""
    return speedup(series.reference_ns, series.own_ns, series.control_ns, series.arms)


def own_speedups(series: Series) -> tuple[Interval, ...]:
    """Return the backend's speed-ups against the reference and against the control."""
    return tuple(paired_speedups(series.reference_ns, series.own_ns, series.control_ns, series.arms))


def paired_speedups(reference_ns: PerLaunch, own_ns: PerLaunch, control_ns: PerLaunch, arms: int) -> list[Interval]:
    """Return the speed-up against each of the reference's two workers; a claim about speed must hold against both.

    One of them may be unlucky in every launch, which the spread between launches does not show.
    """
    gains = [speedup(reference_ns, own_ns, control_ns, arms)]
    if control_ns:
        gains.append(speedup(control_ns, own_ns, reference_ns, arms))
    return gains


def speedup_over(other: Series, series: Series) -> Interval:
    """Return the speed-up of `series` over another backend of the same rounds."""
    return speedup(other.own_ns, series.own_ns, series.reference_ns, series.arms)


def noise_floor(series: Series) -> Interval:
    """Return the control's speed-up against the reference: 1 on a quiet machine; NaN without a control."""
    return speedup(*_noise_claim(series)) if series.control_ns else Interval(math.nan, -math.inf, math.inf)


def _noise_claim(series: Series) -> Claim:
    """Return the claim about the control; the reference's own result has no third worker to estimate spreads with."""
    third_ns = series.own_ns if series.own_ns != series.reference_ns else ()
    return Claim(series.reference_ns, series.control_ns, third_ns, series.arms)


def precompute_speedups(results: Iterable[Result]) -> None:
    """Compute all intervals of the results at once, which is faster than one by one; later calls find them cached."""
    precompute(claim for result in results for series in result.series for claim in _claims(series))


def _claims(series: Series) -> Iterator[Claim]:
    yield Claim(series.reference_ns, series.own_ns, series.control_ns, series.arms)
    if series.control_ns:
        yield _noise_claim(series)
        yield Claim(series.control_ns, series.own_ns, series.reference_ns, series.arms)


def launch_spread(series: Series) -> float | None:
    """Return the standard deviation of the speed-up between launches, as a share; None for one launch."""
    medians = [
        median(math.log(reference / own) for reference, own in zip(*launch, strict=True))
        for launch in zip(series.reference_ns, series.own_ns, strict=True)
    ]
    return float(np.std(medians, ddof=1)) if len(medians) > 1 else None


def pace(gain: Interval, factor: float = 1.0) -> Pace:
    """Compare a speed-up with `factor`, up to the tolerance; decided only if the whole interval agrees."""
    if gain.low > factor * TOLERANCE:
        return "faster"
    if gain.high < factor / TOLERANCE:
        return "slower"
    return "same" if gain.low >= factor / TOLERANCE and gain.high <= factor * TOLERANCE else "undecided"


def agreed_pace(gains: Sequence[Interval]) -> Pace:
    """Return the pace of all speed-ups; `undecided` where they disagree."""
    paces = {pace(gain) for gain in gains}
    return paces.pop() if len(paces) == 1 else "undecided"


def all_reach(gains: Sequence[Interval], factor: float) -> bool | None:
    """Return whether every speed-up is at least `factor`; None where an interval contains it or they disagree."""
    if all(gain.low >= factor for gain in gains):
        return True
    return False if all(gain.high < factor for gain in gains) else None


def is_decided(gains: Sequence[Interval], min_speedup: float | None) -> bool:
    """Return whether the pace, and `min_speedup` if the gate has one, are decided."""
    return agreed_pace(gains) != "undecided" and (min_speedup is None or all_reach(gains, min_speedup) is not None)


def is_settled(samples: Samples, reference: str, min_speedups: Mapping[str, float | None]) -> bool:
    """Return whether measuring may stop: every surviving arm of `min_speedups` is decided.

    Or the control lies outside the tolerance: more rounds would not make speed valid.
    """
    rounds = list(map(len, samples.ns[reference]))
    whole = {name: ns for name, ns in samples.ns.items() if list(map(len, ns)) == rounds}
    contenders = [name for name in min_speedups if name in whole]
    control, arms = whole.get(CONTROL, ()), len(contenders)
    return all(
        is_decided(paired_speedups(whole[reference], whole[name], control, arms), min_speedups[name])
        or (control and pace(speedup(whole[reference], control, whole[name], arms)) in ("faster", "slower"))
        for name in contenders
    )


def why_invalid(series: Series) -> str | None:
    """Say why speed cannot be judged; None if it can. The control must not differ from the reference."""
    noise = noise_floor(series)
    if math.isnan(noise.estimate):
        return "the control was lost"
    if pace(noise) in ("faster", "slower"):
        return f"the reference differs from itself: {noise.estimate:.3f} [{noise.low:.3f}, {noise.high:.3f}]"
    return None


def break_even(result: Result) -> float | None:
    """Return the requests of the judged batch after which a slower startup has paid for itself; None if not measured.

    Infinite if the backend answers no faster; else zero if it starts no later.
    """
    if result.process is None or result.reference_process is None or not result.series:
        return None
    later_ms = startup_ms(result.process) - startup_ms(result.reference_process)
    saved_ms = median_ms(result.series[0].reference_ns) - median_ms(result.series[0].own_ns)
    return max(0, math.ceil(later_ms / saved_ms)) if saved_ms > 0 else math.inf


def startup_ms(process: Process) -> float:
    """Return the time from a fresh interpreter to the first answer: median over launches."""
    phases = zip(process.import_ns, process.load_ns, process.compile_ns, process.first_ns, strict=True)
    return median(map(sum, phases)) / 1e6


def median_ms(samples: Iterable[Iterable[int]]) -> float:
    """Return the median over all rounds of all launches."""
    return median(flatten(samples)) / 1e6


def flatten(samples: Iterable[Iterable[int]]) -> list[int]:
    """Return the samples of all launches in one list."""
    return list(chain.from_iterable(samples))
