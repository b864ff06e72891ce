"""What a backend answers on the test rows: collected once an artifact, held against other backends' answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from harness.errors import HarnessError, WorkerError
from harness.process import Worker
from harness.progress import Progress
from harness.schema import Answers, Bounds
from harness.score import score, score_lost
from harness.spec import Arrays, Kind

SINGLE, PADDED = "single.safetensors", "padded.safetensors"
PROBE_BATCHES = (2, 16)
"""Besides every row alone, this many rows together, padded: an export may be right at one shape only."""
CUT = 16
"""So many rows, each cut to another length, are probed together where a kind's rows have a length. Test rows that all
fill `max_length` need no padding, and would hide a lost mask, the wrong padding side, and a length folded in."""
SHORTEST = 8
"""No row is cut shorter than this or the shortest real one: the reference itself may need some length."""
ABSOLUTE, RELATIVE = 1e-3, 1e-3
"""A float form may differ from its source by this much; kernels of two runtimes differ by 1e-6 to 1e-5."""


@dataclass(frozen=True)
class Inputs:
    """The encoded test rows, the same objects for every backend."""

    kind: Kind
    processor: Any
    encoded: list[dict[str, Any]]

    def batch(self, rows: Sequence[int]) -> Arrays:
        """The batch of these rows."""
        return self.kind.collate(self.processor, [self.encoded[row] for row in rows])

    def probes(self) -> list[Arrays]:
        """The padded batches: first rows as they are, then, where rows have a length, some cut to several lengths."""
        whole = [self.batch(range(size)) for size in PROBE_BATCHES if size <= len(self.encoded)]
        cut = self._cut()
        return [*whole, self.kind.collate(self.processor, cut)] if cut else whole

    def _cut(self) -> list[dict[str, Any]]:
        """The first rows at lengths from the shortest to half the longest; none where that leaves no two lengths."""
        if len(self.kind.axes) < 2:
            return []
        lengths = [len(next(iter(row.values()))) for row in self.encoded]
        low, high = max(1, min(SHORTEST, *lengths)), max(lengths) // 2
        wanted = np.linspace(low, max(low, high), min(CUT, len(self.encoded)), dtype=int).tolist()
        cut = [
            {name: values[:to] for name, values in row.items()} for row, to in zip(self.encoded, wanted, strict=False)
        ]
        return cut if high > low else []


@dataclass(frozen=True)
class Scored:
    """A backend's outputs: `single` by row, each answered alone; `padded` the probes' rows one after the other."""

    single: Arrays
    padded: Arrays
    predictions: list[int]
    score: float | None
    """None where the metric is undefined on these rows."""


def collect(
    worker: Worker, inputs: Inputs, labels: Sequence[int], metric: str, out: Path, progress: Progress
) -> dict[str, Any]:
    """Ask the worker for every row, write its outputs to `out`, and return the score."""
    with progress.bar(f"answers of {worker.name}", len(inputs.encoded)) as bar:
        single = []
        for row in range(len(inputs.encoded)):
            single.append(_ask(worker, inputs.batch([row]), f"test row {row}"))
            bar.update()
        padded = [_ask(worker, batch, "a padded batch") for batch in inputs.probes()]
    outputs = _joined(single)
    save_file(outputs, out / SINGLE)
    save_file(_joined(padded), out / PADDED)
    predictions = inputs.kind.predict(outputs).tolist()
    found = score(metric, predictions, labels)
    return {"score": found if math.isfinite(found) else None, "predictions": predictions}


def read(folder: Path, info: dict[str, Any]) -> Scored:
    """What `collect` wrote."""
    return Scored(
        single=load_file(folder / SINGLE),
        padded=load_file(folder / PADDED),
        predictions=info["predictions"],
        score=info["score"],
    )


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
        right="".join("1" if mine == label else "0" for mine, label in zip(own.predictions, labels, strict=True)),
        bounds=_bounds(own, reference, labels, metric),
        source_bounds=None if source is reference else _bounds(own, source, labels, metric),
    )


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


def _ask(worker: Worker, batch: Arrays, what: str) -> Arrays:
    rows = len(next(iter(batch.values())))
    worker.put(batch)
    outputs = worker.run().outputs
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise WorkerError(f"{worker.name}: {name} of {what} holds NaN or infinity")
        if len(values) != rows:
            raise WorkerError(f"{worker.name}: {name} has {len(values)} rows for a batch of {rows}")
    return outputs


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
