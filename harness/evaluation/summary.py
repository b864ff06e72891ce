"""Summaries of answers that results keep: rows lost and gained, bounds, and the score of one seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.data.inputs import Inputs
from harness.evaluation import score
from harness.evaluation.parity import largest_difference
from harness.evaluation.predictions import Evaluation
from harness.metrics import METRICS
from harness.results.schema import Answers, Bounds, Seed


def compare_answers(
    own: Evaluation, reference: Evaluation, source: Evaluation, source_name: str, inputs: Inputs, metric: str
) -> Answers:
    """Compare a backend's answers with the reference's and with those of the artifact it was built from, `source`."""
    truths = inputs.truths()
    lost, gained, agreement = _flips(own, reference, truths, metric)
    source_lost, source_gained, source_agreement = _flips(own, source, truths, metric)
    return Answers(
        rows=len(truths),
        score=own.score,
        reference_score=reference.score,
        lost=lost,
        gained=gained,
        agreement=agreement,
        compared_with=source_name,
        source_score=source.score,
        source_lost=source_lost,
        source_gained=source_gained,
        source_agreement=source_agreement,
        largest_difference=largest_difference(own, source, inputs.kind.tolerance),
        correct=correctness(own.predictions, truths, metric),
        drop_bounds=drop_bounds(own, reference, truths, metric),
        source_drop_bounds=None if source is reference else drop_bounds(own, source, truths, metric),
        score_bounds=_score_bounds(own, truths, metric),
        other_scores=own.other_scores,
        tokens=inputs.tokens(own.single),
    )


def correctness(predictions: Sequence[Any], truths: Sequence[Any], metric: str) -> str:
    """Return one character per row: `1` where the prediction is correct, else `0`."""
    return "".join("1" if correct else "0" for correct in score.correct_rows(metric, predictions, truths))


def drop_bounds(own: Evaluation, other: Evaluation, truths: Sequence[Any], metric: str) -> Bounds | None:
    """Return bounds of the drop against `other`; None for a metric that counts rows, and without a score."""
    if METRICS[metric].counts_rows or own.score is None or other.score is None:
        return None
    interval = score.score_drop(metric, own.predictions, other.predictions, truths)
    return Bounds(low=interval.low, high=interval.high)


def summarize_seed(number: int, evaluation: Evaluation, inputs: Inputs, metric: str) -> Seed:
    """Return what a result records of the model fine-tuned with seed `number`."""
    if not inputs.labels:
        return Seed(seed=number, score=evaluation.score)
    truths, predictions = inputs.truths(), evaluation.predictions
    if each := inputs.kind.label == "each":
        counts = Counter(label for parts in truths for label in parts)
        answers = {label for parts in predictions for label in parts}
    else:
        counts, answers = Counter(truths), set(predictions)
    majority = min(counts, key=lambda label: (-counts[label], label))
    constant = [[majority] * len(parts) for parts in truths] if each else [majority] * len(truths)
    return Seed(
        seed=number,
        score=evaluation.score,
        majority_score=score.score(metric, constant, truths),
        majority_label=inputs.describe(majority),
        only_label=inputs.describe(answers.pop()) if len(answers) == 1 else None,
    )


def _score_bounds(own: Evaluation, truths: Sequence[Any], metric: str) -> Bounds | None:
    if METRICS[metric].counts_rows or own.score is None:
        return None
    interval = score.score_interval(metric, own.predictions, truths)
    return Bounds(low=interval.low, high=interval.high)


def _flips(own: Evaluation, other: Evaluation, truths: Sequence[Any], metric: str) -> tuple[int, int, float]:
    """Return the rows lost, the rows gained, and the share of rows that both answer alike."""
    own_correct, other_correct = (score.correct_rows(metric, each.predictions, truths) for each in (own, other))
    parts = (score.compared_parts(metric, each.predictions) for each in (own, other))
    equal = sum(mine == theirs for mine, theirs in zip(*parts, strict=True))
    lost, gained = other_correct & ~own_correct, own_correct & ~other_correct
    return int(lost.sum()), int(gained.sum()), equal / len(truths)
