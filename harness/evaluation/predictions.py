"""Predictions of a backend on the test rows, collected once per artifact and kept on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from harness.contracts.backend import REFERENCE
from harness.data.inputs import split_rows
from harness.errors import HarnessError, WorkerError
from harness.evaluation.score import score

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays
    from harness.data.inputs import Inputs
    from harness.measure.client import Worker
    from harness.metrics import Metric
    from harness.util.console import Progress

SINGLE, PADDED = "single.safetensors", "padded.safetensors"
SHAPES = ".shapes"
ASKED_TWICE = 8
"""Rows, evenly spread, that every backend answers a second time once it has answered all."""


@dataclass(frozen=True)
class Evaluation:
    """Outputs, predictions and scores of one backend on the rows of one part."""

    single: list[Arrays]
    """Outputs of each row, run alone."""
    padded: list[Arrays]
    """Outputs of each entry of the padded probe batches."""
    predictions: list[Any]
    score: float | None
    """By the task's metric; None where the metric is undefined on these rows."""
    other_scores: dict[str, float]
    """By the task's further metrics, where they are defined."""


def collect(
    worker: Worker, inputs: Inputs, metrics: Sequence[Metric], out: Path, progress: Progress, model: str
) -> dict[str, Any]:
    """Run every row and the probes, write the outputs to `out`, and return predictions and scores for `read`.

    The model's name is for the message that its answers do not repeat.
    """
    single = []
    with progress.bar(f"answers of {worker.name}", len(inputs)) as bar:
        for row in range(len(inputs)):
            single.append(_run(worker, inputs.batch([row]), f"test row {row}"))
            bar.update()
        padded = [_run(worker, batch, "a padded batch") for batch in inputs.probes()]
        _check_repeats(worker, inputs, single, model)
    save_rows(single, out / SINGLE)
    save_rows([entry for batch in padded for entry in split_rows(batch, [1] * _entries(batch))], out / PADDED)
    predictions, truths = inputs.predictions(single), inputs.truths()
    scores = {metric.name: score(metric, predictions, truths) for metric in metrics}
    return {"scores": {m: s if math.isfinite(s) else None for m, s in scores.items()}, "predictions": predictions}


def read(folder: Path, info: dict[str, Any]) -> Evaluation:
    """Return the evaluation in `folder`, with the `info` that `collect` returned."""
    (_, first), *others = info["scores"].items()
    return Evaluation(
        single=load_rows(folder / SINGLE),
        padded=load_rows(folder / PADDED),
        predictions=info["predictions"],
        score=first,
        other_scores={metric: value for metric, value in others if value is not None},
    )


def save_rows(rows: Sequence[Arrays], file: Path) -> None:
    """Write arrays of several rows; shapes may differ by row, names, numbers of axes and types may not."""
    packed: Arrays = {}
    for name in rows[0] if rows else ():
        packed[name] = np.concatenate([row[name].reshape(-1) for row in rows])
        packed[name + SHAPES] = np.array([row[name].shape for row in rows], dtype=np.int64)
    save_file(packed, file)


def load_rows(file: Path) -> list[Arrays]:
    """Return the rows that `save_rows` wrote."""
    packed, columns = load_file(file), {}
    for name in (name for name in packed if not name.endswith(SHAPES)):
        shapes = packed[name + SHAPES]
        parts = np.split(packed[name], np.cumsum(shapes.prod(axis=1))[:-1])
        columns[name] = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _check_repeats(worker: Worker, inputs: Inputs, single: Sequence[Arrays], model: str) -> None:
    """Raise HarnessError if a row that is asked again is answered differently: nothing could be compared with that."""
    for row in np.unique(np.linspace(0, len(single) - 1, min(ASKED_TWICE, len(single))).astype(int)).tolist():
        for name, again in _run(worker, inputs.batch([row]), f"test row {row}").items():
            first, tolerance = single[row][name], inputs.kind.tolerance.of(again)
            if first.shape == again.shape and tolerance.excesses([again], [first])[0] <= 0:
                continue
            difference = f" by {tolerance.distance(again, first):.3g}" if first.shape == again.shape else " in shape"
            cause = (
                f"the model {model} itself is random, not an export of it: look in its forward for F.dropout without "
                "training=self.training, a dropout that eval() does not switch off, random augmentation, sampling, or "
                "state kept from call to call"
                if worker.name == REFERENCE
                else "the reference repeats its answers, so this backend or its build draws random numbers"
            )
            raise HarnessError(
                f"{worker.name} answers test row {row} differently when asked again: {name} differs{difference} "
                f"(allowed: {tolerance.description}); {cause}"
            )


def _run(worker: Worker, batch: Arrays, label: str) -> Arrays:
    """Return the worker's outputs for a batch; WorkerError unless they are finite numbers, one per entry."""
    entries = _entries(batch)
    try:
        worker.put(batch)
        outputs = worker.run().outputs
    except WorkerError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
        raise type(error)(f"{error}\n  asked for {label}: {shapes}", error.output) from error
    for name, values in outputs.items():
        if values.dtype.kind not in "biuf" or not values.ndim:
            form = f"{values.dtype} of shape {values.shape}"
            raise WorkerError(f"{worker.name}: {name} of {label} is {form}; a backend answers with rows of numbers")
        if not np.isfinite(values).all():
            cause = "; the model itself gives it, before any export: train it again, or check its weights"
            raise WorkerError(
                f"{worker.name}: {name} of {label} holds NaN or infinity{cause if worker.name == REFERENCE else ''}"
            )
        if len(values) != entries:
            raise WorkerError(f"{worker.name}: {name} has {len(values)} rows for a batch of {entries}")
    return outputs


def _entries(arrays: Arrays) -> int:
    return len(next(iter(arrays.values()), ()))
