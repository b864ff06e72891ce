"""Metrics: each equals its field's library, sums over rows suffice to score them, and intervals hold."""

from functools import partial

import numpy as np
import pytest
import sacrebleu
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score, label_ranking_average_precision_score, top_k_accuracy_score

from harness import kinds
from harness.contracts.kind import NO_ANSWER, NO_LABEL
from harness.evaluation import score as scores
from harness.metrics import METRICS, Metric
from harness.stats.intervals import bootstrap_interval, drop_interval, rare_event_bound

LAW = settings(max_examples=20)
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
texts = st.lists(st.sampled_from(["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "."]), max_size=8).map(" ".join)
tags = st.integers(1, 6).flatmap(
    lambda words: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=words, max_size=words)] * 2)
)
labels = st.integers(0, 2)
sets = st.tuples(st.lists(st.integers(-1, 2), unique=True), st.lists(labels, unique=True))
numbers = st.tuples(*[st.integers(-20, 20).map(lambda n: n / 4)] * 2)
pixels = st.lists(st.tuples(st.integers(-1, 2), labels), min_size=1, max_size=4).map(
    lambda pairs: tuple([[*pair, 1] for pair in side] for side in (pairs, [(truth, truth) for _, truth in pairs]))
)
PAIRS = {
    "accuracy": st.tuples(st.integers(-2, 2), labels),
    "off-by-one-accuracy": st.tuples(st.integers(-2, 2), labels),
    "f1": st.tuples(st.integers(-2, 1), st.integers(0, 1)),
    "f1-macro": st.tuples(st.integers(-2, 2), labels),
    "f1-micro": sets,
    "subset-accuracy": sets,
    "entity-f1": tags,
    "word-accuracy": tags,
    "exact-match": st.tuples(texts, st.lists(texts, max_size=3)),
    "token-f1": st.tuples(texts, st.lists(texts, max_size=3)),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL"), st.tuples(texts, texts)),
    "top-1": st.tuples(st.permutations(["a", "b", "c"]), st.sampled_from("abcd")),
    "top-5": st.tuples(st.permutations(list("abcdef")), st.sampled_from("abcdefg")),
    "accuracy@1": st.tuples(st.permutations([0, 1, 2]), st.integers(0, 3)),
    "mrr": st.tuples(st.permutations([0, 1, 2]), st.integers(0, 3)),
    "bleu": st.tuples(texts, texts.filter(bool)),
    "chrf": st.tuples(texts, texts.filter(bool)),
    **dict.fromkeys(("mean-iou", "pixel-accuracy"), pixels),
    **dict.fromkeys(("wer", "cer"), st.tuples(texts, texts.filter(bool))),
    "perplexity": st.tuples(st.floats(0, 50), st.integers(1, 20)),
    **dict.fromkeys(("pearson", "spearman", "mae", "rmse", "r2"), numbers),
}
"""For each metric pairs of a prediction and its truth."""
EVERY = pytest.mark.parametrize("metric", METRICS)
OF_BOXES = {"map", "map-50"}
IN_POINTS = pytest.mark.parametrize("metric", [n for n, entry in METRICS.items() if entry.in_points and n in PAIRS])
"""Metrics from 0 to 1; those of numbers and of boxes have tests of their own."""
SETTINGS = {"f1": 1, "off-by-one-accuracy": (0, 1, 2), "entity-f1": "IOB2 prefix", "bleu": "13a"}
"""Settings that the metrics of the rows above need."""


def rows_of(metric, **sizes):
    """Predictions and truths."""
    return st.lists(PAIRS[metric], **({"min_size": 1, "max_size": 12} | sizes)).map(
        lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
    )


def settled(metric):
    return Metric(metric, SETTINGS.get(metric))


def instance(metric):
    return settled(metric).load()


def score(metric, predictions, truths):
    return scores.score(settled(metric), predictions, truths)


def correct_rows(metric, predictions, truths):
    return scores.correct_rows(settled(metric), predictions, truths)


def score_drop(metric, own, other, truths):
    return scores.score_drop(settled(metric), own, other, truths)


