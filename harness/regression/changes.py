"""Whether a speed-up has changed between stored runs and today's: pure functions of the runs' intervals.

A run's speed-up differs from the next run's by more than its own rounds can know: other processes, other pages of
memory, another day. So both sides' intervals are widened by the spread between runs before it is asked whether they
part. With a stored and b of today's runs, whose log speed-ups have the standard deviation s, the difference of the two
means lies within t(a + b - 2) · s · √(1/a + 1/b) if nothing changed. With one run today that is the prediction interval
of a new observation, with a - 1 degrees of freedom (Hahn and Meeker, Statistical Intervals, chapter 4).


ALSO: Whether the rows that are right have changed between stored runs and today's: a pure function of both, row by row.
ALSO: Results of stored runs and of today → what became of every case, in a word: pure functions.

Ratios to the reference are held against each other, never milliseconds. `alike` says which runs are comparable.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import median, stdev
from typing import Literal

from scipy.stats import t

from harness.contracts.backend import REFERENCE
from harness.results.schema import Result, Series
from harness.stats.intervals import Interval, drop_interval
from harness.util import text
from harness.util.machine import Environment
from harness.verdicts.accuracy import counts_rows
from harness.verdicts.comparability import StoredRuns, differences, environment_differences, length_differences
from harness.verdicts.speed import TOLERANCE, invalid, own_speedup

ENOUGH = 5
"""Stored runs below which the spread between runs is not known well enough to say anything."""

CONFIDENCE = 0.98
"""Of the widening, one per cent to either side. With the runs' own widths and the tolerance on top, 160,000 simulated
comparisons of unchanged cases in eights, 5 to 15 stored runs, gave one false regression in 10,000 where spreads lie
between 0.2 and 2.8 %, and five where they lie between 0.5 and 5 %. At a spread of 2 %, times 15 % longer were found by
5 stored runs in 78 of 100 cases, by 8 in 95, by 10 in 98."""

WITHIN = 1.15
"""`unchanged` says that a change by more than this factor is excluded, for fewer than dozens of runs exclude less."""

Word = Literal["regressed", "improved", "unchanged", "undecided"]


@dataclass(frozen=True)
class SpeedChange:
    """What happened to a speed-up, as a ratio: below 1 is slower than stored."""

    stored: Interval
    today: Interval
    """Both are speed-ups, widened by their share of the spread between runs."""
    ratio: Interval
    """Today's over the stored one, with the widths of both."""
    word: Word
    why: str


def spread(runs: Sequence[Interval]) -> float:
    """Standard deviation (n - 1) between log speed-ups of runs; 0 where there is but one."""
    return stdev(math.log(run.estimate) for run in runs) if len(runs) > 1 else 0.0


def speed_change(stored: Sequence[Interval], today: Sequence[Interval], typical: float = 0.0) -> SpeedChange:
    """Hold today's speed-ups against stored ones; neither may be empty.

    `typical` is the spread that other cases of the same environment have (a standard deviation of logs). The largest of
    the three counts: five runs that happen to lie close together are believed no more than their neighbours are.
    """
    old, new = _mean(stored), _mean(today)
    widening = _widening(stored, today, typical)
    share = len(today) / (len(stored) + len(today))  # of the variance of the difference, that of the stored mean
    old = _wider(old, widening * share)
    new = _wider(new, widening * (1 - share))
    ratio = Interval(new.estimate - old.estimate, new.low - old.high, new.high - old.low)
    word = _word(ratio, len(stored))
    return SpeedChange(_factor(old), _factor(new), _factor(ratio), word, _why(word, _factor(ratio), len(stored)))


def _widening(stored: Sequence[Interval], today: Sequence[Interval], typical: float) -> float:
    """Half-width, in logs, of what the spread between runs alone may make of the difference of the two means."""
    freedom = len(stored) + len(today) - 2
    if freedom < 1:
        return math.inf
    largest = max(spread(stored), spread(today), typical)
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * largest * math.sqrt(1 / len(stored) + 1 / len(today))


