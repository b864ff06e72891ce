"""Laws of metrics: each is what the library of its field says, and what rows drawn again score is found by adding."""

import importlib
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import accuracy_score, f1_score, label_ranking_average_precision_score, top_k_accuracy_score
from transformers.data.metrics.squad_metrics import get_raw_scores

from harness import kinds
from harness.contracts.kind import NO_ANSWER, NO_LABEL
from harness.evaluation.score import right, score, score_drop, score_interval
from harness.metrics import METRICS
from harness.stats.intervals import drop_interval, rare_event_bound, resampled

LAW = settings(max_examples=60)
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
texts = st.lists(st.sampled_from(["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "."]), max_size=8).map(" ".join)
tags = st.integers(1, 6).flatmap(
    lambda words: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=words, max_size=words)] * 2)
)
labels = st.integers(0, 2)
PAIRS = {
    "accuracy": st.tuples(st.integers(-2, 2), labels),
    "off-by-one-accuracy": st.tuples(st.integers(-2, 2), labels),
    "f1": st.tuples(st.integers(-2, 1), st.integers(0, 1)),
    "f1-macro": st.tuples(st.integers(-2, 2), labels),
    "entity-f1": tags,
    "word-accuracy": tags,
    "exact-match": st.tuples(texts, st.lists(texts, max_size=3)),
    "token-f1": st.tuples(texts, st.lists(texts, max_size=3)),
    "top-1": st.tuples(st.permutations(["a", "b", "c"]), st.sampled_from("abcd")),
    "top-5": st.tuples(st.permutations(list("abcdef")), st.sampled_from("abcdefg")),
    "accuracy@1": st.tuples(st.permutations([0, 1, 2]), st.integers(0, 3)),
    "mrr": st.tuples(st.permutations([0, 1, 2]), st.integers(0, 3)),
    "bleu": st.tuples(texts, texts.filter(bool)),
    "chrf": st.tuples(texts, texts.filter(bool)),
}
"""For each metric pairs of a prediction and what it should be."""
EVERY = pytest.mark.parametrize("metric", METRICS)


def of(metric, **sizes):
    """Predictions, and what they should be."""
    return st.lists(PAIRS[metric], **({"min_size": 1, "max_size": 12} | sizes)).map(
        lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
    )


def instance(metric):
    module, _, name = METRICS[metric].path.partition(":")
    return getattr(importlib.import_module(module), name)(keep_in_memory=True)


def close(value):
    return pytest.approx(value, abs=1e-12)


# What the libraries say


@LAW
@given(of("accuracy"))
def test_accuracy_is_scikit_learns(rows):
    predictions, truths = rows
    assert close(accuracy_score(truths, predictions)) == score("accuracy", *rows)


@LAW
@given(of("off-by-one-accuracy"))
def test_off_by_one_is_the_accuracy_of_the_nearest_of_the_labels_beside(rows):
    predictions, truths = rows
    # The prediction, moved to the truth where that lies beside it.
    moved = [truth if own in {truth - 1, truth, truth + 1} - {-1} else own for own, truth in zip(*rows, strict=True)]
    assert close(accuracy_score(truths, moved)) == score("off-by-one-accuracy", predictions, truths)


@LAW
@given(of("f1"))
def test_f1_is_scikit_learns_of_the_second_label(rows):
    predictions, truths = rows
    found = f1_score(truths, predictions, labels=[1], average="macro", zero_division=0)
    assert close(found) == score("f1", predictions, truths)


@LAW
@given(of("f1-macro"))
def test_macro_f1_is_scikit_learns_over_the_labels_that_rows_have(rows):
    predictions, truths = rows
    known = sorted({*truths, *(label for label in predictions if label >= 0)})
    found = f1_score(truths, predictions, labels=known, average="macro", zero_division=0)
    assert close(found) == score("f1-macro", predictions, truths)


@LAW
@given(of("entity-f1"))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_entity_f1_is_seqevals(rows):
    predictions, truths = rows
    assert close(seqeval.metrics.f1_score(truths, predictions, zero_division=0)) == score("entity-f1", *rows)