def score_interval(metric, predictions, truths):
    return scores.score_interval(settled(metric), predictions, truths)


def sums_score(metric, rows):
    """The score of a metric's sums, without the detour over evaluate that costs milliseconds."""
    return float(instance(metric).score_sums(instance(metric).statistics(*rows).sum(axis=0)))


def close(value):
    return pytest.approx(value, abs=1e-12)


# Equal to the libraries


def neighbours_accepted(truths, predictions):
    """Accuracy once predictions are moved to a truth that is their neighbour."""
    pairs = zip(predictions, truths, strict=True)
    moved = [truth if own in {truth - 1, truth, truth + 1} - {-1} else own for own, truth in pairs]
    return accuracy_score(truths, moved)


def used_labels_f1(truths, predictions):
    used = sorted({*truths, *(label for label in predictions if label >= 0)})
    return f1_score(truths, predictions, labels=used, average="macro", zero_division=0)


LIBRARIES = {
    "accuracy": accuracy_score,
    "off-by-one-accuracy": neighbours_accepted,
    "f1": partial(f1_score, labels=[1], average="macro", zero_division=0),
    "f1-macro": used_labels_f1,
    "entity-f1": partial(seqeval.metrics.f1_score, zero_division=0, mode="strict", scheme=IOB2),
    "word-accuracy": seqeval.metrics.accuracy_score,
    "bleu": lambda truths, predictions: sacrebleu.corpus_bleu(predictions, [truths]).score / 100,
    "chrf": lambda truths, predictions: sacrebleu.corpus_chrf(predictions, [truths]).score / 100,
}
"""Metric → its score of (truths, predictions) by scikit-learn, seqeval or sacrebleu."""


@pytest.mark.parametrize("metric", LIBRARIES)
@LAW
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_scores_equal_their_librarys(metric, data):
    predictions, truths = data.draw(rows_of(metric))
    assert close(LIBRARIES[metric](truths, predictions)) == score(metric, predictions, truths)


@pytest.mark.parametrize(
    ("answer", "truths", "exact", "f1"),
    [
        ("the Cat.", ["cat"], 1, 1),  # case, punctuation and articles do not count
        ("an  old\tcat", ["old cat"], 1, 1),
        ("a cat's", ["cats"], 1, 1),
        ("the theatre", ["theatre a"], 1, 1),  # articles are whole words
        ("black cat", ["cat"], 0, 2 / 3),
        ("cat cat", ["cat"], 0, 2 / 3),  # a word counts as often as it stands in both
        ("cat", ["dog", "black cat", "old black cat"], 0, 2 / 3),  # the nearest of several
        ("dog", ["cat"], 0, 0),
        ("", ["cat"], 0, 0),
        ("cat", [], 0, 0),
        ("the", [], 1, 1),  # without an answer, the empty text is correct
        ("", ["a", "..."], 1, 1),
        ("", ["a", "cat"], 0, 0),
    ],
)
def test_answers_score_as_in_squad(answer, truths, exact, f1):
    assert (close(exact), close(f1)) == (
        score("exact-match", [answer], [truths]),
        score("token-f1", [answer], [truths]),
    )


@LAW
@given(st.integers(2, 30), st.integers(0, 1000))
def test_rankings_score_as_in_scikit_learn(rows, seed):
    rng = np.random.default_rng(seed)
    nearness, truths = rng.random((rows, 7)), rng.integers(0, 7, rows)
    ranked = np.argsort(-nearness, axis=1)
    first, five = (top_k_accuracy_score(truths, nearness, k=k, labels=range(7)) for k in (1, 5))
    words = [list(map(str, row)) for row in ranked]
    assert close(first) == score("top-1", words, list(map(str, truths)))
    assert close(five) == score("top-5", words, list(map(str, truths)))
    assert close(first) == score("accuracy@1", ranked.tolist(), truths.tolist())
    expected = label_ranking_average_precision_score(np.eye(7)[truths], nearness)
    assert close(expected) == score("mrr", ranked.tolist(), truths.tolist())