def _mean(runs: Sequence[Interval]) -> Interval:
    """Mean of log speed-ups; the runs' own widths, independent of each other, add as root of squares."""
    n = len(runs)
    centre = sum(math.log(run.estimate) for run in runs) / n
    down = math.hypot(*(math.log(run.estimate) - _log(run.low) for run in runs)) / n
    up = math.hypot(*(_log(run.high) - math.log(run.estimate) for run in runs)) / n
    return Interval(centre, centre - down, centre + up)


def _word(ratio: Interval, runs: int) -> Word:
    """Of a ratio in logs."""
    if runs < ENOUGH:
        return "undecided"
    if ratio.high < -math.log(TOLERANCE):
        return "regressed"
    if ratio.low > math.log(TOLERANCE):
        return "improved"
    within = math.log(WITHIN)
    return "unchanged" if -within <= ratio.low and ratio.high <= within else "undecided"


def _why(word: Word, ratio: Interval, runs: int) -> str:
    if runs < ENOUGH:
        return f"{runs} stored run{'s' if runs > 1 else ''}, it takes {ENOUGH}"
    if not math.isfinite(ratio.low) or not math.isfinite(ratio.high):
        return "a run has too few launches or rounds for an interval"
    if word == "undecided":
        return (
            f"neither is a change beyond {TOLERANCE - 1:.0%} proven nor one beyond {WITHIN - 1:.0%} excluded; more "
            "stored runs, or longer ones, tell more"
        )
    if word == "unchanged":
        return f"a change beyond {WITHIN - 1:.0%} is excluded"
    return f"the intervals part by more than {TOLERANCE - 1:.0%}"


def _wider(found: Interval, by: float) -> Interval:
    return Interval(found.estimate, found.low - by, found.high + by)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _factor(logs: Interval) -> Interval:
    return Interval(*(math.exp(end) if end < 700 else math.inf for end in (logs.estimate, logs.low, logs.high)))


@dataclass(frozen=True)
class AccuracyChange:
    """What happened to the rows that are right."""

    gained: Interval
    """Share of all rows, against the stored run that differs least; each end a one-sided 95 % bound."""
    word: Word
    why: str


def accuracy_change(stored: Collection[str], today: Collection[str], allowed: float) -> AccuracyChange:
    """Hold today's answers against stored ones, each a 1 or 0 a row, of the same rows; neither may be empty.

    A change of more than the share `allowed` is proven against every stored run's answers: a lucky run is no measure.
    """
    word: Word = "undecided"
    why = f"these rows neither prove a change beyond {100 * allowed:g} points nor exclude it"
    lost = [_lost(one, other) for one, other in product(stored, today)]
    if all(found.low > allowed for found in lost):
        word, why = "regressed", f"more than the {100 * allowed:g} points allowed"
    elif all(found.high < -allowed for found in lost):
        word, why = "improved", f"by more than {100 * allowed:g} points"
    elif all(-allowed <= found.low and found.high <= allowed for found in lost):
        word, why = "unchanged", f"a change beyond {100 * allowed:g} points is excluded"
    least = min(lost, key=lambda found: (abs(found.estimate), found.low))
    return AccuracyChange(Interval(0.0 - least.estimate, 0.0 - least.high, 0.0 - least.low), word, why)


def _lost(stored: str, today: str) -> Interval:
    pairs = Counter(zip(stored, today, strict=True))
    return drop_interval(pairs["1", "0"], pairs["0", "1"], len(stored))


@dataclass(frozen=True, kw_only=True)
class Line:
    """What became of one case in one respect."""

    case: str
    what: str = ""
    """`batch 1`, …, `rows right`; empty where the case as a whole is told of."""
    word: Word | Literal["not comparable"]
    why: str
    runs: int = 0
    """Stored ones that were held against today's."""
    stored: Interval | None = None
    """Speed-up, widened by the spread between runs; where they are not comparable and few, of the last one."""
    today: Interval | None = None
    change: Interval | None = None
    """Of a speed-up: today's over the stored one. Of rows right: the share gained, each end a one-sided 95 % bound."""
    asked: bool = True
    """Whether the case is open while this is: no gate speaks of workloads but the first."""

    @property
    def is_open(self) -> bool:
        """Whether somebody who wants to know has to measure again."""
        return self.asked and self.word in ("undecided", "not comparable")


