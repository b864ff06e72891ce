"""Results of runs that never happened, with speed-ups and answers as they are wanted."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from harness import results
from harness.environment import Environment
from harness.schema import Answers, Data, Promise, Result, Series, Workload

HERE = Environment(
    machine="toy-machine",
    cpu="abacus",
    flags=("avx2",),
    cores=2,
    memory_gib=1.0,
    accelerator=None,
    system="Linux 6",
    python="3.11",
    packages={"torch": "2.13", "numpy": "2.4"},
    threads=2,
    wait_policy="passive",
    commit="0123456789abcdef",
    dirty=False,
    load_before=0.1,
)
ROWS = 1000


def series(factor=2.0, batch=1, noise=0.005, seed=0, control=1.0, starts=4, rounds=15, length=8):
    """Rounds in which the case is `factor` times faster than the reference, and the control `control` times."""
    dice = np.random.default_rng(seed)

    def times(middle):
        return tuple(
            tuple(int(1e6 * middle * np.exp(dice.normal(0, noise))) for _ in range(rounds)) for _ in range(starts)
        )

    return Series(
        workload=Workload(batch=batch, threads=2, order_seed=0),
        loops=1,
        own_ns=times(1 / factor),
        reference_ns=times(1),
        control_ns=times(1 / control),
        rows=(tuple(range(rounds)),) * starts,
        lengths=((length,) * rounds,) * starts,
        arms=1,
    )


def answers(wrong=0, first=0):
    """Answers with so many wrong rows, from the `first` on."""
    right = "".join("0" if first <= row < first + wrong else "1" for row in range(ROWS))
    return Answers(
        rows=ROWS,
        score=1 - wrong / ROWS,
        reference_score=1.0,
        lost=wrong,
        gained=0,
        agreement=1 - wrong / ROWS,
        compared_with="pytorch",
        source_score=1.0,
        source_lost=wrong,
        source_gained=0,
        source_agreement=1 - wrong / ROWS,
        largest_difference=1e-6,
        right=right,
    )


def run(number, factors=(2.0,), wrong=0, here=HERE, **changed):
    """The run of this number; `factors` are its speed-ups at batch 1, 16, …"""
    known = Result(
        task="toy",
        model="bag",
        backend="numpy",
        device="cpu",
        status="ok",
        measurement=f"run-{number}",
        created=f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00",
        environment=here,
        recipe={"source": {"type": "Native", "target": "bag.py:Bag"}},
        data=Data(
            source="toydata: rows.csv",
            source_sha256="00",
            kind="text-classification",
            metric="accuracy",
            labels=("a", "b"),
            sizes={"test": ROWS},
            sha256={"test": "11"},
            duplicates=0,
        ),
        answers=answers(wrong),
        series=tuple(
            series(factor, batch, seed=10 * number + batch)
            for factor, batch in zip(factors, (1, 16), strict=False)
        ),
        promise=Promise(floor=0.9, max_loss=0.01),
    )  # fmt: skip
    return replace(known, **changed)


def drawn(middle, count, seed, noise=0.02, first=0, **changed):
    """So many runs whose speed-ups spread by `noise` around `middle`."""
    dice = np.random.default_rng(seed)
    found = np.exp(np.log(middle) + dice.normal(0, noise, count))
    return [run(first + number, (float(factor),), **changed) for number, factor in enumerate(found)]


def store(folder: Path, runs):
    """Write every run to a sub-folder of its own, as somebody does who keeps them by day."""
    for number, result in enumerate(runs):
        results.save(folder / f"day-{number}", result)
    return folder
