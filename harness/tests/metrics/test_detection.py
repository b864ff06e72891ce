"""Average precision: equal to a plain reading of COCO's rules, for weighted images too, with intervals that hold."""

import math

import numpy as np
import pytest

from harness.evaluation.score import correct_rows, score, score_drop, score_interval
from harness.metrics import Metric

pytest.importorskip("pycocotools")

INPUTS = 150
MAP, MAP_50 = Metric("map"), Metric("map-50")
THRESHOLDS = {"map": np.linspace(0.5, 0.95, 10), "map-50": [0.5]}


def drawn(seed, images=None, labels=3):
    """Return predictions and truths: some images and labels without boxes, crowds, labels of no row, boxes far off."""
    rng = np.random.default_rng(seed)
    predictions, truths = [], []
    for _ in range(images or rng.integers(1, 7)):
        expected = [
            [int(rng.integers(labels)), int(rng.random() < 0.1), *_corners(rng)] for _ in range(rng.integers(5))
        ]
        found = [[_label(rng, one[0], labels), rng.random(), *(np.array(one[2:]) + rng.normal(0, 2, 4)).tolist()]
                 for one in expected if rng.random() < 0.8]  # fmt: skip
        found += [[int(rng.integers(labels)), rng.random(), *_corners(rng)] for _ in range(rng.integers(4))]
        truths.append(expected)
        predictions.append(found)
    return predictions, truths


def _label(rng, label, labels):
    return label if rng.random() < 0.8 else int(rng.integers(-1, labels))


def _corners(rng):
    (x, y), (width, height) = rng.uniform(0, 50, 2).tolist(), rng.uniform(3, 30, 2).tolist()
    return [x, y, x + width, y + height]


def overlap(own, other, crowd):
    width, height = (min(own[n + 2], other[n + 2]) - max(own[n], other[n]) for n in (0, 1))
    shared = max(0, width) * max(0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (own, other)]
    return shared / (areas[0] if crowd else sum(areas) - shared)


def matches(found, expected, threshold):
    """Yield (score, outcome) of each box of one image and label: True, False, or None in a crowd."""
    free = {n: one for n, one in enumerate(expected) if not one[1]}
    for _, certainty, *box in sorted(found, key=lambda one: -one[1]):
        best = max(free, key=lambda n: overlap(box, free[n][2:], False), default=None)
        if best is not None and overlap(box, free[best][2:], False) >= threshold:
            del free[best]
            yield certainty, True
        else:
            in_crowd = any(one[1] and overlap(box, one[2:], True) >= threshold for one in expected)
            yield certainty, None if in_crowd else False


def average_precision(predictions, truths, label, threshold):
    """Return COCO's 101-point average precision of a label; None if it is not expected."""
    outcomes, total = [], 0
    for found, expected in zip(predictions, truths, strict=True):
        own, wanted = ([box for box in boxes if box[0] == label] for boxes in (found, expected))
        total += sum(not one[1] for one in wanted)
        outcomes += matches(own, wanted, threshold)
    if not total:
        return None
    kept = [hit for _, hit in sorted(outcomes, key=lambda one: -one[0]) if hit is not None]
    hits = np.cumsum(kept)
    curve = [(hit / total, hit / rank) for rank, hit in enumerate(hits, 1)]
    return np.mean([max((p for r, p in curve if r >= recall), default=0) for recall in np.linspace(0, 1, 101)])


def plain(metric, predictions, truths):
    labels = {box[0] for boxes in truths for box in boxes}
    parts = [average_precision(predictions, truths, n, t) for n in labels for t in THRESHOLDS[metric.name]]
    parts = [part for part in parts if part is not None]
    return np.mean(parts) if parts else math.nan


@pytest.mark.parametrize("metric", [MAP, MAP_50], ids=lambda metric: metric.name)
def test_scores_equal_a_plain_reading(metric):
    for seed in range(INPUTS):
        predictions, truths = drawn(seed)
        own, weighed = metric.load()._compute(predictions, truths), metric.load().weigh(predictions, truths)
        expected = plain(metric, predictions, truths)
        assert pytest.approx(expected, abs=1e-9, nan_ok=True) == own[metric.name], seed
        assert pytest.approx(0 if math.isnan(expected) else expected, abs=1e-9) == weighed(np.ones(len(truths))), seed