# Shared by all metrics


def test_kinds_and_metrics_match():
    assert {name for kind in kinds.KINDS.values() for name in kind.metrics} == set(METRICS) == {*PAIRS, *OF_BOXES}


@EVERY
def test_metric_names_equal_their_keys(metric):
    assert metric == instance(metric).key


@IN_POINTS
@LAW
@given(data=st.data())
def test_resampled_rows_score_as_their_sums(metric, data):
    rows = data.draw(rows_of(metric))
    statistics = instance(metric).statistics(*rows)
    drawn = np.random.default_rng(len(statistics)).integers(0, len(statistics), (2, 3, len(statistics)))
    scores = instance(metric).score_sums(statistics[drawn].sum(axis=2))
    assert (2, 3) == scores.shape
    for place in np.ndindex(2, 3):
        resample = [[column[row] for row in drawn[place]] for column in rows]
        assert close(sums_score(metric, resample)) == scores[place]


@IN_POINTS
@LAW
@given(data=st.data())
def test_scores_grow_from_0_to_1_with_the_correct_rows(metric, data):
    predictions, truths = data.draw(rows_of(metric))
    correct = correct_rows(metric, predictions, truths)
    assert len(truths) == len(correct)
    assert 0 <= sums_score(metric, (predictions, truths)) <= 1
    if METRICS[metric].counts_rows:
        assert close(correct.mean()) == sums_score(metric, (predictions, truths))
    kept = [[row for row, keep in zip(rows, correct, strict=True) if keep] for rows in (predictions, truths)]
    # An F1 over nothing is 0, and BLEU needs texts of at least four words.
    if metric not in ("entity-f1", "f1", "f1-micro", "bleu") and kept[0]:
        assert close(1) == sums_score(metric, kept)


