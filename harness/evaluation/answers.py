"""Compare answers: an export's with its source's, timed ones with scored ones, and a backend's with the reference's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts.kind import Arrays
from harness.contracts.tolerance import ELEMENTWISE, TOKENS, Tolerance
from harness.errors import HarnessError, WorkerError
from harness.evaluation.score import compared_parts, correct_rows, score, score_drop, score_interval
from harness.results.schema import Answers, Bounds, Constant, LabelRows, Seed
from harness.stats.intervals import agree_beyond_chance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.data.inputs import Inputs
    from harness.evaluation.predictions import Evaluation
    from harness.metrics import Metric
    from harness.stats.intervals import Interval

CONSTANT_RTOL = 1e-5
"""Outputs of different rows that differ by no more than this share of their largest number are equal but for noise."""


def check_parity(own: Evaluation, source: Evaluation, name: str, inputs: Inputs) -> None:
    """Raise HarnessError with the largest difference and its row unless every output is within the kind's tolerance."""
    check_shapes(own, source, name, inputs.kind.tolerance)
    for mine, theirs, alone in ((own.single, source.single, True), (own.padded, source.padded, False)):
        for output, values in mine[0].items() if mine else ():
            tolerance = inputs.kind.tolerance.of(values)
            excess = tolerance.excesses([row[output] for row in mine], [row[output] for row in theirs])
            differing = sum(not row <= 0 for row in excess)  # NaN is within no tolerance
            if differing <= math.ceil(tolerance.max_share * len(excess)):
                continue
            worst = int(np.argmax(excess))
            place = f"{worst} alone" if alone else inputs.probe_names()[worst]
            largest = tolerance.distance(mine[worst][output], theirs[worst][output])
            raise HarnessError(
                f"the export does not answer as {name} does: {output} differs by up to {largest:.3g} (allowed "
                f"{tolerance.description}), worst at test row {place}; {differing} of {len(excess)} rows differ"
            )


def check_shapes(own: Evaluation, source: Evaluation, name: str, tolerance: Tolerance) -> None:
    """Raise HarnessError unless both have the same outputs in the same shapes, for single rows and padded batches."""
    for pair in _pairs(own, source):
        shapes, expected = (
            # Generated text may have any length.
            {name: a.shape if tolerance.of(a).same_shape else a.shape[:1] for name, a in outputs.items()}
            for outputs in pair
        )
        if shapes != expected:
            raise HarnessError(
                f"the export does not answer as {name} does: its outputs have the shapes {shapes}, expected {expected}"
            )


def check_timed(name: str, scored: Evaluation, rows: Sequence[int], outputs: Arrays, part: str = "test") -> None:
    """Raise WorkerError unless timed outputs have the shapes of the scored ones and, for a single row, their values.

    Padding changes the values of a batch slightly, so only its shapes are compared.
    """
    singles, expected = [scored.single[row] for row in rows], {}
    shapes = {output: values.shape for output, values in outputs.items()}
    for output in singles[0]:
        entries, *axes = zip(*(single[output].shape for single in singles), strict=True)
        expected[output] = (sum(entries), *map(max, axes))
        if output in outputs and outputs[output].dtype.kind in "iu" and len(rows) > 1:
            # Rows that are generated together are as long as the longest, which may end a token sooner or later.
            shapes[output] = (*shapes[output][:1], *expected[output][1:])
    if shapes != expected or not all(np.isfinite(values).all() for values in outputs.values()):
        raise WorkerError(
            f"{name}: timed outputs differ from the scored ones: shapes {shapes}, expected {expected}, all finite"
        )
    for output, values in outputs.items() if len(rows) == 1 else ():
        if ELEMENTWISE.of(values).excesses([values], [singles[0][output]])[0] > 0:
            raise WorkerError(
                f"{name}: timed outputs differ from the scored ones: {output} of {part} row {rows[0]} differs by "
                f"{np.abs(values - singles[0][output]).max():.3g}"
            )


