"""On a GPU, a worker's calls take as long as those of a bare loop over the same session: host arrays to host arrays."""

import math
import random
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from tiny_models import save_bert

from harness.backends import ONNXRUNTIME, PYTORCH
from harness.contracts.backend import Target
from harness.kinds import text_classification
from harness.measure.client import Worker, machine_lock, worker_environment
from harness.stats.speedup import launch_interval
from harness.util.machine import no_cuda

LAUNCHES, ROUNDS, WARM_UP, LOOPS = 6, 30, 5, 20
TOLERANCE = math.log(1.05)
TARGET = Target("cuda", 1)
ROW = {
    "input_ids": np.array([[2, *range(5, 35), 3]]),
    "attention_mask": np.ones((1, 32), dtype=np.int64),
    "token_type_ids": np.zeros((1, 32), dtype=np.int64),
}
BARE = """
import sys, time
from pathlib import Path
import numpy as np
from harness import backends
from harness.contracts.backend import Target
backend, row = getattr(backends, sys.argv[1]), dict(np.load(sys.argv[3]))
session = backend.load(Path(sys.argv[2]), Target("cuda", 1))
for loops in map(int, sys.stdin):
    began = time.perf_counter_ns()
    for _ in range(loops):
        session.run(row)
    print(time.perf_counter_ns() - began, flush=True)
"""


@contextmanager
def bare_loop(name, artifact, row):
    """Yield a function that returns how long a number of calls take in a process without the harness's worker."""
    command = [sys.executable, "-c", BARE, name, str(artifact), str(row)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, env=worker_environment(TARGET.threads), **pipes) as process:

        def run(loops):
            process.stdin.write(f"{loops}\n")
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def worker_ns(worker, loops):
    """Return how long a number of calls take in the harness's worker."""
    worker.put(ROW)
    return worker.run(loops).elapsed_ns


def log_ratios(name, backend, artifact, row, rng):
    """Return, by round of one launch, the log-ratios of a worker's time to a bare loop's: as it is, and slowed down."""
    ratios, slower = [], []
    with Worker(backend, artifact, TARGET, 120.0) as worker, bare_loop(name, artifact, row) as bare_ns:
        for number in range(WARM_UP + ROUNDS):
            arms = {
                "worker": lambda: worker_ns(worker, LOOPS),
                "bare": lambda: bare_ns(LOOPS),
                "slower": lambda: worker_ns(worker, LOOPS + LOOPS // 10),
            }
            spent_ns = {arm: arms[arm]() for arm in rng.sample(list(arms), len(arms))}
            if number >= WARM_UP:
                ratios.append(math.log(spent_ns["worker"] / spent_ns["bare"]))
                slower.append(math.log(spent_ns["slower"] / spent_ns["bare"]))
    return ratios, slower


@pytest.mark.parametrize("name", ["PYTORCH", "ONNXRUNTIME"])
def test_worker_is_within_five_percent_of_a_bare_loop(name, tmp_path):
    backend = {"PYTORCH": PYTORCH, "ONNXRUNTIME": ONNXRUNTIME}[name]
    if reason := no_cuda() or (backend.unavailable and backend.unavailable("cuda")):
        pytest.skip(reason)
    artifact = checkpoint = save_bert(tmp_path / "bert", ROW, num_hidden_layers=6, max_position_embeddings=40)
    if backend.build:
        artifact = tmp_path / "artifact"
        artifact.mkdir()
        backend.build(checkpoint, artifact, text_classification)
    row, rng = tmp_path / "row.npz", random.Random(0)
    np.savez(row, **ROW)
    with machine_lock():
        launches = [log_ratios(name, backend, artifact, row, rng) for _ in range(LAUNCHES)]
    # Two processes of one program differ from launch to launch: one pair of them was 2.7 % apart on an H100.
    interval, control = (launch_interval(list(ratios), []) for ratios in zip(*launches, strict=True))
    for label, log in (("to a bare loop's", interval), ("with a tenth more calls", control)):
        figures = " ".join(f"{math.exp(value):.4f}" for value in (log.estimate, log.low, log.high))
        sys.stdout.write(f"{backend.name}: the worker's time {label}: {figures}\n")
    assert -TOLERANCE < interval.low
    assert interval.high < TOLERANCE
    assert control.low > 0, "a tenth more calls were not noticed"