@pytest.mark.parametrize(
    ("metric", "predictions", "truths"),
    [
        ("entity-f1", [["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]]),
        ("f1", [1, 0], [1, 0]),
        ("bleu", ["the cat sat on the mat"], ["the cat sat on the mat"]),
    ],
)
def test_a_perfect_score_is_1(metric, predictions, truths):
    assert 1.0 == score(metric, predictions, truths)


def test_unanswered_words_are_no_entities():
    truth = [["B-PER", "O", "O"]]  # the last word lies beyond `max_length`
    assert 1.0 == score("entity-f1", [["B-PER", "O", NO_ANSWER]], truth)


def test_labels_that_no_row_has_are_wrong_entities():
    assert 2 / 3 == pytest.approx(score("entity-f1", [["B-PER", "O", NO_LABEL]], [["B-PER", "O", "O"]]))


# Drops


@pytest.fixture
def _fewer_resamples(monkeypatch):
    """Fewer resamples, for properties that hold with any number."""
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))


EXAMPLES = {
    "f1-micro": ([0, 1], [0, 1], [1]),
    "subset-accuracy": ([0, 1], [0, 1], [1]),
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
    **dict.fromkeys(
        ("mean-iou", "pixel-accuracy"), ([[0, 0, 3], [1, 1, 1]], [[0, 0, 3], [1, 1, 1]], [[1, 0, 3], [1, 1, 1]])
    ),
    **dict.fromkeys(
        ("chrf", "rouge1", "rouge2", "rougeL"),
        ("the cat sat on the mat", "the cat sat on the mat", "the dog sat on the mat"),
    ),
}
"""For each metric a truth, a correct and a wrong prediction; 1, 1 and 0 for metrics that are not named."""


def changed(metric, rows=40):
    """(own, other, truths): `other` has a row in ten wrong, `own` a row in five."""
    truth, correct, wrong = EXAMPLES.get(metric, (1, 1, 0))
    own, other = ([correct if row % every else wrong for row in range(rows)] for every in (5, 10))
    return own, other, [truth] * rows


def test_rankings_are_compared_as_far_as_the_metric_reads():
    for metric, equal in {"accuracy@1": True, "mrr": False}.items():
        assert equal == (instance(metric).compared_part([1, 2, 3]) == instance(metric).compared_part([1, 3, 2]))


@IN_POINTS
@pytest.mark.usefixtures("_fewer_resamples")
def test_a_drop_is_the_difference_of_the_scores(metric):
    own, other, truths = changed(metric)
    drop = score_drop(metric, own, other, truths)
    assert close(score(metric, other, truths) - score(metric, own, truths)) == drop.estimate
    assert drop.low < drop.estimate < drop.high
    assert 0 < drop.estimate


@IN_POINTS
@pytest.mark.usefixtures("_fewer_resamples")
def test_drops_are_antisymmetric(metric):
    own, other, truths = changed(metric)
    there, back = score_drop(metric, own, other, truths), score_drop(metric, other, own, truths)
    assert tuple(map(close, (-there.high, -there.estimate, -there.low))) == (back.low, back.estimate, back.high)


@IN_POINTS
def test_equal_predictions_have_the_exact_bounds_of_no_change(metric):
    own, _, truths = changed(metric)
    assert drop_interval(0, 0, len(truths)) == score_drop(metric, own, own, truths)


@IN_POINTS
@pytest.mark.usefixtures("_fewer_resamples")
def test_bounds_allow_for_unseen_changes(metric):
    own, other, truths = changed(metric)
    drop = score_drop(metric, own, other, truths)
    room = rare_event_bound(0, len(truths))
    if METRICS[metric].counts_rows or metric in ("f1", "f1-macro"):
        mine, theirs = (correct_rows(metric, predictions, truths) for predictions in (own, other))
        counted = drop_interval(int((theirs & ~mine).sum()), int((mine & ~theirs).sum()), len(truths))
        assert drop.low <= counted.low
        assert counted.high <= drop.high
    else:
        assert drop.low <= drop.estimate - room
        assert drop.estimate + room <= drop.high


# Intervals of scores


def f1_rows(rng, rows):
    """One row in four has the label; it is predicted for four in five of these and one in ten of the others."""
    truths = rng.random(rows) < 0.25
    return (rng.random(rows) < np.where(truths, 0.8, 0.1)).astype(int), truths.astype(int)


def word_rows(rng, rows):
    """Sentences of one to twelve words, some harder than others, partly correct."""
    lengths, ease = rng.integers(1, 13, rows), rng.beta(6, 2, rows)
    words = [(rng.random(length) < share).astype(int) for length, share in zip(lengths, ease, strict=True)]
    return [[f"{right}" for right in one] for one in words], [["1"] * length for length in lengths]


@pytest.mark.parametrize(
    ("metric", "drawn", "truth"),
    [("f1", f1_rows, 2 * 0.2 / (0.25 + 0.275)), ("word-accuracy", word_rows, 0.75)],
)
def test_score_intervals_cover_the_truth_in_95_percent(monkeypatch, metric, drawn, truth):
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=200))
    rng = np.random.default_rng(11)
    intervals = [score_interval(metric, *drawn(rng, 200)) for _ in range(200)]
    held = sum(interval.low <= truth <= interval.high for interval in intervals)
    low, high = binom.ppf((0.001, 0.999), 200, 0.95)
    assert low <= held <= high
    beyond = [sum(truth < interval.low for interval in intervals), sum(truth > interval.high for interval in intervals)]
    assert max(beyond) <= binom.ppf(0.999, 200, 0.025)


def test_score_intervals_contain_the_score(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))
    for metric in (name for name, entry in METRICS.items() if entry.in_points and name in PAIRS):
        own, _, truths = changed(metric)
        interval = score_interval(metric, own, truths)
        assert close(score(metric, own, truths)) == interval.estimate
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


def test_perfect_scores_of_few_rows_stay_uncertain(monkeypatch):
    monkeypatch.setattr("harness.evaluation.score.bootstrap_interval", partial(bootstrap_interval, resamples=100))
    labels = [1] * 10 + [0] * 990
    interval = score_interval("f1", labels, labels)
    assert (close(1 - rare_event_bound(0, 10, 0.975)), 1.0, 1.0) == (interval.low, interval.estimate, interval.high)
