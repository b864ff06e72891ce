"""A suite whose gate judges batches of 16, and a backend that is quick with these alone."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from gated import SLOW
from own import NUMPY
from toydata import TASK

from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, cases


def load_crowd(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        time.sleep(0.001 if len(next(iter(arrays.values()))) == 16 else 0.01)
        return session.run(arrays)

    return session._replace(run=run)


CROWD = Backend(name="crowd", load=load_crowd, devices=("cpu",))
MODELS = {SLOW: Gate(min_score=0.9, max_drop=0.1, min_speedup=1.5, batch=16)}


@pytest.mark.parametrize("case", cases(replace(TASK, name="crowded"), MODELS, [PYTORCH, CROWD]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
