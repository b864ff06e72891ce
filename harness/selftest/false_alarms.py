"""Identical arms are not said to differ: comparisons on simulated machines, by the harness's own rounds and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from harness.selftest import naive
from harness.selftest.comparisons import Compared, Scenario, compared, in_parallel, told
from harness.selftest.figures import (
    COMPARISONS,
    CONTROL_COMPARISONS,
    FALSE_ALARMS,
    FALSE_START_SD,
    NAIVE_GATE,
    RETURNING_ALARMS,
    UNLUCKY,
)
from harness.selftest.part import Figure, Given, Part
from harness.selftest.profiles import LOUD, TENDED, WARMING

LOUDEST = TENDED[-1]


def run(given: Given) -> Iterator[Figure]:
    """Every comparison has a machine, a reference, a control and a contender of its own."""
    for profile in (*TENDED, *LOUD):
        found = in_parallel(partial(compared, Scenario(profile=profile, start_sd=FALSE_START_SD)), COMPARISONS)
        yield _wrong(f"{profile.name}: identical arms said to differ", found, FALSE_ALARMS)
    found = in_parallel(partial(compared, Scenario(profile=WARMING, start_sd=FALSE_START_SD)), CONTROL_COMPARISONS)
    yield _wrong("warming: identical arms said to differ", found, FALSE_ALARMS)
    scenario = Scenario(profile=TENDED[0], start_sd=FALSE_START_SD, reference=UNLUCKY)
    found = in_parallel(partial(compared, scenario), CONTROL_COMPARISONS)
    yield _wrong("an unlucky reference, 5 % slower: arms said to differ", found, FALSE_ALARMS)
    yield Figure(
        label="the same, the control ignored",
        k=sum(one.alone in ("faster", "slower") for one in found),
        n=len(found),
        at_least=RETURNING_ALARMS,
        control=True,
    )
    fair = partial(Scenario, start_sd=FALSE_START_SD)
    yield _returns("warming: rounds not interleaved", naive.one_after_the_other, fair(profile=WARMING))
    yield _returns("one start, a sign test, no tolerance, idle", naive.one_start, fair(profile=TENDED[0]))
    yield _returns(f"mean ratio over {NAIVE_GATE:g}, two hogs", naive.mean_gate, fair(profile=LOUDEST))


def _wrong(label: str, found: list[Compared], at_most: int) -> Figure:
    wrong = sum(one.said in ("faster", "slower") for one in found)
    return Figure(label=label, k=wrong, n=len(found), at_most=at_most, note=told(found))


def _returns(label: str, alarms: Callable[[Scenario, int], bool], scenario: Scenario) -> Figure:
    found = in_parallel(partial(alarms, scenario), CONTROL_COMPARISONS)
    return Figure(label=label, k=sum(found), n=len(found), at_least=RETURNING_ALARMS, control=True)


PART = Part(
    name="false-alarms",
    claim=f"identical arms are said to differ in {FALSE_ALARMS} of {COMPARISONS} comparisons at most, also under load",
    run=run,
)
