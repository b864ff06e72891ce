"""Real models of the suites: workers that are alike or not, and runs of unchanged code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
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
from harness.evaluation.parity import check_timed
from harness.evaluation.predictions import Scored
from harness.measure.client import Worker
from harness.measure.rounds import batch_rows, measure
from harness.measure.samples import Arm, Measurement, Samples, Settings, WorkloadInputs
from harness.pipeline import record
from harness.regression.changes import Line, regressions
from harness.results.schema import Result
from harness.selftest import figures, toys
from harness.selftest.figures import REAL_TIMEOUT_S
from harness.selftest.part import Figure, Workspace, at_least, at_most, every, part
from harness.selftest.simulation import spread
from harness.spec import Gate
from harness.stats.intervals import Interval, median_interval
from harness.util.machine import Environment, describe, usable_cores
from harness.util.store import Entry, Store
from harness.util.symbols import load_symbol
from harness.verdicts.comparability import by_case
from harness.verdicts.speed import TOLERANCE, agreed, both, flat, own_speedup

SUITES = Path(harness.__file__).parents[1] / "suites"
SAME = [f"same-{number}" for number in range(figures.REAL_SAME)]
MORE = [f"more-{number}" for number in range(figures.REAL_MORE)]
OWN, HEAVIER = ONNXRUNTIME_INT8.name, "heavier"


@dataclass(frozen=True)
class Real:
    """A fine-tuned model of a suite, its float export, and the reference's answers on some of its test rows."""

    shop: Artifacts
    gate: Gate
    checkpoint: Entry
    artifact: Entry
    inputs: Inputs
    reference: Scored

    def measure(
        self, arms: Sequence[Arm], load: WorkloadInputs, settings: Settings, workspace: Workspace
    ) -> Measurement:
        """Measure arms of this model; raise the error of an arm that failed."""

        def check(name: str, rows: list[int], outputs: Arrays) -> None:
            if name not in (OWN, HEAVIER):  # the int8 form's answers differ, and only its time is used
                check_timed(name, self.reference, rows, outputs)

        measurement = measure(arms, [load], settings, check, lambda samples: False, workspace.progress)
        for error in measurement.failed.values():
            raise error
        return measurement


def prepare(suite: str, model: str, rows: int, workspace: Workspace) -> Real:
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
        timeout_s=REAL_TIMEOUT_S,
        retrain=False,
    )
    split = splits.load(task, SUITES)
    checkpoint = shop.checkpoint(split)
    whole = shop.inputs(split, checkpoint)
    kept = np.linspace(0, len(whole) - 1, rows).astype(int).tolist()
    examples = [whole.asked.examples[row] for row in kept]
    inputs = replace(whole, asked=whole.asked._replace(rows=split.test.select(kept), examples=examples))
    return Real(
        shop=shop,
        gate=load_symbol(str(file), "MODELS")[chosen],
        checkpoint=checkpoint,
        artifact=shop.artifact(ONNXRUNTIME, checkpoint),
        inputs=inputs,
        reference=collect(shop, PYTORCH, checkpoint.path, inputs),
    )


def collect(shop: Artifacts, backend: Backend, artifact: Path, inputs: Inputs) -> Scored:
    """Score a backend in a fresh worker."""
    with (
        TemporaryDirectory() as out,
        Worker(backend, artifact, shop.target, shop.timeout_s, kind=inputs.kind) as worker,
    ):
        info: dict[str, Any] = predictions.collect(worker, inputs, shop.task.metrics, Path(out), shop.progress)
        return predictions.read(Path(out), info)


@part(
    "real-workers",
    "fresh PyTorch workers of MiniLM: 30 identical pairs are not said to differ, 20 of 20 with 5 % more work are",
)
def real_workers(workspace: Workspace) -> Iterator[Figure]:
    """Compare every pair of identical workers. They share a measurement, since each takes seconds to launch."""
    real = prepare("test_bbc_news.py", "MINILM", figures.REAL_ROWS, workspace)
    measured = [_measure_workers(real, seed, workspace) for seed in range(figures.REAL_MEASUREMENTS)]
    pairs = [(samples, *pair) for samples in measured for pair in combinations(SAME, 2)]
    differ = (agreed(_speedups(*pair)) in ("faster", "slower") for pair in pairs)
    note = f"every pair of {len(SAME)} workers in {len(measured)} measurements; {_noise(measured)}"
    yield at_most(0, "pairs of identical workers said to differ", differ, note=note)
    references = SAME[: figures.REAL_REFERENCES]
    more = [_speedups(samples, one, other) for samples in measured for one in references for other in MORE]
    note = f"{len(MORE)} in each measurement, each against {len(references)} references; speed-ups "
    note += ", ".join(f"{own.estimate:.3f} [{own.low:.3f}, {own.high:.3f}]" for own, *_ in more)
    slower = (agreed(speedups) == "slower" for speedups in more)
    yield every("workers with 5 % more work called slower", slower, note=note)
    naive = [median_interval(np.log(s.ns[one][0]) - np.log(s.ns[other][0])) for s, one, other in pairs]
    differ = (interval.low > 0 or interval.high < 0 for interval in naive)
    label = "one launch, a sign test, no tolerance: pairs of identical workers said to differ"
    yield at_least(1, label, differ, control=True)


