"""Headline retrieval: which of all test articles belongs to a headline? MiniLM embeds both, as it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bbc import MINILM_L6, articles, bbc_news

from harness.kinds import feature_extraction
from harness.pytest_plugin.bench import Bench
from harness.spec import Case, Gate, Model, Task, cases


def headlines(folder: Path) -> Iterator[dict[str, str]]:
    """A row an article, its headline apart; of those with the same headline the first."""
    known: set[str] = set()
    for article in articles(folder):
        headline, text = (part.strip() for part in article["text"].split("\n", 1))
        if headline not in known:
            yield {"headline": headline, "article": text}
        known.add(headline)


TASK = Task(
    name="headline-retrieval",
    kind=feature_extraction,
    dataset=bbc_news(headlines),
    inputs=("headline", "article"),
    metric="accuracy@1",
    also=("mrr",),
    test=820,
    validation=150,
    calibration=120,
)
# Nothing is trained, so nothing is drawn: 0.821 is what it reaches.
MODELS = {Model(name="all-MiniLM-L6-v2", source=MINILM_L6, max_length=48): Gate(min_score=0.8, max_drop=0.02)}


@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_headline_retrieval(case: Case, bench: Bench) -> None:
    bench(case)
