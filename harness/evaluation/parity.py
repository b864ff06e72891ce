"""A backend's answers held against others': the gate that an export passes, and what is counted of a lossy one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.kind import ABSOLUTE, RELATIVE, TOKENS, Arrays, Tolerance
from harness.data.inputs import Inputs
from harness.errors import HarnessError, WorkerError
from harness.evaluation import score
from harness.evaluation.predictions import Scored
from harness.metrics import METRICS
from harness.results.schema import Answers, Bounds


def rule(likeness: Tolerance, values: NDArray[Any]) -> Tolerance:
    """The rule for an output: the kind's for numbers; whole numbers are tokens."""
    return TOKENS if values.dtype.kind in "iu" else likeness


def largest_difference(own: Scored, other: Scored, likeness: Tolerance) -> float:
    """Over every output of both shapes that holds numbers; where all hold tokens, the most that differ in a row."""
    pairs = list(_pairs(own, other))
    numbers = [name for name, values in pairs[0][0].items() if rule(likeness, values) is likeness]
    names = numbers or list(pairs[0][0])
    return max(
        rule(likeness, mine[name]).distance(mine[name], theirs[name]) for mine, theirs in pairs for name in names
    )


def check_forms(own: Scored, source: Scored, name: str, likeness: Tolerance) -> None:
    """HarnessError unless both give the same outputs in the same shapes, row by row and in padded batches."""
    for mine, theirs in _pairs(own, source):
        if _forms(mine, likeness) != _forms(theirs, likeness):
            raise HarnessError(
                f"the export does not answer as {name} does: it gives {_forms(mine, likeness)} for "
                f"{_forms(theirs, likeness)}"
            )


def check_parity(own: Scored, source: Scored, name: str, inputs: Inputs) -> None:
    """HarnessError, with the largest difference and its row, unless every output is like the source's."""
    likeness = inputs.kind.likeness
    check_forms(own, source, name, likeness)
    for mine, theirs, alone in ((own.single, source.single, True), (own.padded, source.padded, False)):
        for output, values in mine[0].items() if mine else ():
            held = rule(likeness, values)
            by_row = [held.excess(one[output], other[output]) for one, other in zip(mine, theirs, strict=True)]
            beyond = sum(not excess <= 0 for excess in by_row)  # NaN is like nothing
            if beyond <= math.ceil(held.share * len(by_row)):
                continue
            worst = int(np.argmax(by_row))
            largest = held.distance(mine[worst][output], theirs[worst][output])
            raise HarnessError(
                f"the export does not answer as {name} does: {output} differs by up to {largest:.3g} (allowed "
                f"{held.allowed}), worst at test row {f'{worst} alone' if alone else inputs.probed()[worst]}; "
                f"{beyond} of {len(by_row)} rows differ"
            )


def check_timed(name: str, scored: Scored, rows: Sequence[int], outputs: Arrays, of: str = "test") -> None:
    """WorkerError unless timed answers have the form of the scored ones and, for one row, are the scored one."""
    known = [scored.single[row] for row in rows]
    expected = {output: _stacked([one[output] for one in known]) for output in known[0]}
    found = {output: values.shape for output, values in outputs.items()}
    for output, values in outputs.items():
        if values.dtype.kind in "iu" and len(rows) > 1 and output in expected:
            # Of rows that are generated together the longest may end a token sooner or later.
            found[output] = (*found[output][:1], *expected[output][1:])
    if found != expected or not all(np.isfinite(values).all() for values in outputs.values()):
        raise WorkerError(f"{name}: what was timed is not what was scored: {found} for {expected}, or not finite")
    for output, values in outputs.items():
        near = 0.0 if values.dtype.kind in "iu" else 1.0  # a token is the same or another
        if len(rows) == 1 and not np.allclose(values, known[0][output], rtol=near * RELATIVE, atol=near * ABSOLUTE):
            raise WorkerError(
                f"{name}: what was timed is not what was scored: {output} of {of} row {rows[0]} differs by "
                f"{np.abs(values - known[0][output]).max():.3g}"
            )


def _stacked(values: Sequence[NDArray[Any]]) -> tuple[int, ...]:
    """The shape of a batch of rows that were answered alone, padded to the longest."""
    return (
        sum(len(one) for one in values),
        *(max(sizes) for sizes in zip(*(one.shape[1:] for one in values), strict=True)),
    )


def compare_answers(
    own: Scored, reference: Scored, source: Scored, source_name: str, inputs: Inputs, metric: str
) -> Answers:
    """Counts of rows lost and gained against the reference and against the artifact this one was built from."""
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
        largest_difference=largest_difference(own, source, inputs.kind.likeness),
        right=right_rows(own.predictions, truths, metric),
        bounds=bounds(own, reference, truths, metric),
        source_bounds=None if source is reference else bounds(own, source, truths, metric),
        score_bounds=score_bounds(own, truths, metric),
        others=own.others,
        tokens=inputs.tokens(own.single),
    )


def right_rows(predictions: Sequence[Any], truths: Sequence[Any], metric: str) -> str:
    """A character a row, `1` where the prediction is right."""
    return "".join("1" if is_right else "0" for is_right in score.right(metric, predictions, truths))


def bounds(own: Scored, other: Scored, truths: Sequence[Any], metric: str) -> Bounds | None:
    """Of the score lost; None where it is counted row by row, and where there is no score."""
    if METRICS[metric].counts_rows or own.score is None or other.score is None:
        return None
    found = score.score_drop(metric, own.predictions, other.predictions, truths)
    return Bounds(low=found.low, high=found.high)


def score_bounds(own: Scored, truths: Sequence[Any], metric: str) -> Bounds | None:
    """Of the score; None where rows right are counted, and where there is no score."""
    if METRICS[metric].counts_rows or own.score is None:
        return None
    found = score.score_interval(metric, own.predictions, truths)
    return Bounds(low=found.low, high=found.high)


def _pairs(own: Scored, other: Scored) -> Iterator[tuple[Arrays, Arrays]]:
    for mine, theirs in ((own.single, other.single), (own.padded, other.padded)):
        yield from zip(mine, theirs, strict=True)


def _forms(outputs: Arrays, likeness: Tolerance) -> dict[str, tuple[int, ...]]:
    """Shapes by name; of generated text the number of rows alone."""
    return {
        name: values.shape if rule(likeness, values).sized else values.shape[:1] for name, values in outputs.items()
    }


def _flips(own: Scored, other: Scored, truths: Sequence[Any], metric: str) -> tuple[int, int, float]:
    mine, theirs = (score.right(metric, one.predictions, truths) for one in (own, other))
    read = (score.answered(metric, one.predictions) for one in (own, other))
    same = [one == another for one, another in zip(*read, strict=True)]
    return int((theirs & ~mine).sum()), int((mine & ~theirs).sum()), float(np.mean(same))
