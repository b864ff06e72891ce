"""Average precision of boxes, as COCO's challenges score it, by pycocotools.

A prediction is a list of (label, score, x0, y0, x1, y1), of which the best 100 of a picture count, a reference one of
(label, crowd, x0, y0, x1, y1). Boxes are matched picture by picture, by pycocotools. Scores of weighted pictures, for
bounds, add these matches up as its `accumulate` does for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any, ClassVar, NamedTuple

import numpy as np
from datasets import List, Value
from numpy.typing import NDArray

from harness.metrics.base import WeighedMetric

BOXES = {"predictions": List(List(Value("float64"))), "references": List(List(Value("float64")))}
RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO reads the precision."""
MOST = 100
"""Boxes of a picture that count, those with the highest scores."""
CONFIDENT = 0.5
"""Score from which a box counts where one asks whether a whole picture is answered correctly."""


class _Label(NamedTuple):
    """The boxes of one label in all pictures, matched: predicted ones by falling score."""

    expected: NDArray[np.float64]
    """Number in each picture."""
    picture: NDArray[np.int64]
    """Picture of each predicted box."""
    hits: NDArray[np.bool_]
    """True for predicted boxes that are correct, shape (thresholds, boxes)."""
    misses: NDArray[np.bool_]
    """True for those that are wrong; one in a crowd is neither."""


class MeanAveragePrecision(WeighedMetric):
    """COCO's AP: the mean over labels, and over thresholds of overlap from 0.50 to 0.95, of the average precision."""

    key, columns = "map", BOXES
    thresholds: ClassVar[tuple[float, ...]] = tuple(np.linspace(0.5, 0.95, 10))

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        evaluation = _evaluate(predictions, references, self.thresholds)
        with redirect_stdout(None):
            evaluation.accumulate()
        precision = evaluation.eval["precision"]
        counting = precision[precision > -1]
        return {self.key: float(counting.mean()) if counting.size else float("nan")}

    def weigh(
        self, predictions: Sequence[Any], references: Sequence[Any]
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Return a function from weights of the pictures to scores; one without any expected box is 0."""
        labels = list(_labels(_evaluate(predictions, references, self.thresholds), len(references)))

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            flat = weights.reshape(-1, weights.shape[-1])
            total, count = np.zeros((2, len(flat)))
            for label in labels:
                is_expected = flat @ label.expected > 0
                total[is_expected] += _average_precision(label, flat[is_expected])
                count += is_expected
            return (total / np.maximum(count, 1)).reshape(weights.shape[:-1])

        return score

    def counting_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether each picture has a box, expected or predicted."""
        return np.array([bool(own or truth) for own, truth in zip(predictions, references, strict=True)])

    def compared_part(self, prediction: Any) -> Any:
        """Return the confident boxes, to a pixel."""
        return sorted([label, *map(round, corners)] for label, score, *corners in prediction if score >= CONFIDENT)

    def correct_rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        """Return whether the confident boxes of each picture are the expected ones, overlapping them by half."""
        confident = [[box for box in boxes if box[1] >= CONFIDENT] for boxes in predictions]
        correct = np.ones(len(references), bool)
        for label in _labels(_evaluate(confident, references, (0.5,)), len(references)):
            found, wrong = (np.bincount(label.picture[flags[0]], minlength=len(correct)) for flags in label[2:])
            correct &= (found == label.expected) & (wrong == 0)
        return correct.tolist()


class MeanAveragePrecision50(MeanAveragePrecision):
    """The mean over labels of the average precision at an overlap of one half, as Pascal VOC counts a box."""

    key, thresholds = "map-50", (0.5,)


def _evaluate(predictions: Sequence[Any], references: Sequence[Any], thresholds: Sequence[float]) -> Any:
    """Return pycocotools' evaluation of boxes of every size, with those of each picture matched."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels = sorted({int(box[0]) for boxes in references for box in boxes})
    sides = []
    with redirect_stdout(None):  # where it reports its steps
        for answers, field in ((references, "iscrowd"), (predictions, "score")):
            side = COCO()
            side.dataset = {
                "images": [{"id": picture} for picture in range(len(references))],
                "categories": [{"id": label} for label in labels],
                "annotations": [*_annotations(answers, field)],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        settings = evaluation.params
        settings.iouThrs, settings.recThrs, settings.maxDets = np.array(thresholds), RECALLS, [MOST]
        settings.areaRng, settings.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.evaluate()
    return evaluation


def _annotations(answers: Sequence[Any], field: str) -> Iterator[dict[str, Any]]:
    number = 0
    for picture, boxes in enumerate(answers):
        for label, value, x0, y0, x1, y1 in boxes:
            number += 1  # 0 would mean a box without a match
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": 0, "iscrowd": 0}  # boxes of every area count
            yield box | {"id": number, "image_id": picture, "category_id": int(label), field: value}


def _labels(evaluation: Any, pictures: int) -> Iterator[_Label]:
    """Yield the matched boxes of each label that is expected anywhere."""
    for start in range(0, len(evaluation.evalImgs), pictures):
        found = [one for one in evaluation.evalImgs[start : start + pictures] if one is not None]
        expected = np.zeros(pictures)
        for one in found:
            expected[one["image_id"]] = np.count_nonzero(one["gtIgnore"] == 0)
        if not expected.any():
            continue
        picture = np.concatenate([np.full(len(one["dtScores"]), one["image_id"], int) for one in found])
        matched, ignored = (
            np.concatenate([one[name] for one in found], axis=1).astype(bool) for name in ("dtMatches", "dtIgnore")
        )
        order = np.argsort(-np.concatenate([one["dtScores"] for one in found]), kind="mergesort")
        hits, misses = (flags[:, order] for flags in (matched & ~ignored, ~matched & ~ignored))
        yield _Label(expected, picture[order], hits, misses)


def _average_precision(label: _Label, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over thresholds and recalls of the precision, for weights of shape (samples, pictures)."""
    drawn, expected = weights[:, label.picture], weights @ label.expected
    total, samples = np.zeros(len(weights)), np.arange(len(weights))[:, None]
    for hits, misses in zip(label.hits, label.misses, strict=True):
        found = np.cumsum(drawn[:, hits], axis=1)
        if not found.shape[1]:
            continue
        wrong = np.cumsum(drawn * misses, axis=1)[:, hits]
        precision = found / (found + wrong + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # All samples in one search: complex numbers are ordered by their real part, then by the imaginary one.
        recalls, wanted = (samples + 1j * values for values in (found / expected[:, None], RECALLS))
        places = np.searchsorted(recalls.ravel(), wanted.ravel()).reshape(wanted.shape) - samples * best.shape[1]
        total += np.take_along_axis(np.pad(best, ((0, 0), (0, 1))), places, axis=1).sum(axis=1)
    return total / (len(label.hits) * len(RECALLS))
