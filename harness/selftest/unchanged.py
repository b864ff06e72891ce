"""Unchanged code does not regress: real runs of one comparison, some stored, the others held against them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from harness.accuracy.parity import check_timed
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_INT8
from harness.contracts import CONTROL, REFERENCE, Arrays
from harness.environment import describe
from harness.records import timings
from harness.records.schema import Result
from harness.rounds.measure import measure
from harness.rounds.samples import Arm, Load, Measurement, Settings
from harness.runs.regress import Line, regressions
from harness.selftest import figures, heavier
from harness.selftest.part import Figure, Given, Part
from harness.selftest.real import SUITES, TIMEOUT_S, Real, prepare
from harness.selftest.toys import toy
from harness.statistics.stats import Interval, median_interval
from harness.verdicts.alike import by_case
from harness.verdicts.speed import flat, own_speedup

OWN, HEAVIER = ONNXRUNTIME_INT8.name, "heavier"


def run(given: Given) -> Iterator[Figure]:
    """ONNX Runtime's int8 form of the ViT against its float form, which is the reference here: both start quickly."""
    real = prepare("test_digits.py", "TINY_VIT", figures.REAL_ROWS, given)
    blank = _blank(real)
    runs = []
    for number in range(figures.STORED_RUNS + figures.TODAYS_RUNS):
        heavy = figures.STORED_RUNS <= number < figures.STORED_RUNS + figures.HEAVIER_RUNS
        runs.append(_measured(real, number, heavy, given))
    results = [_result(blank, found, OWN, number) for number, found in enumerate(runs)]
    stored, today = results[: figures.STORED_RUNS], results[figures.STORED_RUNS :]
    lines = [_held(stored, result) for result in today]
    yield Figure(
        label="unchanged runs said to have regressed",
        k=sum(line.word == "regressed" for line in lines),
        n=len(lines),
        at_most=0,
        note=_told(results, lines),
    )
    slowed = [
        _held(stored, _result(blank, found, HEAVIER, number))
        for number, found in enumerate(runs)
        if HEAVIER in found.lives
    ]
    yield Figure(
        label="the same with twice the work said to have regressed",
        k=sum(line.word == "regressed" for line in slowed),
        n=len(slowed),
        at_least=len(slowed),
        control=True,
        note=", ".join(f"{line.change.estimate:.3f} {line.word}" if line.change else line.why for line in slowed),
    )
    before, gains = list(map(_of_rounds_alone, stored)), list(map(_of_rounds_alone, today))
    yield Figure(
        label="starts and runs believed to be alike: unchanged runs below a stored one",
        k=sum(any(gain.high < old.low for old in before) for gain in gains),
        n=len(gains),
        at_least=figures.UNWIDENED,
        control=True,
    )


def _of_rounds_alone(result: Result) -> Interval:
    """The safety switched off: the sign test's interval, as if all rounds came of one start that lasts for ever."""
    series = result.series[0]
    return median_interval(np.log(flat(series.reference_ns)) - np.log(flat(series.own_ns)))


def _measured(real: Real, seed: int, heavy: bool, given: Given) -> Measurement:
    small = real.shop.artifact(ONNXRUNTIME_INT8, real.artifact).path
    arms = [
        Arm(REFERENCE, ONNXRUNTIME, real.artifact.path),
        Arm(CONTROL, ONNXRUNTIME, real.artifact.path),
        Arm(OWN, ONNXRUNTIME_INT8, small),
    ]
    if heavy:
        arms.append(Arm(HEAVIER, toy(HEAVIER, heavier.doubling), small))
    load = Load(1, 0, lambda number: [number % figures.REAL_ROWS], real.inputs.batch)
    settings = Settings(real.shop.target, looks=(figures.RUN_ROUNDS,), timeout_s=TIMEOUT_S, seed=seed)
    found = measure(arms, [load], settings, partial(_check, real), lambda samples: False, given.progress)
    for error in found.failed.values():
        raise error
    return found


def _check(real: Real, name: str, rows: list[int], outputs: Arrays) -> None:
    """The float form's answers are known; of the int8 form's, time is all that is asked for."""
    if name in (REFERENCE, CONTROL):
        check_timed(name, real.reference, rows, outputs)


def _blank(real: Real) -> Result:
    return Result(
        task=real.shop.task.name, model=real.shop.model.name, backend=OWN, device="cpu", status="ok", measurement="",
        created="", environment=describe("local", real.shop.target.threads, SUITES), recipe={},
    )  # fmt: skip


def _result(blank: Result, found: Measurement, name: str, number: int) -> Result:
    """As it would be stored, of the case that is always the same."""
    threads = blank.environment.threads
    return replace(
        blank,
        measurement=f"{name} {number}",
        created=f"{number:04}",
        series=(timings.series_of(name, found.samples[0], found, threads),),
    )


def _held(stored: Sequence[Result], today: Result) -> Line:
    (line,) = regressions(by_case(stored), by_case([today]))
    return line


def _told(results: Sequence[Result], lines: Sequence[Line]) -> str:
    gains = [own_speedup(result.series[0]).estimate for result in results]
    words = {word: sum(line.word == word for line in lines) for word in ("unchanged", "improved", "undecided")}
    return (
        f"speed-ups {min(gains):.3f} to {max(gains):.3f}, spread {100 * np.std(np.log(gains), ddof=1):.1f} %; "
        + ", ".join(f"{n} {word}" for word, n in words.items() if n)
    )


PART = Part(
    name="regressions",
    claim=f"{figures.TODAYS_RUNS} unchanged real runs, held against {figures.STORED_RUNS} stored ones: none regressed",
    run=run,
)
