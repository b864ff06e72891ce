"""On a GPU, a worker's calls take as long as those of a bare loop over the same session: host arrays to host arrays."""

import math
import random
import sys
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import pytest
from tiny_models import save_bert

from harness.backends import ONNXRUNTIME, PYTORCH
from harness.contracts.backend import Backend, Session, Target
from harness.kinds import text_classification
from harness.measure.client import Worker, machine_lock
from harness.stats.speedup import launch_interval
from harness.util.machine import no_cuda

LAUNCHES, ROUNDS, WARM_UP, LOOPS = 4, 30, 5, 20
TOLERANCE = math.log(1.05)
TARGET = Target("cuda", 1)
BARE = "bare"
"""A batch with an input of this name is answered by a bare loop, which reports its time as the output of this name."""
ROW = {
    "input_ids": np.array([[2, *range(5, 35), 3]]),
    "attention_mask": np.ones((1, 32), dtype=np.int64),
    "token_type_ids": np.zeros((1, 32), dtype=np.int64),
}


def with_bare_loop(session: Session) -> Session:
    """Return a session that also times a loop without pauses, in which the harness has no part."""

    def run(arrays):
        if BARE not in arrays:
            return session.run(arrays)
        row = {name: array for name, array in arrays.items() if name != BARE}
        for _ in range(LOOPS):  # after the parent's pause
            session.run(row)
        began_ns = perf_counter_ns()
        for _ in range(LOOPS):
            session.run(row)
        return {BARE: np.array([perf_counter_ns() - began_ns])}

    return session._replace(run=run)


def load_pytorch(artifact: Path, target: Target) -> Session:
    return with_bare_loop(PYTORCH.load(artifact, target))


def load_onnxruntime(artifact: Path, target: Target) -> Session:
    return with_bare_loop(ONNXRUNTIME.load(artifact, target))


def worker_ns(worker: Worker, loops: int) -> int:
    """Return how long a number of calls take in the harness's worker."""
    worker.put(ROW)
    return worker.run(loops).elapsed_ns


def bare_ns(worker: Worker) -> int:
    """Return how long LOOPS calls take in a bare loop in the same process."""
    worker.put({**ROW, BARE: np.zeros((1, 1))})
    return int(worker.run(1).outputs[BARE][0])


def log_ratios(backend, artifact, rng):
    """Return, by round of a launch, the log-ratios of the worker's time to a bare loop's: as it is, and slowed."""
    ratios, slower = [], []
    with Worker(backend, artifact, TARGET, 120.0) as worker:
        for number in range(WARM_UP + ROUNDS):
            arms = {
                "worker": lambda: worker_ns(worker, LOOPS),
                "bare": lambda: bare_ns(worker),
                "slower": lambda: worker_ns(worker, LOOPS + LOOPS // 10),
            }
            spent_ns = {arm: arms[arm]() for arm in rng.sample(list(arms), len(arms))}
            if number >= WARM_UP:
                ratios.append(math.log(spent_ns["worker"] / spent_ns["bare"]))
                slower.append(math.log(spent_ns["slower"] / spent_ns["bare"]))
    return ratios, slower


@pytest.mark.parametrize(
    ("source", "load"), [(PYTORCH, load_pytorch), (ONNXRUNTIME, load_onnxruntime)], ids=["pytorch", "onnxruntime"]
)
def test_worker_is_within_five_percent_of_a_bare_loop(source, load, tmp_path):
    if reason := no_cuda() or (source.unavailable and source.unavailable("cuda")):
        pytest.skip(reason)
    artifact = checkpoint = save_bert(tmp_path / "bert", ROW, num_hidden_layers=6, max_position_embeddings=40)
    if source.build:
        artifact = tmp_path / "artifact"
        artifact.mkdir()
        source.build(checkpoint, artifact, text_classification)
    # In one process: beside an H200, two processes of one program differed by 11 % from launch to launch.
    backend, rng = Backend(name=f"{source.name}-bare", load=load), random.Random(0)
    with machine_lock(device="cuda"):
        launches = [log_ratios(backend, artifact, rng) for _ in range(LAUNCHES)]
    interval, control = (launch_interval(list(ratios), []) for ratios in zip(*launches, strict=True))
    for label, log in (("to a bare loop's", interval), ("with a tenth more calls", control)):
        figures = " ".join(f"{math.exp(value):.4f}" for value in (log.estimate, log.low, log.high))
        sys.stdout.write(f"{source.name}: the worker's time {label}: {figures}\n")
    assert -TOLERANCE < interval.low
    assert interval.high < TOLERANCE
    assert control.low > 0, "a tenth more calls were not noticed"
