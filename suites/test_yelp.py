"""Yelp: how many stars does a review give? BERT fine-tuned on 1,000 rows, and a model as it is. Needs the Hub."""

from dataclasses import replace

import pytest

from harness import Gate, Hub, Model, Recipe, Task, cases

TASK = Task(
    name="yelp",
    kind="text-classification",
    dataset=Hub(
        "Yelp/yelp_review_full",
        revision="c1f9ee939b7d05667af864ee1cb066393154bf85",
        sample={"train": 1_270, "test": 1_000},
        seed=42,
    ),
    inputs=("text",),
    label="label",
    metric="accuracy",
    also=("off-by-one-accuracy",),
    validation=150,
    calibration=120,
)
BERT = Model(
    name="bert-base-cased",
    source=Hub("google-bert/bert-base-cased", revision="cd5ef92a9fb2f889e972770a36d4ed042daf221e"),
    recipe=Recipe(epochs=3, learning_rate=5e-5, batch_size=8, warmup=0.0),
    max_length=512,
)
BY_HAND = replace(BERT, name="bert-base-cased-native-loop", recipe=replace(BERT.recipe, loop="native"))
STARS = Model(
    name="bert-base-multilingual-uncased-sentiment",
    source=Hub("nlptown/bert-base-multilingual-uncased-sentiment", revision="f4067398d9230016de89fc62c43e4ba42c349c72"),
    labels=("1 star", "2 star", "3 stars", "4 stars", "5 stars"),
    max_length=512,
)
# Provisional, not run here yet.
MODELS = {
    BERT: Gate(min_score=0.5, max_drop=0.01),
    BY_HAND: Gate(min_score=0.5, max_drop=0.01),
    STARS: Gate(min_score=0.5, max_drop=0.01),
}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_yelp(case, bench):
    bench(case)
