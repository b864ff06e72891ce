"""BBC News: which of five desks wrote the article?"""

import pytest
from bbc import MINILM_L6, articles, bbc_news

from harness import Gate, Model, Native, Recipe, Task, cases

TASK = Task(
    name="bbc-news",
    kind="text-classification",
    dataset=bbc_news(articles),
    inputs=("text",),
    label="desk",
    metric="accuracy",
    test=820,
    validation=150,
    calibration=120,
)
EMBEDDING_BAG = Model(
    name="EmbeddingBag",
    source=Native("models/embedding_bag.py:EmbeddingBagClassifier", vocabulary=20_000),
    recipe=Recipe(loop="native", epochs=6, learning_rate=8e-2, batch_size=32, weight_decay=0.1),
    max_length=512,
)
MINILM = Model(
    name="all-MiniLM-L6-v2",
    source=MINILM_L6,
    recipe=Recipe(epochs=1, learning_rate=2e-4, batch_size=16, dropout=0.0),
    max_length=96,
)
LSTM = Model(
    name="LSTM",
    source=Native("models/lstm.py:LSTMClassifier", vocabulary=10_000),
    recipe=Recipe(loop="native", epochs=12, learning_rate=4e-3, batch_size=16),
    max_length=96,
)
# As `shipbench gates` proposes: with 10 seeds the EmbeddingBag scored 0.957 to 0.979 and the LSTM 0.854 to 0.877.
# MiniLM's is from 5 seeds on 640 of the 1,035 rows, 0.951 to 0.963; on all of them one seed scored 0.971.
MODELS = {
    EMBEDDING_BAG: Gate(min_score=0.935, max_drop=0.01),
    MINILM: Gate(min_score=0.935, max_drop=0.01),
}
FULL = {LSTM: Gate(min_score=0.83, max_drop=0.01)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_bbc_news(case, bench):
    bench(case)


@pytest.mark.full
@pytest.mark.parametrize("case", cases(TASK, FULL), ids=str)
def test_bbc_news_full(case, bench):
    bench(case)
