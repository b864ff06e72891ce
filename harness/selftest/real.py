"""Real models of the suites: workers that are alike or not, and runs of unchanged code."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import harness
from harness.artifacts.cache import Artifacts
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_INT8, PYTORCH
from harness.contracts.backend import CONTROL, REFERENCE, Backend, Target
from harness.contracts.kind import Arrays
from harness.data import splits
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.evaluation import predictions
from harness.evaluation.answers import check_timed
from harness.evaluation.predictions import Evaluation
from harness.measure.client import Worker
from harness.measure.rounds import batch_rows, measure
from harness.measure.samples import Arm, Measurement, Samples, Settings, WorkloadInputs
from harness.pipeline import record
from harness.regression.changes import Change, find_changes
from harness.results.schema import Result
from harness.selftest import figures, toys
from harness.selftest.figures import SEED, Figure, Workspace, count, part
from harness.selftest.simulation import spread
from harness.spec import Gate
from harness.stats.intervals import Interval, median_interval
from harness.util.identity import load_symbol
from harness.util.machine import describe, usable_cores
from harness.util.store import Entry, Store
from harness.verdicts.comparability import by_case
from harness.verdicts.speed import agreed_pace, flatten, own_speedup, paired_speedups

SUITES = Path(harness.__file__).parents[1] / "suites"

SAME = [f"same-{number}" for number in range(figures.REAL_SAME)]
MORE = [f"more-{number}" for number in range(figures.REAL_MORE)]
"""Workers with the same work and with 5 % more, in each measurement."""
REFERENCES = SAME[: figures.REAL_REFERENCES]
"""Identical workers that each worker with more work is compared with."""

OWN, HEAVIER = ONNXRUNTIME_INT8.name, "heavier"


@dataclass(frozen=True)
class Real:
    """A fine-tuned model of a suite, its float export, and the reference's answers on some of its test rows."""

    shop: Artifacts
    gate: Gate
    checkpoint: Entry
    artifact: Entry
    inputs: Inputs
    reference: Evaluation

    def measure(self, arms: Sequence[Arm], load: WorkloadInputs, **options: Any) -> Measurement:
        """Measure arms of this model; raise the error of an arm that failed."""

        def check(name: str, rows: list[int], outputs: Arrays) -> None:
            if name not in (OWN, HEAVIER):  # the int8 form's answers differ, and only its time is used
                check_timed(name, self.reference, rows, outputs)

        settings = Settings(self.shop.target, timeout_s=figures.REAL_TIMEOUT_S, **options)
        measurement = measure(arms, [load], settings, check, lambda samples: False, self.shop.progress)
        for error in measurement.failed.values():
            raise error
        return measurement


def prepare(suite: str, model: str, workspace: Workspace) -> Real:
    """Prepare a model as `pytest suites` does, with evenly spread test rows."""
    file = SUITES / suite
    if not file.exists():
        raise HarnessError(f"{file}: not found; the self-test needs the repository's suites, so run it from a checkout")
    task, chosen = load_symbol(str(file), "TASK"), load_symbol(str(file), model)
    shop = Artifacts(
        task=task,
        model=chosen,
        folder=SUITES,
        target=Target("cpu", usable_cores()),
        store=Store(workspace.artifacts, workspace.progress.say),
        progress=workspace.progress,
        timeout_s=figures.REAL_TIMEOUT_S,
        retrain=False,
    )
    split = splits.load(task, SUITES)
    checkpoint = shop.checkpoint(split)
    whole = shop.inputs(split, checkpoint)
    kept = np.linspace(0, len(whole) - 1, figures.REAL_ROWS).astype(int).tolist()
    examples = [whole.encoded.examples[row] for row in kept]
    inputs = replace(whole, encoded=whole.encoded._replace(rows=split.test.select(kept), examples=examples))
    return Real(
        shop=shop,
        gate=load_symbol(str(file), "MODELS")[chosen],
        checkpoint=checkpoint,
        artifact=shop.artifact(ONNXRUNTIME, checkpoint),
        inputs=inputs,
        reference=collect(shop, PYTORCH, checkpoint.path, inputs),
    )


def collect(shop: Artifacts, backend: Backend, artifact: Path, inputs: Inputs) -> Evaluation:
    """Score a backend in a fresh worker, and keep nothing."""
    with (
        TemporaryDirectory() as out,
        Worker(backend, artifact, shop.target, shop.timeout_s, kind=inputs.kind) as worker,
    ):
        info: dict[str, Any] = predictions.collect(
            worker, inputs, list(inputs.metrics.values()), Path(out), shop.progress, shop.model.name
        )
        return predictions.read(Path(out), info)


@part(
    "real-workers",
    "fresh PyTorch workers of MiniLM: 30 identical pairs are not said to differ, 20 of 20 with 5 % more work are",
)
def real_workers(workspace: Workspace) -> Iterator[Figure]:
    """Compare every pair of identical workers. They share a measurement, since each takes seconds to launch."""
    real = prepare("test_bbc_news.py", "MINILM", workspace)
    measured = [_measure_workers(real, seed) for seed in range(figures.REAL_MEASUREMENTS)]
    pairs = [(samples, *pair) for samples in measured for pair in combinations(SAME, 2)]
    differ = (agreed_pace(_speedups(*pair)) in ("faster", "slower") for pair in pairs)
    note = f"every pair of {len(SAME)} workers in {figures.REAL_MEASUREMENTS} measurements; {_noise(measured)}"
    yield count("pairs of identical workers said to differ", differ, at_most=0, note=note)
    more = [_speedups(samples, reference, own) for samples in measured for reference in REFERENCES for own in MORE]
    note = f"{len(MORE)} in each measurement, each against {len(REFERENCES)} references; speed-ups "
    note += ", ".join(f"{own.estimate:.3f} [{own.low:.3f}, {own.high:.3f}]" for own, *_ in more)
    slower = (agreed_pace(speedups) == "slower" for speedups in more)
    yield count("workers with 5 % more work called slower", slower, note=note)
    naive = [median_interval(np.log(s.ns[reference][0]) - np.log(s.ns[own][0])) for s, reference, own in pairs]
    differ = (interval.low > 0 or interval.high < 0 for interval in naive)
    label = "one launch, a sign test, no tolerance: pairs of identical workers said to differ"
    yield count(label, differ, at_least=1, control=True)


