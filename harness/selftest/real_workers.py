"""Fresh PyTorch workers of MiniLM: identical ones are not said to differ, and a twentieth more work is found.

Workers take seconds to start, so that several share a measurement, and each is held against several others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np

from harness.accuracy.parity import check_timed
from harness.backends import PYTORCH
from harness.contracts import Arrays
from harness.rounds.measure import measure
from harness.rounds.order import batch_of
from harness.rounds.samples import Arm, Load, Samples, Settings
from harness.selftest import figures, heavier
from harness.selftest.part import Figure, Given, Part
from harness.selftest.real import TIMEOUT_S, Real, prepare
from harness.selftest.toys import toy
from harness.statistics.stats import Interval, median_interval
from harness.verdicts.speed import TOLERANCE, agreed, both, flat

SAME = [f"same-{number}" for number in range(figures.REAL_SAME)]
MORE = [f"more-{number}" for number in range(figures.REAL_MORE)]
MAD = 1.4826


def run(given: Given) -> Iterator[Figure]:
    """Every pair of the identical is a comparison, with a third of them as its control."""
    real = prepare("test_bbc_news.py", "MINILM", figures.REAL_ROWS, given)
    measured = [_measured(real, seed, given) for seed in range(figures.REAL_MEASUREMENTS)]
    same = [_held(part, *pair) for part in measured for pair in combinations(SAME, 2)]
    wrong = sum(agreed(found) in ("faster", "slower") for found in same)
    yield Figure(
        label="pairs of identical workers said to differ",
        k=wrong,
        n=len(same),
        at_most=0,
        note=f"every pair of {len(SAME)} workers in {len(measured)} measurements; " + _told(measured),
    )
    references = SAME[: figures.REAL_REFERENCES]
    more = [_held(part, one, other) for part in measured for one in references for other in MORE]
    yield Figure(
        label="workers with a twentieth more work called slower",
        k=sum(agreed(found) == "slower" for found in more),
        n=len(more),
        at_least=len(more),
        note=f"{len(MORE)} in each measurement, each against {len(references)} references; speed-ups "
        + ", ".join(f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]" for found, *_ in more),
    )
    naive = [_sign_test(part, *pair) for part in measured for pair in combinations(SAME, 2)]
    yield Figure(
        label="one start, a sign test, no tolerance: pairs of identical workers said to differ",
        k=sum(found.low > 0 or found.high < 0 for found in naive),
        n=len(naive),
        at_least=1,
        control=True,
    )


def _measured(real: Real, seed: int, given: Given) -> Samples:
    path = real.checkpoint.path
    arms = [Arm(name, PYTORCH, path) for name in SAME]
    arms += [Arm(name, toy("repeating", heavier.repeating), path) for name in MORE]
    order = np.random.default_rng([figures.SEED, seed]).permutation(len(real.inputs)).tolist()
    load = Load(1, seed, lambda number: batch_of(order, number, 1), real.inputs.batch)
    settings = Settings(
        real.shop.target, looks=(figures.REAL_ROUNDS,), budget_s=figures.REAL_BUDGET_S, timeout_s=TIMEOUT_S, seed=seed
    )
    found = measure(arms, [load], settings, partial(_check, real), lambda samples: False, given.progress)
    for error in found.failed.values():
        raise error
    return found.samples[0]


def _check(real: Real, name: str, rows: list[int], outputs: Arrays) -> None:
    check_timed(name, real.reference, rows, outputs)


def _held(samples: Samples, reference: str, own: str) -> list[Interval]:
    """As a session of these three would."""
    third = next(name for name in SAME if name not in (reference, own))
    return both(samples.ns[reference], samples.ns[own], samples.ns[third], 1)


def _sign_test(samples: Samples, one: str, other: str) -> Interval:
    return median_interval(np.log(samples.ns[one][0]) - np.log(samples.ns[other][0]))


def _told(measured: Sequence[Samples]) -> str:
    """How loud the machine was."""
    noise = []
    for part in measured:
        for one, other in zip(part.ns[SAME[0]], part.ns[SAME[1]], strict=True):
            ratios = np.log(one) - np.log(other)
            noise += [MAD * float(np.median(np.abs(ratios - np.median(ratios))))]
    calls = [ns / 1e6 for part in measured for ns in flat(part.ns[SAME[0]])]
    rounds = ", ".join(str(part.rounds) + (" (cut)" if part.cut else "") for part in measured)
    widest = max(math.log(_held(part, *SAME[:2])[0].high / _held(part, *SAME[:2])[0].low) / 2 for part in measured)
    return (
        f"rounds {rounds}; a call {np.median(calls):.1f} ms; noise within a start {100 * np.median(noise):.1f} %; "
        f"widest interval ± {100 * widest:.1f} %, the tolerance is {100 * (TOLERANCE - 1):.0f} %"
    )


PART = Part(
    name="real-workers",
    claim="fresh PyTorch workers of MiniLM: 30 identical pairs are not said to differ, 20 of 20 with 5 % more work are",
    run=run,
)
