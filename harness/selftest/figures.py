"""Figures and the parts that yield them; every seed, count and threshold of the self-test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError
from harness.stats.intervals import rare_event_bound
from harness.util.console import Progress

SEED = 20_240  # of every random generator, together with the name of its use
WORKER_TIMEOUT_S, REAL_TIMEOUT_S = 60.0, 300.0

# device-truth, cheats
DEVICE_TRIALS = 20  # on the wrong device, and as many on the right one
CHEAT_ROUNDS = 6  # in each launch

# collection
COLLECTED_CASES = 2_000
COLLECTION_LIMIT_S = 5.0
COLLECTION_TRIALS = 5

# non-inferiority
ERROR_RATE = 0.05  # largest allowed chance that a drop of exactly the margin is called proven, or excluded
MARGINS = (0.005, 0.01, 0.02)
SIZES = (100, 133, 200, 300, 408, 600, 820, 1_000, 1_500, 2_000, 3_000)
DISCORDANCES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)  # beside the margin, the smallest possible share
UNCORRECTED_ERRORS = 50  # settings at which the uncorrected interval must exceed ERROR_RATE
SIMULATED, SIMULATED_ERRORS = 10_000, 500  # results, and the most of them that may be judged wrongly: 5 %
SIMULATED_ROWS, SIMULATED_MARGIN = 1_000, 0.01

# false-alarms
COMPARISONS = 1_000  # of identical arms, on each simulated machine
FALSE_ALARMS = 4
ALARM_LAUNCH_SD = 0.01  # between fresh workers of one backend: twice POWER_LAUNCH_SD
CONTROL_COMPARISONS = 200  # of each positive control
RETURNING_ALARMS = 20  # of CONTROL_COMPARISONS that must return once a safety is switched off
UNLUCKY = 1.05  # work of a reference that stays slower in every launch, as a bad memory layout makes it
NAIVE_GATE = 1.05  # ratio of means above which a gate without statistics fails
NAIVE_ROUNDS = 60

# power
POWER_COMPARISONS = 500
POWER_LAUNCH_SD = 0.005
MORE_WORK, MISSED = 1.05, 1
IDLE_ROUNDS = 60
BOUNDARY_COMPARISONS = 2_000
BOUNDARY_WORK, BOUNDARY_SLOWER = 1.02, 20  # 1 % of BOUNDARY_COMPARISONS
ALONE_LAUNCHES = 3
ALONE_SLOWER = 100  # most of CONTROL_COMPARISONS that one arm's own spread between launches may call slower

# broken-exports, real-workers, regressions
REAL_ROWS = 96  # test rows of each model; a session checks all rows, so it sees no less
REAL_MEASUREMENTS = 2
REAL_ROUNDS = 400  # over four launches, the most a session runs; fifteen took 22 minutes and detected no more
REAL_BUDGET_S = 200.0
REAL_SAME, REAL_MORE = 6, 2  # workers with the same work and with 5 % more, in each measurement
REAL_REFERENCES = 5  # identical workers that each worker with more work is compared with
STORED_RUNS, TODAYS_RUNS = 5, 40
HEAVIER_RUNS = 5  # of today, which also measure an arm with twice the work
RUN_ROUNDS = 60

# worker-deaths, session-deaths
KILLS, REFERENCE_KILLS = 160, 40  # at random instants from launch to the last round
KILLS_EACH = 5  # contenders in one measurement
NAMING_TRIALS = 20
DEATH_SESSIONS = 4  # pytest sessions with a worker killed in every comparison but the first
SESSION_KILLS = 50  # pytest sessions, at random instants, each then resumed
SESSION_LANES = 2  # folders in which sessions run side by side
FORGETFUL_CHAINS = 4  # killed sessions that run again without being resumed
ORPHAN_LIMIT_S = 5.0

# overhead
PARENT_CPU_SHARE = 0.01
OVERHEAD_BLOCKS, OVERHEAD_PAIRS = 20, 25  # pairs of a short and a long call in each block, which yields their median
POLL_S = 2e-4  # pause of a parent that polls
BARE_TOLERANCE = 1.05
BARE_LAUNCHES, BARE_BLOCKS, BARE_CALLS = 8, 20, 50  # fresh pairs, blocks of each, calls of each block and arm
LONG_LAUNCHES, LONG_BLOCKS, LONG_CALLS = 3, 16, 20  # the same for calls ten times as long, beside a busy parent

# carry-over
CARRY_TOLERANCE = 0.01
CARRY_LAUNCHES, CARRY_ROUNDS = 4, 400  # rounds in each launch
CARRY_MATES, CARRY_LOOPS = 3, 6  # other arms, each of which may disturb the next, and calls of a block
SPINNING_CHECKS, SPINNING_ROUNDS = 20, 80  # rounds of each check


class Workspace(NamedTuple):
    """Folders and progress display of one part."""

    artifacts: Path
    """Checkpoints and artifacts, shared with `pytest suites`."""
    scratch: Path
    """An empty folder, removed when the part ends."""
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A count of outcomes and the limit that it must keep."""

    label: str
    k: int
    n: int
    at_least: int | None = None
    at_most: int | None = None
    control: bool = False
    """A positive control: the safety is switched off, and the limit holds only if the error returns."""
    note: str = ""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise HarnessError(f"figure {self.label!r}: give either at_least or at_most")
        if not 0 <= self.k <= self.n or self.n < 1:
            raise HarnessError(f"figure {self.label!r}: {self.k} of {self.n} is not a valid count")

    @property
    def passed(self) -> bool:
        """True if the limit holds."""
        return self.k >= self.at_least if self.at_least is not None else self.k <= (self.at_most or 0)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table. The interval of the share is Clopper and Pearson's, exact."""
        low, high = 1 - rare_event_bound(self.n - self.k, self.n, 0.975), rare_event_bound(self.k, self.n, 0.975)
        return (
            self.label,
            "control" if self.control else "figure",
            f"{self.k} of {self.n}",
            f"[{100 * low:.1f}, {100 * high:.1f}] %",
            f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}",
            "pass" if self.passed else "**FAIL**",
            self.note.replace("\n", " ").replace("|", "\\|"),
        )


def count(
    label: str,
    outcomes: Iterable[bool],
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    control: bool = False,
    note: str = "",
) -> Figure:
    """Count the true outcomes. Without a limit, all of them have to be true."""
    counted = list(outcomes)
    if at_most is None and at_least is None:
        at_least = len(counted)
    k, n = sum(counted), len(counted)
    return Figure(label=label, k=k, n=n, at_least=at_least, at_most=at_most, control=control, note=note)


Run = Callable[[Workspace], Iterator[Figure]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One claim of the harness about itself."""

    name: str
    claim: str
    run: Run
    """Yields each figure as soon as it is measured, among them at least one positive control."""


def part(name: str, claim: str) -> Callable[[Run], Part]:
    """Make a part of the function that yields its figures."""
    return lambda run: Part(name=name, claim=claim, run=run)
