"""Small text models on numpy backends. The self-test kills their workers, or their whole sessions.

Copied as `test_workers.py`, it compares three models. Copied as `test_sessions.py`, it compares one model on four
tasks, and the reference runs in numpy too, since importing torch would take its workers seconds.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bbc import articles, bbc_news  # type: ignore[import-not-found]  # copied beside this file

from harness import Arrays, Backend, Bench, Case, Gate, Model, Native, Recipe, Session, Target, Task, cases
from harness.backends import PYTORCH


def few_articles(folder: Path) -> Iterator[dict[str, str]]:
    """Yield every fourth article."""
    return islice(articles(folder), 0, None, 4)


def load(artifact: Path, target: Target) -> Session:
    """Run the bag of words in numpy."""
    from safetensors.numpy import load_file

    weights = load_file(artifact / "model.safetensors")

    def run(arrays: Arrays) -> Arrays:
        mask = arrays["attention_mask"].astype(np.float32)[:, :, None]
        mean = (weights["embedding.weight"][arrays["input_ids"]] * mask).sum(axis=1) / mask.sum(axis=1)
        return {"logits": mean @ weights["classifier.weight"].T + weights["classifier.bias"]}

    return Session(run=run, device=target.device, settings={"numpy": np.__version__})


TASK = Task(
    name="deaths",
    kind="text-classification",
    dataset=bbc_news(few_articles),
    inputs=("text",),
    label="desk",
    metric="accuracy",
    test=60,
    validation=40,
    calibration=20,
)
MODELS = {
    Model(
        name=f"bag-{seed}",
        source=Native("embedding_bag.py:EmbeddingBagClassifier", vocabulary=2_000),
        recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16, seed=seed),
        max_length=64,
    ): Gate(min_score=0.3, max_drop=0.5)
    for seed in range(3)
}
NUMPY, NUMPY_TOO = (Backend(name=name, load=load, devices=("cpu",)) for name in ("numpy", "numpy-too"))
CASES = cases(TASK, MODELS, [PYTORCH, NUMPY, NUMPY_TOO])
if Path(__file__).name == "test_sessions.py":
    object.__setattr__(PYTORCH, "load", load)
    tasks = [replace(TASK, name=f"comparison-{number}") for number in range(4)]
    CASES = [case for task in tasks for case in cases(task, dict(islice(MODELS.items(), 1)), [PYTORCH, NUMPY])]


@pytest.fixture(autouse=True)
def _begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the task of every measurement that begins: a killed session leaves no result that names it."""
    from harness.measure import rounds  # workers, which load this file too, launch faster without it

    measure = rounds.measure

    def noting_measure(arms: Any, *rest: Any) -> Any:
        with Path(__file__).with_name("begun.txt").open("a") as file:
            file.write(f"{arms[0].artifact.parent.parent.name}\n")
        return measure(arms, *rest)

    monkeypatch.setattr(rounds, "measure", noting_measure)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_deaths(case: Case, bench: Bench) -> None:
    """Meet a gate that every honest run passes."""
    bench(case)