def test_weighted_images_count_as_often():
    for seed in range(INPUTS):
        predictions, truths = drawn(seed)
        weights = np.random.default_rng(seed).multinomial(len(truths), np.full(len(truths), 1 / len(truths)), size=3)
        scores = MAP.load().weigh(predictions, truths)(weights.astype(float))
        for own, counts in zip(scores, weights, strict=True):
            repeated = (
                [one for one, n in zip(rows, counts, strict=True) for _ in range(n)] for rows in (predictions, truths)
            )
            expected = MAP.load()._compute(*repeated)["map"]
            assert pytest.approx(0 if math.isnan(expected) else expected, abs=1e-9) == own, seed


def test_perfect_and_hopeless_answers():
    truths = [[[0, 0, 1, 1, 9, 9], [1, 0, 20, 20, 30, 40]], []]
    perfect = [[[0, 0.9, 1, 1, 9, 9], [1, 0.8, 20, 20, 30, 40]], []]
    elsewhere = [perfect[0], [[2, 1.0, 0, 0, 5, 5]]]
    scores = [score(MAP, answers, truths) for answers in (perfect, elsewhere, [[], []])]
    assert pytest.approx([1, 1, 0]) == scores
    half = [score(metric, [[[0, 0.9, 1, 1, 9, 5.5]]], [[[0, 0, 1, 1, 9, 9]]]) for metric in (MAP_50, MAP)]
    assert pytest.approx([1, 0.2]) == half
    assert math.isnan(score(MAP, [[]], [[]]))


def test_rows_are_correct_if_confident_boxes_are_the_expected():
    truth = [[0, 0, 1, 1, 9, 9], [1, 0, 20, 20, 30, 40]]
    both = [[0, 0.9, 1, 1, 9, 9], [1, 0.8, 20, 21, 30, 40]]
    answers = {
        "both, and one in doubt": ([*both, [1, 0.2, 0, 0, 5, 5]], True),
        "a third": ([*both, [1, 0.6, 0, 0, 5, 5]], False),
        "one": (both[:1], False),
        "one in doubt": ([both[0], [1, 0.4, 20, 20, 30, 40]], False),
        "swapped": ([[1, 0.9, 1, 1, 9, 9], [0, 0.8, 20, 20, 30, 40]], False),
    }
    rows = correct_rows(MAP, [boxes for boxes, _ in answers.values()], [truth] * len(answers))
    assert [correct for _, correct in answers.values()] == rows.tolist()


def test_equal_boxes_to_a_pixel_agree():
    own, other = ([[0, 0.9, 1 + by, 1, 9, 9], [0, 0.1 + by, 0, 0, 3, 3]] for by in (0, 0.1))
    assert MAP.load().compared_part(own) == MAP.load().compared_part(other) == [[0, 1, 1, 9, 9]]


def test_drop_is_paired_over_images():
    predictions, truths = drawn(1, images=80)
    worse = [[[label, value, x + 2, y, z + 2, w] for label, value, x, y, z, w in boxes] for boxes in predictions]
    drop, whole = score_drop(MAP, worse, predictions, truths), score_interval(MAP, predictions, truths)
    scores = [score(MAP, answers, truths) for answers in (predictions, worse)]
    assert pytest.approx(scores[0] - scores[1]) == drop.estimate
    assert 0 < drop.low < drop.estimate < drop.high
    assert whole.low < scores[0] < whole.high
    assert drop.high - drop.low < whole.high - whole.low  # which pairing is for


def test_same_answers_leave_the_rows_that_none_was_seen_of():
    predictions, truths = drawn(1, images=30)
    drop = score_drop(MAP, predictions, [list(boxes) for boxes in predictions], truths)
    assert (0, pytest.approx(0.0950, abs=1e-3)) == (drop.estimate, drop.high)
