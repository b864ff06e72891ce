"""Results made by hand, the same for every test: whole, plausible, and changed in what a test is about."""

from dataclasses import replace

import numpy as np

from harness.results.schema import Answers, Built, Data, Failure, Flip, Process, Result, Series, Workload
from harness.spec import Gate
from harness.util.machine import Environment

HERE = Environment(
    machine="toy-machine",
    cpu="abacus",
    flags=("avx2",),
    cores=2,
    memory_gib=1.0,
    accelerator=None,
    system="Linux 6",
    python="3.11",
    packages={"torch": "2.13"},
    threads=2,
    wait_policy="passive",
    commit="0123456789abcdef",
    dirty=False,
    load_before=0.1,
)
GATE = Gate(min_score=0.9, max_drop=0.01)
REFERENCE_NS = 1_000_000


def elsewhere(**changed):
    """The environment, changed."""
    return replace(HERE, **changed)


def series(factor=1.0, batch=1, noise=0.001, loops=1, rounds=60, launches=4, control=1.0, seed=0, **changed):
    """Rounds in which the case takes 1/`factor` of the reference's time and the control 1/`control`.

    `rounds` of each of `launches`, on a machine as loud as `noise`. A factor of None makes it the reference's own.
    """
    dice = np.random.default_rng(seed)

    def times(speed):
        return tuple(
            tuple(map(int, REFERENCE_NS / speed * np.exp(dice.normal(0, noise, rounds)))) for _ in range(launches)
        )

    own, reference = times(factor or 1), times(1)
    known = Series(
        workload=Workload(batch=batch, threads=2, order_seed=0),
        loops=loops,
        own_ns=own if factor else reference,
        reference_ns=reference,
        control_ns=times(control),
        rows=((0,) * rounds,) * launches,
        lengths=((8,) * rounds,) * launches,
        arms=1,
    )
    return replace(known, **changed)


def answers(lost=0, gained=0, rows=1000, score=0.95, **changed):
    """Answers against a reference with this score."""
    own, agreement = score + (gained - lost) / rows, 1 - (lost + gained) / rows
    known = Answers(
        rows=rows,
        score=own,
        reference_score=score,
        lost=lost,
        gained=gained,
        agreement=agreement,
        compared_with="pytorch",
        source_score=score,
        source_lost=lost,
        source_gained=gained,
        source_agreement=agreement,
        largest_difference=1e-6,
        correct="1" * rows,
    )
    return replace(known, **changed)


def process(startup_ms=12.0, memory_mb=250.0, launches=2, **changed):
    """Workers that take so long up to their first answer, a quarter of it in each phase."""
    phase = (int(startup_ms * 1e6 / 4),) * launches
    known = Process(
        import_ns=phase,
        load_ns=phase,
        compile_ns=phase,
        first_ns=phase,
        peak_rss_bytes=(int(memory_mb * 1e6),) * launches,
        settings={},
    )
    return replace(known, **changed)


def result(backend="pytorch", factor=1.0, **changed):
    """A measured case that keeps its gate."""
    factor = None if backend == "pytorch" else factor
    known = Result(
        task="toy-task",
        model="toy-model",
        backend=backend,
        device="cpu",
        status="ok",
        measurement="0123456789ab",
        created="2026-01-01T00:00:00+00:00",
        environment=HERE,
        recipe={},
        data=Data(
            source="toydata: rows.csv",
            source_sha256="00",
            kind="text-classification",
            metric="accuracy",
            labels=("a", "b"),
            sizes={"test": 1000},
            sha256={"test": "11"},
            duplicates=0,
        ),
        checkpoint=Built(key="22", size_bytes=2_000_000, seconds=3.0, info={"weights_sha256": "33"}),
        artifact=Built(key="44", size_bytes=1_500_000, seconds=1.0, info={}),
        answers=answers(),
        process=process(),
        reference_process=process() if factor else None,
        series=(series(factor), series(factor, batch=16, rounds=5)),
        gate=Gate(min_score=GATE.min_score, max_drop=GATE.max_drop),
    )
    return replace(known, **changed)


def failed(backend="onnxruntime", message="out of memory", stage="build", **changed):
    """A case that ended before anything was measured."""
    nothing = dict.fromkeys(("artifact", "answers", "process", "reference_process", "gate"))
    error = Failure(stage=stage, message=message)
    return result(backend, status="failed", error=error, series=(), **(nothing | changed))


def unsupported(backend="onnxruntime-o2"):
    """A combination that does not exist."""
    error = Failure(stage="build", message="Optimum exports no such head", status="unsupported")
    return replace(failed(backend), status="unsupported", error=error)


def comparison(model="toy-model", task="toy-task", **changed):
    """A comparison with a case of every sort."""
    flip = Flip(row=3, label="a", reference="a", own="b", text="the text of the row")
    return [
        replace(one, task=task, model=model, **changed)
        for one in (
            result(),
            result("onnxruntime", 1.5, answers=answers(lost=2, flips=(flip,))),
            result("onnxruntime-int8", 0.5),
            failed("broken", "no such operator"),
            unsupported(),
        )
    ]
