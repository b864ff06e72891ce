"""A loss of exactly the margin is hardly ever said to lie within it, or beyond: exact sums over what could be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import binom
from tabulate import tabulate

from harness.accuracy.loss import safety
from harness.contracts import REFERENCE
from harness.environment import describe
from harness.records.evidence import Answers
from harness.records.schema import Data, Promise, Result
from harness.selftest import figures
from harness.selftest.figures import ERRING, SEED, SIMULATED, SIMULATED_ERRING
from harness.selftest.part import Figure, Given, Part
from harness.statistics.stats import Interval, paired_difference, rows_lost

Bounds = Callable[[int, int, int], Interval]
"""(lost, gained, rows) → the loss and its one-sided bounds."""
Said = Callable[[Interval, float], bool]
"""(the loss found, the margin) → whether it is said."""
Setting = tuple[int, float, float]
"""Rows, discordance, margin."""
SETTINGS: Sequence[Setting] = [
    (rows, share, margin)
    for margin, rows in product(figures.MARGINS, figures.SIZES)
    for share in (margin, *(share for share in figures.DISCORDANCES if share > margin))
]
UNLIKELY = 1e-10
"""What of the binomial's tails is not summed."""


def within(found: Interval, margin: float) -> bool:
    """As `loss.safety` says `not worse`."""
    return found.high < margin


def beyond(found: Interval, margin: float) -> bool:
    """As `loss.safety` says `worse`."""
    return found.low > margin


def chance(bounds: Bounds, said: Said, rows: int, margin: float, lost: float, gained: float) -> float:
    """Of saying it where rows are lost and gained with these probabilities. Both are monotone in the rows lost."""
    most = [int(binom.ppf(end, rows, gained)) for end in (UNLIKELY, 1 - UNLIKELY)]
    total = 0.0
    for found in range(most[0], most[1] + 1):
        few, many = -1, rows - found + 1  # of rows lost; what is said changes once between them
        while many - few > 1:
            middle = (few + many) // 2
            if said(bounds(middle, found, rows), margin) == (said is within):
                few = middle
            else:
                many = middle
        rest = binom(rows - found, lost / (1 - gained))
        total += binom.pmf(found, rows, gained) * (rest.cdf(few) if said is within else rest.sf(few))
    return float(total)


def run(given: Given) -> Iterator[Figure]:
    """Exact where possible; the simulation goes through stored results, as a verdict does."""
    yield _erring("a loss of the margin passes", rows_lost, within)
    yield _erring("a loss of the margin is called proven", rows_lost, beyond)
    for word in ("not worse", "worse"):
        yield _simulated(word)
    settings = _erring("the interval not corrected: the same is called proven", paired_lost, beyond)
    yield Figure(
        label=settings.label, k=settings.k, n=settings.n, at_least=figures.UNCORRECTED_ERRING, control=True,
        note=settings.note,
    )  # fmt: skip


def power_table() -> str:
    """Chance that a true loss of zero passes, by rows and by the share of them that flips."""
    chances = partial(chance, cache(rows_lost), within)
    rows = [
        [rows, *(chances(rows, figures.PASSING_MARGIN, share / 2, share / 2) for share in figures.PASSING_DISCORDANCES)]
        for rows in figures.SIZES
    ]
    marked = [[row[0], *(f"**{p:.2f}**" if p >= figures.PASSING else f"{p:.2f}" for p in row[1:])] for row in rows]
    headers = ["rows", *(f"{100 * share:g} %" for share in figures.PASSING_DISCORDANCES)]
    told: str = tabulate(marked, headers, tablefmt="pipe", disable_numparse=True)
    return (
        f"Chance that no true loss passes at a margin of {100 * figures.PASSING_MARGIN:g} points, by rows and by the "
        f"share of them that flips; bold from {figures.PASSING:.0%}:\n\n{told}"
    )


def paired_lost(lost: int, gained: int, rows: int) -> Interval:
    """The published interval as it is, turned round."""
    found = paired_difference(lost, gained, rows)
    return Interval(-found.estimate, -found.high, -found.low)


def _erring(label: str, bounds: Bounds, said: Said) -> Figure:
    """At how many settings it errs more than is allowed."""
    kept = cache(bounds)
    chances = {
        (rows, share, margin): chance(kept, said, rows, margin, (share + margin) / 2, (share - margin) / 2)
        for rows, share, margin in SETTINGS
    }
    over = [setting for setting, found in chances.items() if found > ERRING]
    worst = max(SETTINGS, key=lambda setting: chances[setting])
    return Figure(
        label=f"{label} over {100 * ERRING:g} % of the time, settings",
        k=len(over),
        n=len(SETTINGS),
        at_most=0,
        note=f"at most {100 * chances[worst]:.2f} %, with {worst[0]} rows of which {100 * worst[1]:g} % flip and a "
        f"margin of {100 * worst[2]:g} points",
    )


@cache
def _template() -> Result:
    """A result without rows; what it was measured on plays no part."""
    return Result(
        task="none", model="none", backend="toy", device="cpu", status="ok", measurement="none", created="",
        environment=describe("local", 1, Path(__file__).parent), recipe={},
        data=Data(source="", source_sha256="", kind="", metric="accuracy", labels=(), sizes={}, sha256={},
                  duplicates=0),
    )  # fmt: skip


def _result(lost: int, gained: int, rows: int, margin: float) -> Result:
    """As it would be stored."""
    answers = Answers(
        rows=rows, score=1 - lost / rows, reference_score=1 - gained / rows, lost=lost, gained=gained, agreement=1.0,
        compared_with=REFERENCE, source_score=None, source_lost=0, source_gained=0, source_agreement=1.0,
        largest_difference=0.0, right="",
    )  # fmt: skip
    return replace(_template(), answers=answers, promise=Promise(floor=0.0, max_loss=margin))


def _simulated(word: str) -> Figure:
    """Draws at the margin, each a result with its gate."""
    rows, margin = figures.SIMULATED_ROWS, figures.SIMULATED_MARGIN
    shares = sorted({margin, *figures.DISCORDANCES})
    dice = np.random.default_rng([SEED, rows])
    wrong = 0
    for share in shares:
        lost = (share + margin) / 2
        cells = dice.multinomial(rows, [lost, share - lost, 1 - share], size=SIMULATED // len(shares))
        draws, counts = np.unique(cells[:, :2], axis=0, return_counts=True)
        said = [safety(_result(int(one[0]), int(one[1]), rows, margin)) == word for one in draws]
        wrong += int(counts[said].sum())
    return Figure(
        label=f"simulated results at the margin called {word}",
        k=wrong,
        n=SIMULATED // len(shares) * len(shares),
        at_most=SIMULATED_ERRING,
        note=f"{rows} rows, margin {100 * margin:g} points, discordance {100 * shares[0]:g} to {100 * shares[-1]:g} %",
    )


PART = Part(
    name="non-inferiority",
    claim=f"a loss of exactly the margin is said to be within it, or beyond, {100 * ERRING:g} % of the time at most",
    run=run,
    appendix=power_table,
)
