"""Changes between stored runs and today's: in the speed-up, and in which rows are correct.

Ratios to the reference are compared, never milliseconds. `harness.verdicts.comparability` says which runs may be.

A run's speed-up differs from the next run's by more than its own rounds can show: other processes, other pages of
memory, another day. So the intervals of both sides are widened by the spread between runs before they are compared.
With a stored and b of today's runs, whose log speed-ups have the standard deviation s, the difference of the two means
lies within t(a + b - 2) · s · √(1/a + 1/b) if nothing changed. With one run today that is the prediction interval of a
new observation, with a - 1 degrees of freedom (Hahn and Meeker, Statistical Intervals, chapter 4).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from statistics import median, stdev
from typing import Literal

from scipy.stats import t

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result, Series
from harness.stats.intervals import Interval, drop_interval, format_ratio
from harness.util import text
from harness.util.machine import Environment
from harness.verdicts.accuracy import counts_rows
from harness.verdicts.comparability import StoredRuns, differences, environment_differences, series_length_difference
from harness.verdicts.speed import TOLERANCE, own_speedup, why_invalid

ENOUGH = 5  # stored runs needed for a word; with fewer, the spread between runs is not known well enough
CONFIDENCE = 0.98
"""Confidence of the widening: one per cent to either side. With the runs' own widths and the tolerance on top, 160,000
simulated comparisons of unchanged cases in eights, 5 to 15 stored runs, gave one false regression in 10,000 where
spreads lie between 0.2 and 2.8 %, and five where they lie between 0.5 and 5 %. At a spread of 2 %, times 15 % longer
were detected by 5 stored runs in 78 of 100 cases, by 8 in 95, by 10 in 98."""
WITHIN = 1.15  # `unchanged` excludes a change by this factor; a smaller one takes dozens of runs to exclude
CORRECT_ROWS = "correct rows"
Word = Literal["regressed", "improved", "unchanged", "undecided", "not comparable"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A case in one aspect, today against its stored runs."""

    case: str
    aspect: str = ""
    """`batch 1`, …, `correct rows`; empty for the case as a whole."""
    word: Word = "undecided"
    why: str = ""
    runs: int = 0
    """Stored runs that were compared."""
    stored: Interval | None = None
    """Speed-up, widened by the spread between runs; for few incomparable runs, that of the last one."""
    today: Interval | None = None
    change: Interval | None = None
    """For a speed-up, today's over the stored one; for correct rows, the share gained (each end one-sided 95 %)."""
    judged: bool = True
    """True if gates depend on it: they do on the first workload and on counted rows."""

    @property
    def is_open(self) -> bool:
        """True if the case must be measured again for an answer."""
        return self.judged and self.word in ("undecided", "not comparable")

    @property
    def by_repeating(self) -> bool:
        """True if another run today may decide it; rows stay the same, and stored runs must be enough."""
        return self.word == "undecided" and self.aspect != CORRECT_ROWS and self.runs >= ENOUGH


def find_changes(stored: StoredRuns, today: StoredRuns) -> list[Change]:
    """Compare every case of today's with its stored runs: the speed-up of each workload, then the correct rows."""
    return [change for runs in today.values() for change in _case_changes(stored, today, runs)]


def left_out(stored: StoredRuns, today: StoredRuns) -> Iterator[str]:
    """Yield a sentence for stored runs that could not be used, with the reason, and for stored cases not run today."""
    cases: dict[str, list[str]] = {}
    for name, runs in today.items():
        before = _earlier_runs(stored, runs)
        reasons = Counter("; ".join(differences(old, runs[-1])) or why_no_speed(old, old.series) for old in before)
        for why, number in reasons.items():
            if why:
                cases.setdefault(f"{number} of {len(before)} stored runs cannot be used: {why}", []).append(name)
    yield from (f"{', '.join(names)}: {sentence}" for sentence, names in cases.items())
    yield from (f"{name} has stored runs and was not run today" for name in stored if name not in today)


def typical_spread(runs: StoredRuns, here: Environment) -> float:
    """Return the median, over cases and workloads, of the spread between an environment's runs; 0 if all have few."""
    speedups: dict[tuple[str, int], list[Interval]] = {}
    for result in chain.from_iterable(runs.values()):
        if result.backend != REFERENCE and not environment_differences(result.environment, here):
            for series in result.series:
                if speedup := _valid_speedup(series):
                    speedups.setdefault((result.name, series.workload.batch), []).append(speedup)
    return median([spread(gains) for gains in speedups.values() if len(gains) >= ENOUGH] or [0.0])