@LAW
@given(of("word-accuracy"))
def test_word_accuracy_is_seqevals(rows):
    predictions, truths = rows
    assert close(seqeval.metrics.accuracy_score(truths, predictions)) == score("word-accuracy", *rows)


def squad(rows):
    """SQuAD's (exact, F1) of every row, by Transformers."""
    predictions, truths = rows
    examples = [
        SimpleNamespace(qas_id=number, answers=[{"text": answer} for answer in answers])
        for number, answers in enumerate(truths)
    ]
    exact, f1 = get_raw_scores(examples, dict(enumerate(predictions)))
    return np.mean(list(exact.values())), np.mean(list(f1.values()))


answered = st.lists(st.tuples(texts, st.lists(st.sampled_from(["cat", "The dog.", "on Mat"]), max_size=3)), min_size=1)


@LAW
@given(answered.map(lambda pairs: tuple(map(list, zip(*pairs, strict=True)))))
def test_answers_are_counted_as_squad_counts_them(rows):
    assert tuple(map(close, squad(rows))) == (score("exact-match", *rows), score("token-f1", *rows))


@LAW
@given(st.integers(2, 30), st.integers(0, 1000))
def test_ranks_are_counted_as_scikit_learn_counts_them(rows, seed):
    dice = np.random.default_rng(seed)
    nearness, truths = dice.random((rows, 7)), dice.integers(0, 7, rows)
    ranked = np.argsort(-nearness, axis=1)
    first, five = (top_k_accuracy_score(truths, nearness, k=k, labels=range(7)) for k in (1, 5))
    words = [list(map(str, row)) for row in ranked]
    assert close(first) == score("top-1", words, list(map(str, truths)))
    assert close(five) == score("top-5", words, list(map(str, truths)))
    assert close(first) == score("accuracy@1", ranked.tolist(), truths.tolist())
    found = label_ranking_average_precision_score(np.eye(7)[truths], nearness)
    assert close(found) == score("mrr", ranked.tolist(), truths.tolist())


@LAW
@given(of("bleu"))
def test_bleu_is_sacrebleus(rows):
    predictions, truths = rows
    assert close(sacrebleu.corpus_bleu(predictions, [truths]).score / 100) == score("bleu", *rows)


@LAW
@given(of("chrf"))
def test_chrf_is_sacrebleus(rows):
    predictions, truths = rows
    assert close(sacrebleu.corpus_chrf(predictions, [truths]).score / 100) == score("chrf", *rows)


# What all of them share


def test_every_metric_of_a_kind_is_known_and_told_apart():
    assert {name for kind in kinds.__all__ for name in getattr(kinds, kind).metrics} == set(METRICS) == set(PAIRS)


@EVERY
def test_a_metric_is_called_what_its_class_calls_it(metric):
    assert metric == instance(metric).key


@EVERY
@LAW
@given(data=st.data())
def test_rows_drawn_again_score_what_their_sums_say(metric, data):
    predictions, truths = data.draw(of(metric))
    drawn = data.draw(st.lists(st.integers(0, len(truths) - 1), min_size=1, max_size=12))
    found = instance(metric)
    sums = found.statistics(predictions, truths)[drawn].sum(axis=0)
    again = score(metric, [predictions[row] for row in drawn], [truths[row] for row in drawn])
    assert close(again) == float(found.of(sums))


@EVERY
@LAW
@given(data=st.data())
def test_several_draws_at_once_are_each_scored_alone(metric, data):
    found = instance(metric)
    statistics = found.statistics(*data.draw(of(metric)))
    drawn = np.random.default_rng(0).integers(0, len(statistics), (2, 3, len(statistics)))
    sums = statistics[drawn].sum(axis=2)
    alone = [[float(found.of(one)) for one in several] for several in sums]
    assert (2, 3) == found.of(sums).shape
    assert close(np.array(alone)) == found.of(sums)


