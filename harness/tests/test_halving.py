# the expectation stands on the left
"""Laws of successive halving: it finds what is faster, and what it says of its best flatters."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.tuning.halving import Rung, halving, rungs

LAW = settings(max_examples=200)
NOISE = 0.1
"""Of a log-ratio of one round."""


def names(count: int) -> list[str]:
    return [f"candidate {number}" for number in range(count)]


def exact(truth: Mapping[str, float]) -> Rung:
    return lambda left, number: {name: truth[name] for name in left}


def noisy(truth: Callable[[str], float], seed: int) -> Rung:
    """Medians of 8 rounds, of 16 at the next rung, and so on."""
    dice = np.random.default_rng(seed)

    def rung(left: Sequence[str], number: int) -> dict[str, float]:
        return {name: float(np.median(dice.normal(truth(name), NOISE, 8 * 2**number))) for name in left}

    return rung


@LAW
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40, unique=True))
def test_without_noise_the_fastest_is_left_and_each_rung_keeps_the_better_half(values: list[float]) -> None:
    truth = dict(zip(names(len(values)), values, strict=True))
    standings = list(halving(list(truth), exact(truth)))
    assert (max(truth, key=truth.__getitem__),) == standings[-1].kept
    assert rungs(len(values)) == [len(standing.ratios) for standing in standings]
    for before, after in pairwise(standings):
        assert set(before.kept) == set(after.ratios)
        dropped = set(before.ratios) - set(before.kept)
        assert max(before.ratios[name] for name in dropped) <= min(before.ratios[name] for name in before.kept)


@LAW
@given(st.integers(1, 40), st.data())
def test_who_fails_is_dropped_and_the_search_ends_all_the_same(count: int, data: st.DataObject) -> None:
    def rung(left: Sequence[str], number: int) -> dict[str, float]:
        return {name: 0.0 for name in left if data.draw(st.booleans())}

    standings = list(halving(names(count), rung))
    assert len(standings[-1].kept) <= 1
    assert len(standings) <= len(rungs(count))


def test_a_search_that_is_not_asked_on_measures_no_further() -> None:
    asked: list[int] = []

    def rung(left: Sequence[str], number: int) -> dict[str, float]:
        asked.append(number)
        return dict.fromkeys(left, 0.0)

    next(halving(names(16), rung))
    assert [0] == asked


def test_the_best_of_identical_candidates_seems_faster_where_it_was_chosen_and_is_not_in_fresh_rounds() -> None:
    chosen, fresh = [], []
    for seed in range(300):
        rung = noisy(lambda name: 0.0, seed)
        *_, last = halving(names(24), rung)
        chosen.append(last.ratios[last.kept[0]])
        fresh.append(rung(last.kept, 4)[last.kept[0]])
    error = 1.2533 * NOISE / math.sqrt(128) / math.sqrt(300)  # of a mean of 300 medians of 128 rounds
    assert np.mean(chosen) > 5 * error
    assert abs(np.mean(fresh)) < 4 * error


def test_noise_rarely_hides_what_is_plainly_faster() -> None:
    found = 0
    for seed in range(200):
        *_, last = halving(names(24), noisy(lambda name: 0.1 if name == "candidate 7" else 0.0, seed))
        found += last.kept == ("candidate 7",)
    assert found >= 180
