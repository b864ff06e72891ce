"""A backend's answers held against others': the gate that an export passes, and what is counted of a lossy one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.answers import CUT, PROBE_BATCHES, Scored
from harness.contracts import Arrays
from harness.errors import HarnessError, WorkerError
from harness.evidence import Answers, Bounds
from harness.score import score_lost

ABSOLUTE, RELATIVE = 1e-3, 1e-3
"""A float form may differ from its source by this much; kernels of two runtimes differ by 1e-6 to 1e-5."""


def largest_difference(own: Scored, other: Scored) -> float:
    """Over every element of every output of both shapes."""
    return max(
        float(np.abs(mine[name] - theirs[name]).max())
        for mine, theirs in ((own.single, other.single), (own.padded, other.padded))
        for name in mine
    )


def check_forms(own: Scored, source: Scored, name: str) -> None:
    """HarnessError unless both give the same outputs in the same shapes, row by row and in padded batches."""
    for mine, theirs in ((own.single, source.single), (own.padded, source.padded)):
        if _forms(mine) != _forms(theirs):
            raise HarnessError(
                f"the export does not answer as {name} does: it gives {_forms(mine)} for {_forms(theirs)}"
            )


def check_parity(own: Scored, source: Scored, name: str) -> None:
    """HarnessError, with the largest difference and its row, unless every element lies within the tolerance."""
    check_forms(own, source, name)
    probes = _probed(len(next(iter(own.single.values()))))
    for mine, theirs, shape in ((own.single, source.single, "alone"), (own.padded, source.padded, "padded")):
        for output, values in mine.items():
            excess = np.abs(values - theirs[output]) - RELATIVE * np.abs(theirs[output])
            by_row = excess.reshape(len(values), -1).max(axis=1)
            if not (by_row <= ABSOLUTE).all():
                worst = int(np.argmax(by_row))
                row = f"{worst} alone" if shape == "alone" else probes[worst]
                largest = np.abs(values - theirs[output])[worst].max()
                raise HarnessError(
                    f"the export does not answer as {name} does: {output} differs by up to {largest:.3g} (allowed "
                    f"{ABSOLUTE:g} + {RELATIVE:g} of the value), "
                    f"worst at test row {row}; {int((by_row > ABSOLUTE).sum())} of {len(values)} rows differ"
                )


def check_timed(name: str, scored: Scored, rows: Sequence[int], outputs: Arrays) -> None:
    """WorkerError unless timed answers have the form of the scored ones and, for one row, are the scored one."""
    expected = {output: (len(rows), *values.shape[1:]) for output, values in scored.single.items()}
    if _forms(outputs) != expected or not all(np.isfinite(values).all() for values in outputs.values()):
        raise WorkerError(
            f"{name}: what was timed is not what was scored: {_forms(outputs)} for {expected}, or not finite"
        )
    for output, values in outputs.items():
        if len(rows) == 1 and not np.allclose(values[0], scored.single[output][rows[0]], rtol=RELATIVE, atol=ABSOLUTE):
            raise WorkerError(
                f"{name}: what was timed is not what was scored: {output} of test row {rows[0]} differs by "
                f"{np.abs(values[0] - scored.single[output][rows[0]]).max():.3g}"
            )


def compare_answers(
    own: Scored, reference: Scored, source: Scored, source_name: str, labels: Sequence[int], metric: str
) -> Answers:
    """Counts of rows lost and gained against the reference and against the artifact this one was built from."""
    lost, gained, agreement = _flips(own, reference, labels)
    source_lost, source_gained, source_agreement = _flips(own, source, labels)
    return Answers(
        rows=len(labels),
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
        largest_difference=largest_difference(own, source),
        right=right(own.predictions, labels),
        bounds=_bounds(own, reference, labels, metric),
        source_bounds=None if source is reference else _bounds(own, source, labels, metric),
    )


def right(predictions: Sequence[int], labels: Sequence[int]) -> str:
    """A character a row, `1` where the prediction is the label."""
    return "".join("1" if own == label else "0" for own, label in zip(predictions, labels, strict=True))


def _bounds(own: Scored, other: Scored, labels: Sequence[int], metric: str) -> Bounds | None:
    if metric == "accuracy" or own.score is None or other.score is None:
        return None
    found = score_lost(metric, own.predictions, other.predictions, labels)
    return Bounds(low=found.low, high=found.high)


def _forms(outputs: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in outputs.items()}


def _flips(own: Scored, other: Scored, labels: Sequence[int]) -> tuple[int, int, float]:
    mine, theirs, truth = (np.asarray(values) for values in (own.predictions, other.predictions, labels))
    lost = int(((theirs == truth) & (mine != truth)).sum())
    gained = int(((theirs != truth) & (mine == truth)).sum())
    return lost, gained, float((mine == theirs).mean())


def _probed(rows: int) -> list[str]:
    """What each row of the probes is called, for `rows` test rows."""
    whole = [f"{row} in a padded batch" for size in PROBE_BATCHES if size <= rows for row in range(size)]
    return [*whole, *(f"{row} cut short in a padded batch" for row in range(min(CUT, rows)))]
