"""Headline retrieval: which of all test articles belongs to the headline? MiniLM as it is embeds both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bbc import MINILM_L6, articles, bbc_news

from harness import Gate, Model, Task, cases


def headlines(folder: Path) -> Iterator[dict[str, str]]:
    """Yield one row an article, split into headline and text; the first of those with the same headline."""
    seen: set[str] = set()
    for article in articles(folder):
        headline, text = (part.strip() for part in article["text"].split("\n", 1))
        if headline not in seen:
            yield {"headline": headline, "article": text}
        seen.add(headline)


TASK = Task(
    name="headline-retrieval",
    kind="feature-extraction",
    dataset=bbc_news(headlines),
    inputs=("headline", "article"),
    metric="accuracy@1",
    also=("mrr",),
    test=820,
    validation=150,
    calibration=120,
)
# Nothing is trained, so nothing is random: it scores 0.821.
MODELS = {Model(name="all-MiniLM-L6-v2", source=MINILM_L6, max_length=48): Gate(min_score=0.8, max_drop=0.02)}


@pytest.mark.full
@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_headline_retrieval(case, bench):
    bench(case)
