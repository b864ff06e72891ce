"""Results of runs that never happened, with speed-ups and answers as they are wanted."""

from pathlib import Path

import factory
import numpy as np

from harness.results.store import save

HERE = factory.elsewhere(packages={"torch": "2.13", "numpy": "2.4"})
ROWS = 1000


def series(factor=2.0, length=8, rounds=15, launches=4, **changed):
    """Rounds in which the case is `factor` times faster than the reference, of rows that are so long."""
    known = {"noise": 0.005, "lengths": ((length,) * rounds,) * launches}
    return factory.series(factor, rounds=rounds, launches=launches, **(known | changed))


def answers(wrong=0, first=0):
    """Answers with so many wrong rows, from the `first` on; the reference has none."""
    right = "".join("0" if first <= row < first + wrong else "1" for row in range(ROWS))
    return factory.answers(lost=wrong, rows=ROWS, score=1.0, correct=right)


def run(number, factors=(2.0,), wrong=0, here=HERE, **changed):
    """The run of this number; `factors` are its speed-ups at batch 1, 16, …"""
    known = {
        "task": "toy",
        "model": "bag",
        "measurement": f"run-{number}",
        "created": f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00",
        "environment": here,
        "recipe": {"source": {"type": "Native", "target": "bag.py:Bag"}},
        "answers": answers(wrong),
        "series": tuple(
            series(factor, batch=batch, seed=10 * number + batch)
            for factor, batch in zip(factors, (1, 16), strict=False)
        ),
    }  # fmt: skip
    return factory.result(**({"backend": "numpy"} | known | changed))


def drawn(middle, count, seed, noise=0.02, first=0, **changed):
    """So many runs whose speed-ups spread by `noise` around `middle`."""
    dice = np.random.default_rng(seed)
    found = np.exp(np.log(middle) + dice.normal(0, noise, count))
    return [run(first + number, (float(factor),), **changed) for number, factor in enumerate(found)]


def store(folder: Path, runs):
    """Write every run to a sub-folder of its own, as somebody does who keeps them by day."""
    for number, result in enumerate(runs):
        save(folder / f"day-{number}", result)
    return folder
