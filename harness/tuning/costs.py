"""What a search for options will take, and how much of it a budget allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.rounds import leaks
from harness.rounds.measure import BLOCK_NS
from harness.rounds.samples import LOOKS
from harness.tuning.halving import rungs

TOGETHER = 6
"""Candidates measured at once, beside the default: each is a process with memory of its own."""
ROUNDS = 8
"""Of the first rung; each further one has twice as many, and one start more."""
SEARCH = 0.5
"""Share of the budget that may be spent on choosing; the rest is for saying what the choice is worth."""
BLOCK_S = BLOCK_NS / 1e9
WARMING, PROBING = 2, 40
"""Calls of each worker before its rounds, and of each arm where it is asked whether it remembers answers."""
SLOWER = 1.5
"""Candidates are taken to be so many times slower than the default, on average: no plan is kept with less."""


@dataclass(frozen=True)
class Cost:
    """What the default takes, in seconds."""

    start_s: float
    call_s: float

    @property
    def round_s(self) -> float:
        """One arm's part of a round."""
        return SLOWER * max(self.call_s, BLOCK_S)

    def rung(self, candidates: int, number: int) -> float:
        """Of a rung with so many."""
        arms = candidates + math.ceil(candidates / TOGETHER)
        return arms * ((number + 1) * (self.start_s + WARMING * self.round_s) + rounds_of(number) * self.round_s)

    def search(self, candidates: int) -> float:
        """Of all rungs."""
        return sum(self.rung(left, number) for number, left in enumerate(rungs(candidates)))

    def fresh(self, starts: int) -> float:
        """Of the fresh rounds up to their first look: default, control and winner."""
        leaking_s = min(leaks.LONGEST_S, max(leaks.ANSWERING_S, leaks.PARTS * leaks.LEAST * self.call_s))
        return 3 * (starts * (self.start_s + WARMING * self.round_s) + (LOOKS[0] + PROBING) * self.round_s + leaking_s)


def rounds_of(number: int) -> int:
    """Of the rung with this number."""
    return ROUNDS << number


def fitting(budget_s: float, cost: Cost, starts: int) -> int:
    """How many candidates can be tried within the budget; HarnessError, with what it takes, where not one can."""
    least = max(cost.search(1) / SEARCH, cost.search(1) + cost.fresh(starts))
    if budget_s < least:
        raise HarnessError(
            f"--budget {budget_s:g}: a worker takes {cost.start_s:.1f} s to start and {cost.call_s * 1e3:.3g} ms a "
            f"call here, so that one rung with one setting and the fresh rounds after it take {math.ceil(least)} s; "
            "give more, several times as much to try several"
        )
    spend = min(SEARCH * budget_s, budget_s - cost.fresh(starts))
    most = 1
    while cost.search(most + 1) <= spend and most < 10_000:
        most += 1
    return most