def _case_changes(stored: StoredRuns, today: StoredRuns, runs: Sequence[Result]) -> Iterator[Change]:
    newest = runs[-1]
    before = _earlier_runs(stored, runs)
    old, new = _comparable(before, newest), _comparable(runs, newest)
    timed = newest.series if newest.error is None and newest.backend != REFERENCE else ()  # the reference's is 1
    if not before:
        why = "its stored run is the same measurement" if newest.name in stored else "it has no stored run"
        yield Change(case=newest.name, word="not comparable", why=why, judged=False)
    elif not old:
        yield from _incomparable_changes(stored, before, new, timed)
    elif newest.error is not None:
        worked = sum(result.status == "ok" for result in old)
        ending = f"{newest.status} at {newest.error.stage}: {newest.error.message}"
        why = f"{ending}; {worked} of {len(old)} stored runs did not"
        yield Change(case=newest.name, word="regressed" if worked else "unchanged", why=why, runs=len(old))
    else:
        typical = max(typical_spread(side, newest.environment) for side in (stored, today))
        yield from (_workload_change(old, new, series, typical) for series in timed)
        yield from _row_changes(old, new)


def _incomparable_changes(
    stored: StoredRuns, before: Sequence[Result], new: Sequence[Result], timed: Sequence[Series]
) -> Iterator[Change]:
    """Show incomparable runs side by side, with the fields that differ: two machines, two versions of a runtime.

    The word stays `not comparable`, for the cause of a difference is unknown. If enough runs of one environment are
    stored, the reason says whether the speed-ups differ by more than runs do; if the test rows are the same, whether
    the answers do.
    """
    newest, latest = new[-1], before[-1]
    fields = min((differences(result, newest) for result in before), key=len)
    why = f"{len(before)} stored: {'; '.join(fields)}"
    old, typical = _comparable(before, latest), typical_spread(stored, latest.environment)
    for series in timed:
        change = _workload_change(old, new, series, typical)
        if change.change and change.runs >= ENOUGH:
            change = replace(change, why=f"{why}; {change.why}")
        else:
            last = next((_valid_speedup(s) for s in latest.series if s.workload.batch == series.workload.batch), None)
            change = replace(change, stored=last, today=_valid_speedup(series), change=None, why=why)
        yield replace(change, word="not comparable", runs=len(before))
    if not timed:
        yield Change(case=newest.name, word="not comparable", why=why, runs=len(before))
    if latest.data and newest.data and latest.data.sha256.get("test") == newest.data.sha256.get("test"):
        for change in _row_changes(old, new):
            yield replace(change, word="not comparable", why=f"{why}; {change.why}", judged=False)


def _workload_change(old: Sequence[Result], new: Sequence[Result], latest: Series, typical: float) -> Change:
    change = Change(case=new[-1].name, aspect=f"batch {latest.workload.batch}", judged=latest is new[-1].series[0])
    before, now = ([s for run in side for s in run.series if s.workload == latest.workload] for side in (old, new))
    if why := series_length_difference(before, latest):
        return replace(change, word="not comparable", why=why)
    stored, today = ([gain for s in side if (gain := _valid_speedup(s))] for side in (before, now))
    change = replace(change, runs=len(stored))
    if not stored:
        return replace(change, why=f"0 stored runs of this workload; {ENOUGH} are needed")
    if not today:
        return replace(change, why=f"today's speed-up is not valid: {why_invalid(latest)}")
    return compare_speed(change, stored, today, typical)


def _row_changes(old: Sequence[Result], new: Sequence[Result]) -> Iterator[Change]:
    """Yield the change in correct rows, held to the gate's max_drop. Rows are paired, so one stored run is enough."""
    newest, gate = new[-1], new[-1].gate or old[-1].gate
    before, now = ({run.answers.correct for run in side if run.answers} for side in (old, new))
    if gate and before and now:
        metric = newest.data.metric if newest.data else ""
        change = Change(case=newest.name, aspect=CORRECT_ROWS, runs=len(old))
        if counts_rows(metric):
            yield compare_rows(change, before, now, gate.max_drop)
        else:
            why = f"{metric} does not count rows, and stored runs say only which rows are wholly correct"
            yield replace(change, why=why, judged=False)


def _earlier_runs(stored: StoredRuns, today: Sequence[Result]) -> list[Result]:
    """Return a case's stored runs without those of today: a run is never compared with itself."""
    measurements = {result.measurement for result in today}
    return [result for result in stored.get(today[-1].name, ()) if result.measurement not in measurements]


def _comparable(results: Sequence[Result], to: Result) -> list[Result]:
    return [result for result in results if not differences(result, to)]


def _valid_speedup(series: Series) -> Interval | None:
    return own_speedup(series) if why_invalid(series) is None else None


def why_no_speed(result: Result, series: Sequence[Series]) -> str:
    """Return the reason why the first of a result's series has no valid speed; empty if it has one."""
    if result.error is not None:
        return f"{result.status} at {result.error.stage}"
    return (why_invalid(series[0]) or "") if series else "no speed was measured"


def spread(runs: Sequence[Interval]) -> float:
    """Return the standard deviation (n - 1) between the log speed-ups of runs; 0 for a single run."""
    return stdev(math.log(run.estimate) for run in runs) if len(runs) > 1 else 0.0


