"""Parity: an export must reproduce the outputs of its source, and timed outputs must be the scored ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts.kind import ATOL, RTOL, TOKENS, Arrays, Tolerance
from harness.errors import HarnessError, WorkerError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.data.inputs import Inputs
    from harness.evaluation.predictions import Evaluation

Shape = tuple[int, ...]


def check_parity(own: Evaluation, source: Evaluation, name: str, inputs: Inputs) -> None:
    """Raise HarnessError with the largest difference and its row unless every output is within the kind's tolerance."""
    check_shapes(own, source, name, inputs.kind.tolerance)
    for mine, theirs, alone in ((own.single, source.single, True), (own.padded, source.padded, False)):
        for output, values in mine[0].items() if mine else ():
            tolerance = _tolerance(inputs.kind.tolerance, values)
            excess = [tolerance.excess(a[output], b[output]) for a, b in zip(mine, theirs, strict=True)]
            differing = sum(not row <= 0 for row in excess)  # NaN is within no tolerance
            if differing <= math.ceil(tolerance.max_share * len(excess)):
                continue
            worst = int(np.argmax(excess))
            place = f"{worst} alone" if alone else inputs.probe_names()[worst]
            largest = tolerance.distance(mine[worst][output], theirs[worst][output])
            raise HarnessError(
                f"the export does not answer as {name} does: {output} differs by up to {largest:.3g} (allowed "
                f"{tolerance.description}), worst at test row {place}; "
                f"{differing} of {len(excess)} rows differ"
            )


def check_shapes(own: Evaluation, source: Evaluation, name: str, tolerance: Tolerance) -> None:
    """Raise HarnessError unless both have the same outputs in the same shapes, for single rows and padded batches."""
    for mine, theirs in _pairs(own, source):
        shapes, expected = _shapes(mine, tolerance), _shapes(theirs, tolerance)
        if shapes != expected:
            raise HarnessError(
                f"the export does not answer as {name} does: its outputs have the shapes {shapes}, expected {expected}"
            )


def largest_difference(own: Evaluation, other: Evaluation, tolerance: Tolerance) -> float:
    """Return the largest distance over all outputs that hold numbers, or over all where every output holds tokens."""
    pairs = list(_pairs(own, other))
    numeric = [name for name, values in pairs[0][0].items() if _tolerance(tolerance, values) is tolerance]
    return max(
        _tolerance(tolerance, mine[name]).distance(mine[name], theirs[name])
        for mine, theirs in pairs
        for name in numeric or pairs[0][0]
    )


def check_timed(name: str, scored: Evaluation, rows: Sequence[int], outputs: Arrays, part: str = "test") -> None:
    """Raise WorkerError unless timed outputs have the shapes of the scored ones and, for a single row, their values.

    Padding changes the values of a batch slightly, so only its shapes are compared.
    """
    singles = [scored.single[row] for row in rows]
    expected = {output: _batch_shape([single[output].shape for single in singles]) for output in singles[0]}
    shapes = {output: values.shape for output, values in outputs.items()}
    for output, values in outputs.items():
        if values.dtype.kind in "iu" and len(rows) > 1 and output in expected:
            # Rows that are generated together are as long as the longest, which may end a token sooner or later.
            shapes[output] = (*shapes[output][:1], *expected[output][1:])
    if shapes != expected or not all(np.isfinite(values).all() for values in outputs.values()):
        raise WorkerError(
            f"{name}: timed outputs differ from the scored ones: shapes {shapes}, expected {expected}, all finite"
        )
    for output, values in outputs.items() if len(rows) == 1 else ():
        slack = 0.0 if values.dtype.kind in "iu" else 1.0  # tokens must be equal
        if not np.allclose(values, singles[0][output], rtol=slack * RTOL, atol=slack * ATOL):
            raise WorkerError(
                f"{name}: timed outputs differ from the scored ones: {output} of {part} row {rows[0]} differs by "
                f"{np.abs(values - singles[0][output]).max():.3g}"
            )


def _tolerance(tolerance: Tolerance, values: NDArray[Any]) -> Tolerance:
    """Return the tolerance of an output: the kind's own for numbers, TOKENS for integers."""
    return TOKENS if values.dtype.kind in "iu" else tolerance


def _pairs(own: Evaluation, other: Evaluation) -> Iterator[tuple[Arrays, Arrays]]:
    yield from zip(own.single, other.single, strict=True)
    yield from zip(own.padded, other.padded, strict=True)


def _shapes(outputs: Arrays, tolerance: Tolerance) -> dict[str, Shape]:
    """Return shapes by output; generated text may have any length, so only its number of rows counts."""
    return {
        name: values.shape if _tolerance(tolerance, values).same_shape else values.shape[:1]
        for name, values in outputs.items()
    }


def _batch_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of a batch of single rows, padded to the longest."""
    entries, *rest = zip(*shapes, strict=True)
    return (sum(entries), *map(max, rest))