def compare_answers(
    own: Evaluation, reference: Evaluation, source: Evaluation, source_name: str, inputs: Inputs, metric: Metric
) -> Answers:
    """Compare a backend's answers with the reference's and with those of the artifact it was built from, `source`."""
    truths = inputs.truths()
    lost, gained, agreement = _flips(own, reference, truths, metric)
    source_lost, source_gained, source_agreement = _flips(own, source, truths, metric)
    needs_bounds = own.score is not None and not metric.counts_rows
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
        score_bounds=_bounds(score_interval(metric, own.predictions, truths)) if needs_bounds else None,
        other_scores=own.other_scores,
        tokens=inputs.tokens(own.single),
        parted=parting_places(own, reference) if inputs.kind.tokens else None,
        labels=label_rows(own, reference, inputs, metric),
        constant=find_constant(own, inputs),
        reference_constant=find_constant(reference, inputs),
    )


def parting_places(own: Evaluation, other: Evaluation) -> tuple[int, ...]:
    """Return, for each row whose tokens part, the place of the first that differs, from 1 on."""
    places = []
    for mine, theirs in zip(own.single, other.single, strict=True):
        for output, tokens in mine.items():
            pair = (tokens.ravel(), theirs[output].ravel())
            width = min(map(len, pair))
            differing = np.flatnonzero(pair[0][:width] != pair[1][:width])
            if len(differing) or TOKENS.distance(tokens, theirs[output]):
                places.append(int(differing[0] if len(differing) else width) + 1)
    return tuple(places)


def label_rows(own: Evaluation, reference: Evaluation, inputs: Inputs, metric: Metric) -> tuple[LabelRows, ...]:
    """Count the test rows of each label by how they are answered; a row may have several words of a label."""
    if not inputs.counted_labels:
        return ()
    truths = list(map(inputs.names, inputs.truths()))
    answered, by_reference = (Counter(chain(*map(inputs.names, each.predictions))) for each in (own, reference))
    shares: dict[str, list[NDArray[Any]]] = {label: [] for label in sorted({*chain(*truths), *answered, *by_reference})}
    correct = (_correct_parts(each, inputs, metric) for each in (own, reference))
    for labels, *parts in zip(truths, *correct, strict=True):
        mine, theirs = (np.array(part, dtype=bool) for part in parts)
        flags = np.stack([theirs, theirs & ~mine, mine & ~theirs])
        for label in set(labels):
            shares[label].append(flags[:, [other == label for other in labels]].mean(axis=1))
    counts = []
    for label, rows in shares.items():
        right, lost, gained = np.sum([np.zeros(3), *rows], axis=0).tolist()
        answers = {"answered": answered[label], "reference_answered": by_reference[label]}
        counts.append(LabelRows(label=label, rows=len(rows), correct=right, lost=lost, gained=gained, **answers))
    return tuple(counts)


def find_constant(evaluation: Evaluation, inputs: Inputs) -> Constant:
    """Return what is the same for every row although the correct answers differ; empty if nothing is."""
    truths, answers, single = inputs.truths(), evaluation.predictions, evaluation.single
    if all(truth == truths[0] for truth in truths):
        return ""
    if single and all(_is_constant([row[name] for row in single]) for name in single[0]):
        return "output"
    return "answer" if not inputs.counted_labels and all(answer == answers[0] for answer in answers) else ""


def _is_constant(values: Sequence[NDArray[Any]]) -> bool:
    """Return whether all rows of an output are equal but for noise, and all entries and tokens in them."""
    if not all(array.size for array in values):
        return False
    width = values[0].shape[-1] if len({array.shape[-1] for array in values}) == 1 else 1
    vectors = np.concatenate([array.reshape(-1, width) for array in values])
    noise = 0.0 if vectors.dtype.kind in "iub" else CONSTANT_RTOL * float(np.abs(vectors[0]).max())
    return bool((np.abs(vectors.astype(float) - vectors[0]) <= noise).all())