def regressions(stored: StoredRuns, today: StoredRuns) -> list[Line]:
    """Every case of today's against its stored runs: each workload's speed-up, then its rows right."""
    return [line for found in today.values() for line in _case(stored, today, found)]


def left_out(stored: StoredRuns, today: StoredRuns) -> Iterator[str]:
    """Which stored runs of today's cases could not be used, and why; and which stored cases did not run."""
    alike: dict[str, list[str]] = {}
    for name, found in today.items():
        before = _others(stored.get(name, ()), found)
        reasons = Counter("; ".join(differences(r, found[-1])) or _speechless(r) for r in before)
        for why, number in reasons.items():
            if why:
                alike.setdefault(f"{number} of {len(before)} stored runs cannot be used: {why}", []).append(name)
    yield from (f"{', '.join(names)}: {told}" for told, names in alike.items())
    yield from (f"{name} is stored and was not run today" for name in stored if name not in today)


def typical_spread(runs: StoredRuns, here: Environment) -> float:
    """Median, over cases and workloads, of the spread between an environment's runs; 0 where none has enough."""
    spreads = []
    for found in runs.values():
        gains: dict[int, list[Interval]] = {}
        for result in found:
            if result.backend == REFERENCE or environment_differences(result.environment, here):
                continue
            for series in result.series:
                if (gain := _gain(series)) is not None:
                    gains.setdefault(series.workload.batch, []).append(gain)
        spreads += [spread(of_batch) for of_batch in gains.values() if len(of_batch) >= ENOUGH]
    return median(spreads) if spreads else 0.0


def _case(stored: StoredRuns, today: StoredRuns, found: Sequence[Result]) -> Iterator[Line]:
    newest = found[-1]
    before = _others(stored.get(newest.name, ()), found)
    old = [result for result in before if not differences(result, newest)]
    new = [result for result in found if not differences(result, newest)]
    if not before:
        why = "its stored run is the same measurement" if newest.name in stored else "there is no stored run of it"
        yield Line(case=newest.name, word="not comparable", why=why, asked=False)
    elif not old:
        yield from _beside(stored, before, found)
    elif newest.error is not None:
        yield _ended(old, newest)
    else:
        typical = max(typical_spread(runs, newest.environment) for runs in (stored, today))
        for series in newest.series if newest.backend != REFERENCE else ():  # its speed-up is 1 by definition
            yield _speed(old, new, series, typical)
        yield from _rows_right(old, new)


def _beside(stored: StoredRuns, before: Sequence[Result], found: Sequence[Result]) -> Iterator[Line]:
    """Runs that are not comparable, in figures and with what differs: two machines, two versions of a runtime.

    No word is given to a difference, for nobody knows what it is owed to. Where as many runs are stored of one
    environment as a word would take, it is said whether the speed-ups differ by more than runs do, and of the same
    test rows whether the answers do.
    """
    newest, latest = found[-1], before[-1]
    fields = min((differences(result, newest) for result in before), key=len)
    told = f"{len(before)} stored: {'; '.join(fields)}"
    old = [result for result in before if not differences(result, latest)]
    new = [result for result in found if not differences(result, newest)]
    typical = typical_spread(stored, latest.environment)
    timed = newest.series if newest.error is None and newest.backend != REFERENCE else ()
    lines = [_speed(old, new, series, typical) for series in timed]
    for at, line in enumerate(lines):
        if line.change and line.runs >= ENOUGH:
            shown = replace(line, why=f"{told}; {line.why}")
        else:
            batch = timed[at].workload.batch
            shown = replace(line, stored=_gain_at(latest, batch), today=_gain_at(newest, batch), change=None, why=told)
        yield replace(shown, word="not comparable", runs=len(before))
    if not lines:
        yield Line(case=newest.name, word="not comparable", why=told, runs=len(before))
    if latest.data and newest.data and latest.data.sha256.get("test") == newest.data.sha256.get("test"):
        for line in _rows_right(old, new):
            yield replace(line, word="not comparable", why=f"{told}; {line.why}", asked=False)


def _others(stored: Sequence[Result], today: Sequence[Result]) -> list[Result]:
    """Without what is on both sides: a run is never held against itself."""
    ids = {result.measurement for result in today}
    return [result for result in stored if result.measurement not in ids]