@EVERY
@LAW
@given(data=st.data())
def test_a_score_lies_between_nothing_and_perfection(metric, data):
    assert 0 <= score(metric, *data.draw(of(metric))) <= 1


@pytest.mark.parametrize("metric", [name for name, named in METRICS.items() if named.counts_rows])
@LAW
@given(data=st.data())
def test_a_metric_that_counts_rows_is_the_share_of_those_that_are_right(metric, data):
    rows = data.draw(of(metric))
    assert close(right(metric, *rows).mean()) == score(metric, *rows)


@EVERY
@LAW
@given(data=st.data())
def test_every_row_right_is_a_score_of_one(metric, data):
    predictions, truths = data.draw(of(metric))
    found = right(metric, predictions, truths)
    assert len(truths) == len(found)
    kept = ([one for one, known in zip(given, found, strict=True) if known] for given in (predictions, truths))
    predictions, truths = kept
    # Where nothing is to be found, an F1 is 0; and BLEU knows no text of less than four words.
    if metric not in ("entity-f1", "f1", "bleu") and truths:
        assert close(1) == score(metric, predictions, truths)


@pytest.mark.parametrize(
    ("metric", "predictions", "truths"),
    [
        ("entity-f1", [["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]]),
        ("f1", [1, 0], [1, 0]),
        ("bleu", ["the cat sat on the mat"], ["the cat sat on the mat"]),
    ],
)
def test_perfection_is_one(metric, predictions, truths):
    assert 1.0 == score(metric, predictions, truths)


def test_a_word_that_is_not_answered_is_no_entity_that_was_found():
    truth = [["B-PER", "O", "O"]]  # the last word lies beyond `max_length`
    assert 1.0 == score("entity-f1", [["B-PER", "O", NO_ANSWER]], truth)


def test_a_label_of_no_row_is_an_entity_that_is_not_there():
    assert 2 / 3 == pytest.approx(score("entity-f1", [["B-PER", "O", NO_LABEL]], [["B-PER", "O", "O"]]))


# What is lost


@pytest.fixture
def _fewer_resamples(monkeypatch):
    """Enough for laws that hold of every draw."""
    monkeypatch.setattr("harness.evaluation.score.resampled", partial(resampled, resamples=100))


TOGETHER = {
    "off-by-one-accuracy": (1, 1, -1),
    "entity-f1": (["B-PER", "O", "B-LOC"], ["B-PER", "O", "B-LOC"], ["B-PER", "O", "O"]),
    "word-accuracy": (["B-PER", "O", "B-LOC"], ["B-PER", "O", "B-LOC"], ["B-PER", "O", "O"]),
    "exact-match": (["the cat"], "cat", "a dog"),
    "token-f1": (["the cat sat"], "cat sat", "cat ran"),
    "top-1": ("a", ["a", "b"], ["b", "a"]),
    "top-5": ("a", ["a"], ["b"]),
    "accuracy@1": (1, [1, 2], [2, 1]),
    "mrr": (1, [1, 2], [2, 1]),
    "bleu": ("the cat sat on the mat", "the cat sat on the mat", "the dog sat on the mat"),
    "chrf": ("the cat sat on the mat", "the cat sat on the mat", "the dog sat on the mat"),
}
"""For each metric what a row should be answered, a right answer and a wrong one; 1, 1 and 0 where it is not named."""


def changed(metric, rows=40):
    """(own, other, truths): `other` has a row in ten wrong, `own` a row in five."""
    truth, correct, wrong = TOGETHER.get(metric, (1, 1, 0))
    own, other = ([correct if row % every else wrong for row in range(rows)] for every in (5, 10))
    return own, other, [truth] * rows


def test_of_a_ranking_as_much_is_compared_as_the_metric_looks_at():
    for metric, equal in {"accuracy@1": True, "mrr": False}.items():
        assert equal == (instance(metric).head([1, 2, 3]) == instance(metric).head([1, 3, 2]))


@EVERY
@pytest.mark.usefixtures("_fewer_resamples")
def test_what_is_lost_is_what_the_scores_differ_by(metric):
    own, other, truths = changed(metric)
    found = score_drop(metric, own, other, truths)
    assert close(score(metric, other, truths) - score(metric, own, truths)) == found.estimate
    assert found.low < found.estimate < found.high
    assert 0 < found.estimate


@EVERY
@pytest.mark.usefixtures("_fewer_resamples")
def test_a_lost_score_mirrors_when_both_change_places(metric):
    own, other, truths = changed(metric)
    there, back = score_drop(metric, own, other, truths), score_drop(metric, other, own, truths)
    assert tuple(map(close, (-there.high, -there.estimate, -there.low))) == (back.low, back.estimate, back.high)


@EVERY
def test_equal_answers_lose_nothing_and_are_as_sure_as_their_rows_are_many(metric):
    own, _, truths = changed(metric)
    assert drop_interval(0, 0, len(truths)) == score_drop(metric, own, own, truths)


@EVERY
@pytest.mark.usefixtures("_fewer_resamples")
def test_bounds_leave_room_for_rows_that_none_was_seen_of(metric):
    own, other, truths = changed(metric)
    found = score_drop(metric, own, other, truths)
    room = rare_event_bound(0, len(truths))
    if METRICS[metric].counts_rows or metric in ("f1", "f1-macro"):
        mine, theirs = (right(metric, predictions, truths) for predictions in (own, other))
        counted = drop_interval(int((theirs & ~mine).sum()), int((mine & ~theirs).sum()), len(truths))
        assert found.low <= counted.low
        assert counted.high <= found.high
    else:
        assert found.low <= found.estimate - room
        assert found.estimate + room <= found.high


# How sure a score is


def f1_rows(dice, rows):
    """One row in four has the label; of these four in five are given it, of the others one in ten."""
    truths = dice.random(rows) < 0.25
    return (dice.random(rows) < np.where(truths, 0.8, 0.1)).astype(int), truths.astype(int)


def word_rows(dice, rows):
    """Sentences of one to twelve words, some harder than others, of which a share is right."""
    lengths, ease = dice.integers(1, 13, rows), dice.beta(6, 2, rows)
    told = [(dice.random(length) < share).astype(int) for length, share in zip(lengths, ease, strict=True)]
    return [[f"{right}" for right in one] for one in told], [["1"] * length for length in lengths]


@pytest.mark.parametrize(
    ("metric", "drawn", "truth"),
    [("f1", f1_rows, 2 * 0.2 / (0.25 + 0.275)), ("word-accuracy", word_rows, 0.75)],
)
def test_a_score_lies_in_its_interval_nineteen_times_in_twenty(monkeypatch, metric, drawn, truth):
    monkeypatch.setattr("harness.evaluation.score.resampled", partial(resampled, resamples=400))
    dice = np.random.default_rng(11)
    found = [score_interval(metric, *drawn(dice, 200)) for _ in range(300)]
    held = sum(one.low <= truth <= one.high for one in found)
    low, high = binom.ppf((0.001, 0.999), 300, 0.95)
    assert low <= held <= high
    beyond = [sum(truth < one.low for one in found), sum(truth > one.high for one in found)]
    assert max(beyond) <= binom.ppf(0.999, 300, 0.025)


def test_a_score_has_the_estimate_that_the_metric_gives_and_stays_within_its_range(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.resampled", partial(resampled, resamples=100))
    for metric in METRICS:
        own, _, truths = changed(metric)
        found = score_interval(metric, own, truths)
        assert close(score(metric, own, truths)) == found.estimate
        assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_a_perfect_score_of_few_rows_that_count_is_not_sure(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.resampled", partial(resampled, resamples=100))
    labels = [1] * 10 + [0] * 990
    found = score_interval("f1", labels, labels)
    assert (close(1 - rare_event_bound(0, 10, 0.975)), 1.0, 1.0) == (found.low, found.estimate, found.high)
