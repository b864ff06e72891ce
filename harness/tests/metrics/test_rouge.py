"""ROUGE: equal to counts made the slow way, and undefined for no row."""

import random
from collections import Counter
from functools import cache

import pytest

from harness.metrics import Metric

WORDS = ["the", "a", "cat", "dog", "sat", "Sat", "on", "mat.", "2", "x-ray", "café", "_", ""]


def drawn(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randrange(9)))


def words(text: str) -> list[str]:
    return "".join(char if char.isascii() and char.isalnum() else " " for char in text.lower()).split()


def expected(metric: str, own: list[str], truth: list[str]) -> float:
    if metric == "rougeL":
        hits, sizes = longest(tuple(own), tuple(truth)), (len(own), len(truth))
    else:
        order = int(metric[-1])
        left, right = (Counter(tuple(t[i : i + order]) for i in range(len(t) - order + 1)) for t in (own, truth))
        hits, sizes = sum(min(count, right[gram]) for gram, count in left.items()), (left.total(), right.total())
    if not hits:
        return 0.0
    precision, recall = hits / sizes[0], hits / sizes[1]
    return 2 * precision * recall / (precision + recall)


@cache
def longest(own: tuple[str, ...], truth: tuple[str, ...]) -> int:
    """Length of the longest common subsequence, by its definition."""
    if not own or not truth:
        return 0
    if own[-1] == truth[-1]:
        return longest(own[:-1], truth[:-1]) + 1
    return max(longest(own[:-1], truth), longest(own, truth[:-1]))


@pytest.mark.parametrize("metric", ["rouge1", "rouge2", "rougeL"])
def test_rouge_equals_its_definition(metric):
    rng = random.Random(metric)
    pairs = [(drawn(rng), drawn(rng)) for _ in range(1000)]
    loaded = Metric(metric).load()
    scores = loaded.statistics(*zip(*pairs, strict=True))[:, 0].tolist()
    assert [expected(metric, words(own), words(truth)) for own, truth in pairs] == pytest.approx(scores, abs=1e-12)
    assert 0 < sum(scores) < len(scores)


@pytest.mark.parametrize(("metric", "score"), [("rouge1", 6 / 7), ("rouge2", 2 / 5), ("rougeL", 4 / 7)])
def test_rouge_of_one_pair_by_hand(metric, score):
    (row,) = Metric(metric).load().statistics(["The cat saw mice"], ["mice: the cat!"])
    assert (pytest.approx(score), 1) == tuple(row)


@pytest.mark.parametrize("metric", ["exact-match", "token-f1"])
def test_one_reference_counts_as_a_list_of_one(metric):
    loaded, pairs = Metric(metric).load(), [("the cat", "cat"), ("dog", "cat dog"), ("", "a")]
    own, truths = zip(*pairs, strict=True)
    one, several = (loaded.statistics(own, side).tolist() for side in (truths, [[truth] for truth in truths]))
    assert one == several
    assert [1.0, 1.0] == one[0]
