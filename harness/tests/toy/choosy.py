"""A suite whose backends have options: some make them faster, some change their answers, some do nothing.

How long it takes it sleeps, so that verdicts are the same on any machine.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from own import NUMPY
from toydata import TASK

from harness.backends import PYTORCH
from harness.backends.variants import tuned
from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays
from harness.contracts.sources import Native
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, cases

BAG = Model(
    name="bag",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=64,
)
MODELS = {BAG: Gate(min_score=0.9, max_drop=0.1)}
MILLISECONDS = {"much": 3, "little": 1}


def load(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)
    work = target.options.get("work", "much")
    wrong = target.options.get("wrong", False)

    def run(arrays: Arrays) -> Arrays:
        time.sleep(0 if wrong else MILLISECONDS[str(work)] / 1e3)
        return {"logits": session.run(arrays)["logits"] + np.float32(wrong)}

    return Session(run=run, device="cpu", settings={"work": str(work), "threads": str(target.threads)})


def load_eager(artifact: Path, target: Target) -> Session:
    """Answer in a third of the time when threads may spin; answer otherwise with two threads."""
    session = NUMPY.load(artifact, target)

    def run(arrays: Arrays) -> Arrays:
        time.sleep((1 if target.spinning else 3) / 1e3)
        return {"logits": session.run(arrays)["logits"] + np.float32(target.threads == 2)}

    return Session(run=run, device="cpu", settings={})


CHOICES = {"work": ("much", "little"), "wrong": (False, True)}
CHOOSY = Backend(name="choosy", load=load, devices=("cpu",), choices=CHOICES)
EAGER = Backend(name="eager", load=load_eager, devices=("cpu",))
LITTLE = tuned(CHOOSY, work="little", threads=1)
WRONG = tuned(CHOOSY, name="choosy-wrong", wrong=True)


@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, CHOOSY, EAGER, LITTLE, WRONG]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
