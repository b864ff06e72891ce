"""Results of stored runs and of today → what became of every case, in a word: pure functions.

Ratios to the reference are held against each other, never milliseconds. `alike` says which runs are comparable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from harness.accuracy.loss import counts_rows
from harness.contracts import REFERENCE
from harness.environment import Environment
from harness.records.evidence import Series
from harness.records.schema import Result
from harness.runs import right
from harness.runs.drift import ENOUGH, Word, change, spread
from harness.statistics.stats import Interval
from harness.verdicts.alike import Runs, differences, environment_differences, length_differences
from harness.verdicts.speed import invalid, own_speedup


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


def regressions(stored: Runs, today: Runs) -> list[Line]:
    """Every case of today's against its stored runs: each workload's speed-up, then its rows right."""
    return [line for found in today.values() for line in _case(stored, today, found)]


def left_out(stored: Runs, today: Runs) -> Iterator[str]:
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


def typical_spread(runs: Runs, here: Environment) -> float:
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


def _case(stored: Runs, today: Runs, found: Sequence[Result]) -> Iterator[Line]:
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


def _beside(stored: Runs, before: Sequence[Result], found: Sequence[Result]) -> Iterator[Line]:
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
        found = change(stored, today, typical)
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
    """Held to the gate's largest loss. Rows are paired, so one stored run is enough."""
    promise = new[-1].promise or old[-1].promise
    before, now = ({result.answers.right for result in side if result.answers} for side in (old, new))
    if promise is None or not before or not now:
        return
    metric = new[-1].data.metric if new[-1].data else ""
    if not counts_rows(metric):
        why = f"{metric} is no share of rows, and of stored runs only the rows that are wholly right are known"
        yield Line(case=new[-1].name, what="rows right", word="undecided", why=why, runs=len(old), asked=False)
        return
    found = right.change(before, now, promise.max_loss)
    yield Line(case=new[-1].name, what="rows right", word=found.word, why=found.why, runs=len(old), change=found.gained)
