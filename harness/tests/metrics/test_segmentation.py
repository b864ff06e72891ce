"""Metrics of pixels: equal to counts over all pixels at once, for resamples too."""

import numpy as np
import pytest

from harness.evaluation.score import correct_rows, score, score_drop
from harness.kinds.semantic_segmentation import _confusion
from harness.metrics import Metric

INPUTS = 1_000
LABELS = 4


def drawn(seed):
    """Return answers and masks of a few images, with pixels that count for nothing and labels of no row."""
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 6))
    masks = [rng.integers(0, rng.integers(1, LABELS + 1), (3, 4)) for _ in range(images)]
    answers = [np.where(rng.random((3, 4)) < 0.6, mask, rng.integers(-1, LABELS, (3, 4))) for mask in masks]
    return answers, [np.where(rng.random((3, 4)) < 0.2, 255, mask) for mask in masks]


def rows(answers, masks):
    return [list(map(_confusion, *pair)) for pair in ((answers, masks), (masks, masks))]


def plain(answers, masks):
    """Return mean IoU and pixel accuracy of all pixels in one array."""
    own, truth = np.concatenate(answers).ravel(), np.concatenate(masks).ravel()
    own, truth = own[truth != 255], truth[truth != 255]
    shares = [
        ((own == label) & (truth == label)).sum() / ((own == label) | (truth == label)).sum()
        for label in range(LABELS)
        if label in own or label in truth
    ]
    return np.mean(shares) if shares else 0.0, np.mean(own == truth) if len(own) else 0.0


def test_scores_equal_counts_over_all_pixels():
    for seed in range(INPUTS):
        answers, masks = drawn(seed)
        predictions, truths = rows(answers, masks)
        for metric, expected in zip(("mean-iou", "pixel-accuracy"), plain(answers, masks), strict=True):
            loaded = Metric(metric).load()
            assert pytest.approx(expected, abs=1e-9) == loaded._compute(predictions, truths)[metric], seed
            chosen = np.random.default_rng(seed).integers(0, len(masks), len(masks))
            weights = np.bincount(chosen, minlength=len(masks)).astype(float)
            again = plain([answers[n] for n in chosen], [masks[n] for n in chosen])[metric == "pixel-accuracy"]
            assert pytest.approx(again, abs=1e-9) == loaded.weigh(predictions, truths)(weights), seed


def test_scores_are_those_of_the_interface():
    predictions, truths = rows(*drawn(3))
    assert pytest.approx(plain(*drawn(3))[0]) == score(Metric("mean-iou"), predictions, truths)


def test_rows_are_correct_if_every_pixel_is():
    mask = np.array([[0, 1, 255]])
    predictions, truths = rows([mask, np.array([[0, 1, 2]]), np.array([[0, 2, 0]])], [mask] * 3)
    assert [True, True, False] == correct_rows(Metric("mean-iou"), predictions, truths).tolist()


def test_drop_is_paired_over_images():
    answers, masks = [], []
    for seed in range(40):
        own, truth = drawn(seed)
        answers, masks = answers + own, masks + truth
    worse = [np.where(np.random.default_rng(n).random(own.shape) < 0.1, 0, own) for n, own in enumerate(answers)]
    (own, truths), other = rows(worse, masks), rows(answers, masks)[0]
    drop = score_drop(Metric("mean-iou"), own, other, truths)
    assert pytest.approx(plain(answers, masks)[0] - plain(worse, masks)[0]) == drop.estimate
    assert 0 < drop.low < drop.estimate < drop.high