def compare_speed(change: Change, stored: Sequence[Interval], today: Sequence[Interval], typical: float) -> Change:
    """Fill in the change from stored speed-ups to today's; neither may be empty.

    `typical` is the spread of other cases in the same environment (a standard deviation of logs). The largest of the
    three spreads counts: five runs that happen to lie close together are trusted no more than their neighbours.
    """
    freedom, widening = len(stored) + len(today) - 2, 0.0
    if freedom > 0:
        largest = max(spread(stored), spread(today), typical)
        widening = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * largest * math.sqrt(1 / len(stored) + 1 / len(today))
    share = len(today) / (len(stored) + len(today))  # of the variance of the difference, that of the stored mean
    before, now = _log_mean(stored, widening * share), _log_mean(today, widening * (1 - share))
    ratio = Interval(now.estimate - before.estimate, now.low - before.high, now.high - before.low)
    if not freedom:  # each run has its own interval, and the spread between runs is unknown
        ratio = Interval(ratio.estimate, -math.inf, math.inf)
    word, why = _judge_speed(ratio, len(stored))
    return replace(change, word=word, why=why, stored=_exp(before), today=_exp(now), change=_exp(ratio))


def _log_mean(runs: Sequence[Interval], widening: float) -> Interval:
    """Return the mean of log speed-ups; the runs' own widths are independent, so they add as a root of squares."""
    n = len(runs)
    centre = sum(math.log(run.estimate) for run in runs) / n
    down = math.hypot(*(math.log(run.estimate / run.low) if run.low > 0 else math.inf for run in runs)) / n
    up = math.hypot(*(math.log(run.high / run.estimate) for run in runs)) / n
    return Interval(centre, centre - down - widening, centre + up + widening)


def _judge_speed(ratio: Interval, runs: int) -> tuple[Word, str]:
    """Return the word for a ratio in logs, and the reason."""
    tolerance, within = math.log(TOLERANCE), math.log(WITHIN)
    if runs < ENOUGH:
        apart = "" if runs > 1 else ", for each interval is of one run, and runs of unchanged code lie further apart"
        return "undecided", f"{runs} stored run{'s' if runs > 1 else ''}; {ENOUGH} are needed{apart}"
    if ratio.high < -tolerance or ratio.low > tolerance:
        return "regressed" if ratio.high < 0 else "improved", f"the intervals are more than {TOLERANCE - 1:.0%} apart"
    if -within <= ratio.low and ratio.high <= within:
        return "unchanged", f"a change beyond {WITHIN - 1:.0%} is excluded"
    if not math.isfinite(ratio.high):
        return "undecided", "a run has too few launches or rounds for an interval"
    open_range = f"a change beyond {TOLERANCE - 1:.0%} is not proven, and one beyond {WITHIN - 1:.0%} is not excluded"
    return "undecided", f"{open_range}; store more runs, or longer ones"


def _exp(logs: Interval) -> Interval:
    return Interval(*(math.exp(end) if end < 700 else math.inf for end in (logs.estimate, logs.low, logs.high)))


def compare_rows(change: Change, stored: Collection[str], today: Collection[str], allowed: float) -> Change:
    """Fill in the change between answers, each a 1 or 0 a row, of the same rows.

    A change of more than the share `allowed` must be proven against every stored run: one lucky run proves nothing.
    The share gained is that against the stored run that differs least.
    """
    flips = [Counter(zip(before, now, strict=True)) for before, now in product(stored, today)]
    drops = [drop_interval(pairs["1", "0"], pairs["0", "1"], pairs.total()) for pairs in flips]
    least = min(drops, key=lambda drop: (abs(drop.estimate), drop.low))
    word: Word = "undecided"
    why = f"these rows neither prove nor exclude a change beyond {100 * allowed:g} points"
    if all(drop.low > allowed for drop in drops):
        word, why = "regressed", f"the drop exceeds the {100 * allowed:g} points allowed"
    elif all(drop.high < -allowed for drop in drops):
        word, why = "improved", f"the gain exceeds {100 * allowed:g} points"
    elif all(-allowed <= drop.low and drop.high <= allowed for drop in drops):
        word, why = "unchanged", f"a change beyond {100 * allowed:g} points is excluded"
    return replace(change, word=word, why=why, change=Interval(0.0 - least.estimate, 0.0 - least.high, 0.0 - least.low))


def change_sentence(change: Change) -> str:
    """Return the word, the aspect, the figures and the reason."""
    place = f" {'at' if change.aspect.startswith('batch') else 'in'} {change.aspect}" if change.aspect else ""
    runs, figures = f"{change.runs} stored run{'' if change.runs == 1 else 's'}", ""
    if change.stored and change.today and change.change:
        before, now = format_ratio(change.stored), format_ratio(change.today)
        figures = f"speed-up {now} where {runs} had {before}, {change_text(change)}: "
    elif change.change:
        figures = f"{change_text(change)} against {runs}: "
    return f"{change.word}{place}: {figures}{text.one_line(change.why)}"


def change_text(change: Change) -> str:
    """Return the size of the change: of a speed-up in per cent, of correct rows in points."""
    if change.change is None:
        return ""
    offset, unit = (1, " %") if change.stored else (0, " points")
    size, low, high = (100 * (end - offset) for end in (change.change.estimate, change.change.low, change.change.high))
    return f"{size:+.1f}{unit} " + (f"[{low:+.1f}, {high:+.1f}]" if math.isfinite(high) else "[no interval]")
