"""A suite whose backend has options: one that makes it faster, one that makes it answer otherwise, and none that helps.

How long it takes it sleeps, so that verdicts are the same on any machine.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from own import NUMPY
from toydata import TASK

from harness import PYTORCH, Backend, Bench, Case, Gate, Model, Native, Recipe, Session, Target, cases, tuned
from harness.contracts import Arrays

BAG = Model(
    name="bag",
    source=Native("bag.py:Bag"),
    recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16),
    max_length=64,
)
MODELS = {BAG: Gate(floor=0.9, max_loss=0.1)}
MILLISECONDS = {"much": 3, "some": 3, "little": 1}


def load(artifact: Path, target: Target) -> Session:
    session = NUMPY.load(artifact, target)
    work = target.options.get("work", "much")
    wrong = target.options.get("wrong", False)

    def run(arrays: Arrays) -> Arrays:
        time.sleep(0 if wrong else MILLISECONDS[str(work)] / 1e3)
        return {"logits": session.run(arrays)["logits"] + np.float32(wrong)}

    return Session(run=run, device="cpu", settings={"work": str(work), "threads": str(target.threads)})


CHOICES = {"work": ("much", "some", "little"), "wrong": (False, True)}
CHOOSY = Backend(name="choosy", load=load, devices=("cpu",), choices=CHOICES)
IDLE = Backend(name="idle", load=load, devices=("cpu",), choices={"work": ("much", "some")})
LITTLE = tuned(CHOOSY, work="little", threads=1)
WRONG = tuned(CHOOSY, name="choosy-wrong", wrong=True)


@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, CHOOSY, IDLE, LITTLE, WRONG]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case).meets(MODELS[case.model])