def _measure_workers(real: Real, seed: int, workspace: Workspace) -> Samples:
    path = real.checkpoint.path
    arms = [Arm(name, PYTORCH, path) for name in SAME]
    arms += [Arm(name, Backend(name="repeating", load=toys.repeating), path) for name in MORE]
    order = np.random.default_rng([figures.SEED, seed]).permutation(len(real.inputs)).tolist()
    load = WorkloadInputs(1, seed, lambda number: batch_rows(order, number, 1), real.inputs.batch)
    looks, budget_s = (figures.REAL_ROUNDS,), figures.REAL_BUDGET_S
    settings = Settings(real.shop.target, looks=looks, budget_s=budget_s, timeout_s=REAL_TIMEOUT_S, seed=seed)
    return real.measure(arms, load, settings, workspace).samples[0]


def _speedups(samples: Samples, reference: str, own: str) -> list[Interval]:
    """Return the speed-ups that a session of two workers and a third one as control would find."""
    control = next(name for name in SAME if name not in (reference, own))
    return both(samples.ns[reference], samples.ns[own], samples.ns[control], 1)


def _noise(measured: Sequence[Samples]) -> str:
    noise = [
        spread([np.log(one) - np.log(other)])
        for samples in measured
        for one, other in zip(samples.ns[SAME[0]], samples.ns[SAME[1]], strict=True)
    ]
    calls_ms = [ns / 1e6 for samples in measured for ns in flat(samples.ns[SAME[0]])]
    rounds = ", ".join(str(samples.rounds) + (" (cut)" if samples.cut else "") for samples in measured)
    intervals = [_speedups(samples, *SAME[:2])[0] for samples in measured]
    widest = max(math.log(interval.high / interval.low) / 2 for interval in intervals)
    return (
        f"rounds {rounds}; a call {np.median(calls_ms):.1f} ms; noise within a launch {100 * np.median(noise):.1f} %; "
        f"widest interval ± {100 * widest:.1f} %, the tolerance is {100 * (TOLERANCE - 1):.0f} %"
    )


@part(
    "regressions",
    f"none of {figures.TODAYS_RUNS} unchanged real runs has regressed against {figures.STORED_RUNS} stored ones",
)
def unchanged_runs(workspace: Workspace) -> Iterator[Figure]:
    """Compare the ViT's int8 form with its float form, the reference here: both launch quickly."""
    real = prepare("test_digits.py", "TINY_VIT", figures.REAL_ROWS, workspace)
    heavier = range(figures.STORED_RUNS, figures.STORED_RUNS + figures.HEAVIER_RUNS)
    total = figures.STORED_RUNS + figures.TODAYS_RUNS
    runs = [_measure_run(real, number, number in heavier, workspace) for number in range(total)]
    results = [_result(real, measurement, OWN, number) for number, measurement in enumerate(runs)]
    stored, today = results[: figures.STORED_RUNS], results[figures.STORED_RUNS :]
    lines = [_line(stored, result) for result in today]
    regressed = (line.word == "regressed" for line in lines)
    yield at_most(0, "unchanged runs said to have regressed", regressed, note=_changes(results, lines))
    slowed = [_line(stored, _result(real, runs[number], HEAVIER, number)) for number in heavier]
    note = ", ".join(f"{line.change.estimate:.3f} {line.word}" if line.change else line.why for line in slowed)
    regressed = (line.word == "regressed" for line in slowed)
    yield every("the same with twice the work said to have regressed", regressed, control=True, note=note)
    lowest = max(_of_rounds_alone(result).low for result in stored)
    below = (_of_rounds_alone(result).high < lowest for result in today)
    label = "launches and runs believed to be alike: unchanged runs below a stored one"
    yield at_least(figures.UNWIDENED, label, below, control=True)


def _of_rounds_alone(result: Result) -> Interval:
    """Switch the safety off: return the sign test's interval, as if all rounds came of one endless launch."""
    series = result.series[0]
    return median_interval(np.log(flat(series.reference_ns)) - np.log(flat(series.own_ns)))


def _measure_run(real: Real, seed: int, heavy: bool, workspace: Workspace) -> Measurement:
    small = real.shop.artifact(ONNXRUNTIME_INT8, real.artifact).path
    arms = [Arm(name, ONNXRUNTIME, real.artifact.path) for name in (REFERENCE, CONTROL)]
    arms.append(Arm(OWN, ONNXRUNTIME_INT8, small))
    if heavy:
        arms.append(Arm(HEAVIER, Backend(name=HEAVIER, load=toys.doubling), small))
    load = WorkloadInputs(1, 0, lambda number: [number % figures.REAL_ROWS], real.inputs.batch)
    settings = Settings(real.shop.target, looks=(figures.RUN_ROUNDS,), timeout_s=REAL_TIMEOUT_S, seed=seed)
    return real.measure(arms, load, settings, workspace)


def _result(real: Real, measurement: Measurement, name: str, number: int) -> Result:
    """Return an arm's result as it would be stored, of a case that is always the same."""
    threads = real.shop.target.threads
    return Result(
        task=real.shop.task.name, model=real.shop.model.name, backend=OWN, device="cpu", status="ok",
        measurement=f"{name} {number}", created=f"{number:04}", recipe={}, environment=_environment(threads),
        series=(record.series_of(name, measurement.samples[0], measurement, threads),),
    )  # fmt: skip


@cache
def _environment(threads: int) -> Environment:
    return describe("local", threads, SUITES)


def _line(stored: Sequence[Result], today: Result) -> Line:
    (line,) = regressions(by_case(stored), by_case([today]))
    return line


def _changes(results: Sequence[Result], lines: Sequence[Line]) -> str:
    gains = [own_speedup(result.series[0]).estimate for result in results]
    counts = {word: sum(line.word == word for line in lines) for word in ("unchanged", "improved", "undecided")}
    return (
        f"speed-ups {min(gains):.3f} to {max(gains):.3f}, spread {100 * np.std(np.log(gains), ddof=1):.1f} %; "
        + ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    )
