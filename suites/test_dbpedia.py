"""DBpedia: which of fourteen classes does the description belong to? Needs the Hub."""

import pytest

from harness import Gate, Hub, Model, Native, Recipe, Task, cases

TASK = Task(
    name="dbpedia",
    kind="text-classification",
    dataset=Hub(
        "fancyzhx/dbpedia_14",
        revision="9abd46cf7fc8b4c64290f26993c540b92aa145ac",
        sample={"train": 100_000, "test": 5_000},
    ),
    inputs=("title", "content"),
    label="label",
    metric="accuracy",
    validation=1_000,
    calibration=150,
)
EMBEDDING_BAG = Model(
    name="EmbeddingBag",
    source=Native("models/embedding_bag.py:EmbeddingBagClassifier", vocabulary=50_000),
    recipe=Recipe(loop="native", epochs=3, learning_rate=1e-2, batch_size=64),
    max_length=128,
)
LSTM = Model(
    name="LSTM",
    source=Native("models/lstm.py:LSTMClassifier", vocabulary=50_000),
    recipe=Recipe(loop="native", epochs=1, learning_rate=2e-3, batch_size=64),
    max_length=64,
)
# Provisional, not run here yet: fastText, which is much like the EmbeddingBag, reached 0.986 on all 560,000 rows.
MODELS = {
    EMBEDDING_BAG: Gate(min_score=0.96, max_drop=0.01),
    LSTM: Gate(min_score=0.95, max_drop=0.01),
}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_dbpedia(case, bench):
    bench(case)
