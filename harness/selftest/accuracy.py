"""Non-inferiority: a drop of exactly the margin is rarely said to lie within it, or beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import binom

from harness.contracts.backend import REFERENCE
from harness.results.schema import Answers, Data, Result
from harness.selftest import figures
from harness.selftest.figures import SEED, Figure, Workspace, count, part
from harness.spec import Gate
from harness.stats.intervals import Interval, drop_interval, paired_difference
from harness.util.machine import describe
from harness.verdicts.accuracy import judge_accuracy

Bounds = Callable[[int, int, int], Interval]
"""(lost, gained, rows) → the drop and its one-sided bounds."""
Rule = Callable[[Interval, float], bool]
"""(drop, margin) → True if the rule makes its claim."""
SETTINGS: Sequence[tuple[int, float, float]] = [
    (rows, share, margin)
    for margin, rows in product(figures.MARGINS, figures.SIZES)
    for share in (margin, *(share for share in figures.DISCORDANCES if share > margin))
]
"""Rows, discordance, margin."""
NEGLIGIBLE = 1e-10
"""Mass of the binomial's tails that is not summed."""


def within(drop: Interval, margin: float) -> bool:
    """Return True if a verdict would say `not worse`."""
    return drop.high < margin


def beyond(drop: Interval, margin: float) -> bool:
    """Return True if a verdict would say `worse`."""
    return drop.low > margin


def chance(bounds: Bounds, rule: Rule, rows: int, margin: float, lost: float, gained: float) -> float:
    """Return the probability that a rule makes its claim, where a row is lost or gained with these probabilities.

    The sum is exact. It relies on bounds that are monotone in the rows lost.
    """
    first, last = (int(binom.ppf(end, rows, gained)) for end in (NEGLIGIBLE, 1 - NEGLIGIBLE))
    total = 0.0
    for gains in range(first, last + 1):
        few, many = -1, rows - gains + 1  # rows lost: the claim changes once between them
        while many - few > 1:
            middle = (few + many) // 2
            if rule(bounds(middle, gains, rows), margin) == (rule is within):
                few = middle
            else:
                many = middle
        rest = binom(rows - gains, lost / (1 - gained))
        total += binom.pmf(gains, rows, gained) * (rest.cdf(few) if rule is within else rest.sf(few))
    return float(total)


def uncorrected_drop(lost: int, gained: int, rows: int) -> Interval:
    """Return the published interval uncorrected, as a drop."""
    gain = paired_difference(lost, gained, rows)
    return Interval(-gain.estimate, -gain.high, -gain.low)


@part(
    "non-inferiority",
    "a drop of exactly the margin is said to be within or beyond it at most 5 % of the time",
)
def non_inferiority(workspace: Workspace) -> Iterator[Figure]:
    """Sum exactly where possible; the simulation goes through stored results, as a verdict does."""
    limit = f"over {100 * figures.ERROR_RATE:g} % of the time, settings"
    for label, rule in (("a drop of the margin passes", within), ("a drop of the margin is called proven", beyond)):
        errors, note = _errors(drop_interval, rule)
        yield count(f"{label} {limit}", errors, at_most=0, note=note)
    yield _simulated("not worse")
    yield _simulated("worse")
    errors, note = _errors(uncorrected_drop, beyond)
    label = f"the interval not corrected: the same is called proven {limit}"
    yield count(label, errors, at_least=figures.UNCORRECTED_ERRORS, control=True, note=note)


def _errors(bounds: Bounds, rule: Rule) -> tuple[list[bool], str]:
    """Return, for each setting, True if the rule errs more often than ERROR_RATE; and a note on the worst."""
    cached = cache(bounds)
    chances = [
        chance(cached, rule, rows, margin, (share + margin) / 2, (share - margin) / 2)
        for rows, share, margin in SETTINGS
    ]
    worst = max(chances)
    rows, share, margin = SETTINGS[chances.index(worst)]
    note = f"at most {100 * worst:.2f} %: {rows} rows, {100 * share:g} % flip, margin {100 * margin:g} points"
    return [p > figures.ERROR_RATE for p in chances], note


def _simulated(word: str) -> Figure:
    """Draw results at the margin, each with its gate, and count those that are judged to be `word`."""
    rows, margin = figures.SIMULATED_ROWS, figures.SIMULATED_MARGIN
    shares = sorted({margin, *figures.DISCORDANCES})
    each = figures.SIMULATED // len(shares)
    rng = np.random.default_rng([SEED, rows])
    wrong = 0
    for share in shares:
        p = (share + margin) / 2
        cells = rng.multinomial(rows, [p, share - p, 1 - share], size=each)
        draws, counts = np.unique(cells[:, :2], axis=0, return_counts=True)
        errs = [judge_accuracy(_result(lost, gained, rows, margin)) == word for lost, gained in draws.tolist()]
        wrong += int(counts[errs].sum())
    note = f"{rows} rows, margin {100 * margin:g} points, discordance {100 * shares[0]:g} to {100 * shares[-1]:g} %"
    label = f"simulated results at the margin called {word}"
    return Figure(label=label, k=wrong, n=each * len(shares), at_most=figures.SIMULATED_ERRORS, note=note)


def _result(lost: int, gained: int, rows: int, margin: float) -> Result:
    """Return a result as it would be stored."""
    answers = Answers(
        rows=rows, score=1 - lost / rows, reference_score=1 - gained / rows, lost=lost, gained=gained, agreement=1.0,
        compared_with=REFERENCE, source_score=None, source_lost=0, source_gained=0, source_agreement=1.0,
        largest_difference=0.0, correct="",
    )  # fmt: skip
    return replace(_template(), answers=answers, gate=Gate(min_score=0.0, max_drop=margin))


@cache
def _template() -> Result:
    """Return a result without rows."""
    data = Data(source="", source_sha256="", kind="", metric="accuracy", labels=(), sizes={}, sha256={}, duplicates=0)
    return Result(
        task="none", model="none", backend="toy", device="cpu", status="ok", measurement="none", created="",
        environment=describe("local", 1, Path(__file__).parent), recipe={}, data=data,
    )  # fmt: skip