def _measure_workers(real: Real, seed: int) -> Samples:
    path = real.checkpoint.path
    arms = [Arm(name, PYTORCH, path) for name in SAME]
    arms += [Arm(name, Backend(name="repeating", load=toys.repeating), path) for name in MORE]
    order = np.random.default_rng([SEED, seed]).permutation(len(real.inputs)).tolist()
    load = WorkloadInputs(1, seed, lambda number: batch_rows(order, number, 1), real.inputs.batch)
    return real.measure(arms, load, looks=(figures.REAL_ROUNDS,), budget_s=figures.REAL_BUDGET_S, seed=seed).samples[0]


def _speedups(samples: Samples, reference: str, own: str) -> list[Interval]:
    """Return the speed-ups that a session would measure of two workers, with a third one as control."""
    control = next(name for name in SAME if name not in (reference, own))
    return paired_speedups(samples.ns[reference], samples.ns[own], samples.ns[control], 1)


def _noise(measured: Sequence[Samples]) -> str:
    launches = [zip(samples.ns[SAME[0]], samples.ns[SAME[1]], strict=True) for samples in measured]
    noise = spread([np.log(first) - np.log(second) for pairs in launches for first, second in pairs])
    rounds = ", ".join(str(samples.rounds) + (" (cut)" if samples.cut_short else "") for samples in measured)
    intervals = [_speedups(samples, *SAME[:2])[0] for samples in measured]
    widest = max(math.log(interval.high / interval.low) / 2 for interval in intervals)
    return f"rounds {rounds}; noise within a launch {100 * noise:.1f} %; widest interval ± {100 * widest:.1f} %"


@part("regressions", "none of 40 unchanged real runs has regressed against 5 stored ones")
def unchanged_runs(workspace: Workspace) -> Iterator[Figure]:
    """Compare the ViT's int8 form with its float form, the reference here: both launch quickly."""
    real = prepare("test_digits.py", "TINY_VIT", workspace)
    before = figures.STORED_RUNS
    heavier = range(before, before + figures.HEAVIER_RUNS)
    runs = [_measure_run(real, number, number in heavier) for number in range(before + figures.TODAYS_RUNS)]
    results = [_result(real, measurement, OWN, number) for number, measurement in enumerate(runs)]
    stored, today = results[:before], results[before:]
    changes = [_change(stored, result) for result in today]
    regressed = (change.word == "regressed" for change in changes)
    gains = [own_speedup(result.series[0]).estimate for result in results]
    note = f"speed-ups {min(gains):.3f} to {max(gains):.3f}, spread {100 * np.std(np.log(gains), ddof=1):.1f} %; "
    note += ", ".join(f"{n} {word}" for word, n in Counter(change.word for change in changes).items())
    yield count("unchanged runs said to have regressed", regressed, at_most=0, note=note)
    slowed = [_change(stored, _result(real, runs[number], HEAVIER, number)) for number in heavier]
    note = ", ".join(f"{slow.change.estimate:.3f} {slow.word}" if slow.change else slow.why for slow in slowed)
    regressed = (change.word == "regressed" for change in slowed)
    yield count("the same with twice the work said to have regressed", regressed, control=True, note=note)
    lowest = max(_rounds_alone(result).low for result in stored)
    below = (_rounds_alone(result).high < lowest for result in today)
    label = "launches and runs believed to be alike: unchanged runs below a stored one"
    yield count(label, below, at_least=1, control=True)


def _rounds_alone(result: Result) -> Interval:
    """Switch the safety off: return the sign test's interval, as if all rounds came of one endless launch."""
    series = result.series[0]
    return median_interval(np.log(flatten(series.reference_ns)) - np.log(flatten(series.own_ns)))


def _measure_run(real: Real, seed: int, heavy: bool) -> Measurement:
    small = real.shop.artifact(ONNXRUNTIME_INT8, real.artifact).path
    arms = [Arm(name, ONNXRUNTIME, real.artifact.path) for name in (REFERENCE, CONTROL)]
    arms.append(Arm(OWN, ONNXRUNTIME_INT8, small))
    if heavy:
        arms.append(Arm(HEAVIER, Backend(name=HEAVIER, load=toys.doubling), small))
    load = WorkloadInputs(1, 0, lambda number: [number % figures.REAL_ROWS], real.inputs.batch)
    return real.measure(arms, load, looks=(figures.RUN_ROUNDS,), seed=seed)


def _result(real: Real, measurement: Measurement, name: str, number: int) -> Result:
    """Return an arm's result as it would be stored, of a case that is always the same."""
    task, model, threads = real.shop.task.name, real.shop.model.name, real.shop.target.threads
    return Result(
        task=task, model=model, backend=OWN, device="cpu", status="ok", measurement=f"{name} {number}",
        created=f"{number:04}", recipe={}, environment=describe("local", threads, SUITES),
        series=(record.series_of(name, measurement.samples[0], measurement, threads),),
    )  # fmt: skip


def _change(stored: Sequence[Result], today: Result) -> Change:
    (change,) = find_changes(by_case(stored), by_case([today]))
    return change