def _speechless(result: Result) -> str:
    """Why a result says nothing of speed, if so."""
    if result.error is not None:
        return f"{result.status} at {result.error.stage}"
    return (invalid(result.series[0]) or "") if result.series else "no speed was measured"


def _ended(old: Sequence[Result], newest: Result) -> Line:
    assert newest.error is not None
    worked = sum(result.status == "ok" for result in old)
    why = f"{newest.status} at {newest.error.stage}: {newest.error.message}; {worked} of {len(old)} stored runs did not"
    return Line(case=newest.name, word="regressed" if worked else "unchanged", why=why, runs=len(old))


def _speed(old: Sequence[Result], new: Sequence[Result], latest: Series, typical: float) -> Line:
    name, what, asked = new[-1].name, f"batch {latest.workload.batch}", latest is new[-1].series[0]
    like = [[s for r in side for s in r.series if s.workload == latest.workload] for side in (old, new)]
    stored, today = ([gain for s in side if (gain := _gain(s)) is not None] for side in like)
    why = length_differences(like[0], latest)
    if why:
        return Line(case=name, what=what, word="not comparable", why=why, asked=asked)
    if stored and today:
        found = speed_change(stored, today, typical)
        return Line(
            case=name, what=what, word=found.word, why=found.why, runs=len(stored), stored=found.stored,
            today=found.today, change=found.ratio, asked=asked,
        )  # fmt: skip
    why = f"today's says nothing: {invalid(latest)}" if stored else f"0 stored runs of this workload, it takes {ENOUGH}"
    return Line(case=name, what=what, word="undecided", why=why, runs=len(stored), asked=asked)


def _gain_at(result: Result, batch: int) -> Interval | None:
    return next((_gain(series) for series in result.series if series.workload.batch == batch), None)


def _gain(series: Series) -> Interval | None:
    """The speed-up; None where it is invalid."""
    return own_speedup(series) if invalid(series) is None else None


def _rows_right(old: Sequence[Result], new: Sequence[Result]) -> Iterator[Line]:
    """Held to the gate's largest drop. Rows are paired, so one stored run is enough."""
    promise = new[-1].gate or old[-1].gate
    before, now = ({result.answers.right for result in side if result.answers} for side in (old, new))
    if promise is None or not before or not now:
        return
    metric = new[-1].data.metric if new[-1].data else ""
    if not counts_rows(metric):
        why = f"{metric} is no share of rows, and of stored runs only the rows that are wholly right are known"
        yield Line(case=new[-1].name, what="rows right", word="undecided", why=why, runs=len(old), asked=False)
        return
    found = accuracy_change(before, now, promise.max_drop)
    yield Line(case=new[-1].name, what="rows right", word=found.word, why=found.why, runs=len(old), change=found.gained)


def change_sentence(line: Line) -> str:
    """The line with its figures, in words."""
    what = f" at {line.what}" if line.what.startswith("batch") else f" in {line.what}" if line.what else ""
    why = text.one_line(line.why)
    if line.stored is None or line.today is None or line.change is None:
        figures = f"{change_text(line)} against {runs_text(line)}: " if line.change else ""
        return f"{line.word}{what}: {figures}{why}"
    return (
        f"{line.word}{what}: speed-up {speedup_text(line.today)} where {runs_text(line)} had {speedup_text(line.stored)}, "
        f"{change_text(line)}: {why}"
    )


def runs_text(line: Line) -> str:
    return f"{line.runs} stored run{'' if line.runs == 1 else 's'}"


def speedup_text(found: Interval) -> str:
    return f"{found.estimate:.2f}x {_ends(found, '.2f')}"


def change_text(line: Line) -> str:
    """Of a speed-up in per cent, of rows right in points."""
    if line.change is None:
        return ""
    offset, unit = (1, " %") if line.stored else (0, " points")
    found = Interval(*(100 * (end - offset) for end in (line.change.estimate, line.change.low, line.change.high)))
    return f"{found.estimate:+.1f}{unit} {_ends(found, '+.1f')}"


def _ends(found: Interval, form: str) -> str:
    return f"[{found.low:{form}}, {found.high:{form}}]" if math.isfinite(found.high) else "[no interval]"
