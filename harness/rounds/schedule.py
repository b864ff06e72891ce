"""When workers start anew, for how many rounds, and when it is asked whether these suffice."""

from __future__ import annotations

import math
from itertools import pairwise

from harness.rounds.samples import Samples, Settings

FURTHER_STARTS, LONGEST_START = 2, 40
"""Generations of workers between one look and the next, at least, and rounds of each, at most: rounds do not mend the
spread between starts."""


def plan(settings: Settings) -> list[int]:
    """Rounds of each start: the first look's over `settings.starts`, each later one's over FURTHER_STARTS or more."""
    rounds: list[int] = []
    for done, look in pairwise((0, *settings.looks)):
        more = look - done
        parts = max(FURTHER_STARTS, math.ceil(more / LONGEST_START)) if done else settings.starts
        rounds += [more // parts + (part < more % parts) for part in range(parts)]
    return rounds


def is_look(samples: Samples, settings: Settings) -> bool:
    """Whether the start that ended completes a look, or is the last that the budget allowed."""
    done = len(samples.rows)
    return done >= settings.starts and (samples.cut or sum(plan(settings)[:done]) in settings.looks)


def is_due(samples: Samples, settings: Settings, loads: int) -> bool:
    """Whether a workload gets another start: one that leads to a look, at the pace so far, within the budget."""
    done, rounds = len(samples.rows), plan(settings)
    if samples.settled or done >= len(rounds):
        return False
    if done < settings.starts:
        return True
    look = next(look for look in settings.looks if look > sum(rounds[:done]))
    needed_ns = samples.spent_ns / samples.rounds * (look - samples.rounds)
    samples.cut |= needed_ns > _share_ns(settings, loads) - samples.spent_ns
    return not samples.cut


def limit_ns(samples: Samples, settings: Settings, loads: int) -> float:
    """What the next start may spend; the first ones share evenly, so that none of them is left without rounds."""
    share_ns = _share_ns(settings, loads)
    return share_ns / settings.starts if len(samples.rows) < settings.starts else share_ns - samples.spent_ns


def _share_ns(settings: Settings, loads: int) -> float:
    return settings.budget_s * 1e9 / loads
