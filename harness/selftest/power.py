"""What is slower is found, and what is within the tolerance is left alone: on simulated machines, as false-alarms."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from harness.selftest import naive
from harness.selftest.comparisons import Compared, Scenario, compared, in_parallel, told
from harness.selftest.figures import (
    ALONE_FOUND,
    ALONE_STARTS,
    BOUNDARY_CALLED,
    BOUNDARY_COMPARISONS,
    BOUNDARY_WORK,
    CONTROL_COMPARISONS,
    IDLE_ROUNDS,
    MISSED,
    MORE_WORK,
    POWER_COMPARISONS,
    POWER_START_SD,
)
from harness.selftest.part import Figure, Given, Part
from harness.selftest.profiles import LOUD, TENDED
from harness.selftest.simulation import Profile


def run(given: Given) -> Iterator[Figure]:
    """Five percent more work on every machine, then two percent, which is exactly what is tolerated."""
    for profile in TENDED:
        found = _found(profile, MORE_WORK, POWER_COMPARISONS)
        yield Figure(
            label=f"{profile.name}: 5 % more work not called slower",
            k=sum(one.said != "slower" for one in found),
            n=len(found),
            at_most=MISSED,
            note=told(found),
        )
        if not profile.hogs:
            late = sum(one.rounds > IDLE_ROUNDS or one.said != "slower" for one in found)
            yield Figure(
                label=f"{profile.name}: not called so within {IDLE_ROUNDS} rounds", k=late, n=len(found), at_most=MISSED
            )
    for profile in LOUD:
        found = _found(profile, MORE_WORK, POWER_COMPARISONS)
        slower = sum(one.said == "slower" for one in found)
        yield Figure(
            label=f"{profile.name}: 5 % more work called slower (reached, not promised)",
            k=slower,
            n=len(found),
            at_least=0,
            note=told(found),
        )
    for profile in TENDED:
        found = _found(profile, BOUNDARY_WORK, BOUNDARY_COMPARISONS)
        yield Figure(
            label=f"{profile.name}: 2 % more work called slower",
            k=sum(one.said == "slower" for one in found),
            n=len(found),
            at_most=BOUNDARY_CALLED,
            note=told(found),
        )
    scenario = Scenario(profile=TENDED[0], start_sd=POWER_START_SD, own=MORE_WORK)
    alone = in_parallel(partial(naive.spread_of_one_arm, scenario), CONTROL_COMPARISONS)
    yield Figure(
        label=f"{TENDED[0].name}: 5 % more work found by a t-interval over {ALONE_STARTS} starts of one arm",
        k=sum(alone),
        n=len(alone),
        at_most=ALONE_FOUND,
        control=True,
    )


def _found(profile: Profile, work: float, n: int) -> list[Compared]:
    return in_parallel(partial(compared, Scenario(profile=profile, start_sd=POWER_START_SD, own=work)), n)


PART = Part(
    name="power",
    claim=f"5 % more work is missed {MISSED} of {POWER_COMPARISONS} times at most, 2 % called slower 1 % of the time",
    run=run,
)