def _correct_parts(evaluation: Evaluation, inputs: Inputs, metric: Metric) -> list[Any]:
    truths = inputs.truths()
    pairs = zip(evaluation.predictions, truths, strict=True)
    if inputs.kind.label == "many":
        return [[label in mine for label in truth] for mine, truth in pairs]
    if inputs.kind.label != "each":
        return [[correct] for correct in correct_rows(metric, evaluation.predictions, truths)]
    return [[mine == truth for mine, truth in zip(*pair, strict=True)] for pair in pairs]


def largest_difference(own: Evaluation, other: Evaluation, tolerance: Tolerance) -> float:
    """Return the largest distance over all outputs that hold numbers, or over all where every output holds tokens."""
    pairs = list(_pairs(own, other))
    numeric = [name for name, values in pairs[0][0].items() if tolerance.of(values) is tolerance]
    return max(
        tolerance.of(mine[name]).distance(mine[name], theirs[name])
        for mine, theirs in pairs
        for name in numeric or pairs[0][0]
    )


def correctness(predictions: Sequence[Any], truths: Sequence[Any], metric: Metric) -> str:
    """Return one character per row: `1` where the prediction is correct, else `0`."""
    return "".join("1" if correct else "0" for correct in correct_rows(metric, predictions, truths))


def drop_bounds(own: Evaluation, other: Evaluation, truths: Sequence[Any], metric: Metric) -> Bounds | None:
    """Return bounds of the drop against `other`; None for a metric that counts rows, and without a score."""
    if metric.counts_rows or own.score is None or other.score is None:
        return None
    return _bounds(score_drop(metric, own.predictions, other.predictions, truths))


def summarize_seed(number: int, evaluation: Evaluation, inputs: Inputs, metric: Metric) -> Seed:
    """Return what a result records of the model fine-tuned with seed `number`."""
    if not inputs.counted_labels:
        return Seed(seed=number, score=evaluation.score)
    truths, predictions, sort = inputs.truths(), evaluation.predictions, inputs.kind.label
    counts = Counter(truths if sort == "one" else chain(*truths))
    majority = min(counts, key=lambda label: (-counts[label], label))
    lists = {"each": lambda parts: [majority] * len(parts), "many": lambda labels: [majority]}
    constant = list(map(lists.get(sort, lambda label: majority), truths))
    # Of several labels, all that a row has are one answer.
    own, expected = (
        list(map(inputs.describe, answers) if sort == "many" else chain(*map(inputs.names, answers)))
        for answers in (predictions, truths)
    )
    return Seed(
        seed=number,
        score=evaluation.score,
        majority_score=score(metric, constant, truths),
        majority_label=majority if sort == "each" else inputs.describe([majority] if sort == "many" else majority),
        only_label=own[0] if len({*own}) == 1 else None,
        beats_chance=agree_beyond_chance(own, expected),
    )


def _flips(own: Evaluation, other: Evaluation, truths: Sequence[Any], metric: Metric) -> tuple[int, int, float]:
    """Return the rows lost, the rows gained, and the share of rows that both answer alike."""
    own_correct, other_correct = (correct_rows(metric, each.predictions, truths) for each in (own, other))
    parts = (compared_parts(metric, each.predictions) for each in (own, other))
    equal = sum(mine == theirs for mine, theirs in zip(*parts, strict=True))
    lost, gained = other_correct & ~own_correct, own_correct & ~other_correct
    return int(lost.sum()), int(gained.sum()), equal / len(truths)


def _bounds(interval: Interval) -> Bounds:
    return Bounds(low=interval.low, high=interval.high)


def _pairs(own: Evaluation, other: Evaluation) -> Iterator[tuple[Arrays, Arrays]]:
    return zip(own.single + own.padded, other.single + other.padded, strict=True)
