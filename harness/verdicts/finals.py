"""What the finals of a task found out, and who wins them: models held against each other, each on its best backend."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import Device
from harness.environment import Environment
from harness.errors import HarnessError
from harness.records.evidence import Bounds, Process, Series
from harness.records.schema import SCHEMA
from harness.rounds.disturbance import Disturbance
from harness.statistics.stats import Interval, rows_lost
from harness.verdicts.phrases import points, times
from harness.verdicts.speed import Pace, agreed, invalid, own_speedup, own_speedups


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model on the backend that its comparison recommends."""

    model: str
    backend: str
    score: float | None
    right: str
    """A character a test row, `1` where the answer is right."""
    size_bytes: int
    process: Process | None
    series: tuple[Series, ...]
    """From raw rows to answers, against the first entry's backend in the same rounds."""
    error: str | None = None
    bounds: Bounds | None = None
    """Of the score lost against the first entry; only where that is not counted row by row."""


@dataclass(frozen=True, kw_only=True)
class Finals:
    """One measurement of a task's models. The first entry is the one that others are held against."""

    schema: int = SCHEMA
    task: str
    device: Device
    measurement: str
    inputs: str = ""
    """Fingerprint of the comparisons that these follow from."""
    created: str
    environment: Environment
    metric: str
    test_sha256: str
    max_loss: float | None
    """What the first model's gate lets a backend lose, and so another model."""
    entries: tuple[Entry, ...]
    absent: dict[str, str]
    """Model → why it has no entry."""
    disturbance: Disturbance | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for answers to other rows than the first model's."""
        if len({len(entry.right) for entry in self.entries}) > 1:
            raise ValueError("models must have answered the same test rows")


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

    def may_replace(self, max_loss: float | None) -> bool:
        """Whether it is proven faster, and proven to lose no more than allowed."""
        return self.pace == "faster" and max_loss is not None and self.lost.high < max_loss


def standing(finals: Finals, entry: Entry) -> Standing | None:
    """None for the first entry, and for one that was not measured."""
    first = finals.entries[0]
    if entry is first or not entry.series:
        return None
    pairs = list(zip(first.right, entry.right, strict=True))
    lost, gained = pairs.count(("1", "0")), pairs.count(("0", "1"))
    gain, why = own_speedup(entry.series[0]), invalid(entry.series[0])
    said = agreed(own_speedups(entry.series[0])) if why is None else None
    found = rows_lost(lost, gained, len(pairs))
    if entry.bounds is not None and entry.score is not None and first.score is not None:
        found = Interval(first.score - entry.score, entry.bounds.low, entry.bounds.high)
    return Standing(gain, said, found, why)


def winner(finals: Finals) -> tuple[Entry, str]:
    """The fastest entry that may replace the first, or the first; and why, in a sentence."""
    if not finals.entries:
        raise HarnessError(f"{finals.task}: finals without an entry; delete the file and run the suite again")
    first, *others = finals.entries
    held = [(entry, found) for entry in others if (found := standing(finals, entry)) is not None]
    able = [(entry, found) for entry, found in held if found.may_replace(finals.max_loss)]
    if able:
        entry, found = max(able, key=lambda pair: pair[1].gain.estimate)
        return entry, f"{_told(entry, found)} than {first.model} on {first.backend}, which it may replace"
    told = [f"{_told(entry, found)}{_open(found, finals.max_loss)}" for entry, found in held]
    return first, "; ".join(told) or "no other model was measured"


def _told(entry: Entry, found: Standing) -> str:
    lost = found.lost
    speed = f"{times(found.gain)} as fast" if found.why_invalid is None else f"of no valid speed ({found.why_invalid})"
    fewer = lost.estimate >= 0
    change = points(lost if fewer else Interval(-lost.estimate, -lost.high, -lost.low))
    if entry.bounds is not None:
        rows = f"scores {change} {'less' if fewer else 'more'}"
    else:
        rows = f"has {change} {'fewer' if fewer else 'more'} rows right"
    return f"{entry.model} on {entry.backend} is {speed} and {rows}"


def _open(found: Standing, max_loss: float | None) -> str:
    if max_loss is None:
        return ", and no gate says what may be lost"
    if found.lost.low > max_loss:
        return f", proven more than the {100 * max_loss:g} allowed"
    if found.lost.high >= max_loss:
        return f", which leaves open whether it loses more than the {100 * max_loss:g} allowed"
    return "" if found.pace == "faster" else ", and is not proven faster"
