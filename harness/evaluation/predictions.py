"""Arrays of several rows, each in a shape of its own, in one safetensors file.

ALSO: What a backend answers on the test rows: collected once an artifact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from harness.contracts.kind import Arrays
from harness.data.inputs import Inputs, split_rows
from harness.errors import WorkerError
from harness.evaluation.score import score
from harness.measure.client import Worker
from harness.util.console import Progress

SHAPES = ".shapes"


def save(rows: Sequence[Arrays], file: Path) -> None:
    """Write `rows`, which have the same names, numbers of axes and types, to `file`."""
    packed: Arrays = {}
    for name in rows[0] if rows else ():
        packed[name] = np.concatenate([row[name].reshape(-1) for row in rows])
        packed[name + SHAPES] = np.array([row[name].shape for row in rows], dtype=np.int64)
    save_file(packed, file)


def load(file: Path) -> list[Arrays]:
    """What `save` wrote."""
    packed = load_file(file)
    found: list[Arrays] = []
    for name in (name for name in packed if not name.endswith(SHAPES)):
        shapes = packed[name + SHAPES]
        ends = np.cumsum(shapes.prod(axis=1))
        parts = [part.reshape(shape) for part, shape in zip(np.split(packed[name], ends[:-1]), shapes, strict=True)]
        found = found or [{} for _ in parts]
        for row, part in zip(found, parts, strict=True):
            row[name] = part
    return found


SINGLE, PADDED = "single.safetensors", "padded.safetensors"


@dataclass(frozen=True)
class Scored:
    """A backend's outputs: `single` of each row, answered alone; `padded` of each entry of the probes."""

    single: list[Arrays]
    padded: list[Arrays]
    predictions: list[Any]
    score: float | None
    """None where the metric is undefined on these rows."""
    others: dict[str, float]
    """By the metrics that are told beside it, where they are defined."""


def collect(worker: Worker, inputs: Inputs, metrics: Sequence[str], out: Path, progress: Progress) -> dict[str, Any]:
    """Ask the worker for every row, write its outputs to `out`, and return what they score by each metric."""
    with progress.bar(f"answers of {worker.name}", len(inputs)) as bar:
        single = []
        for row in range(len(inputs)):
            single.append(_ask(worker, inputs.batch([row]), f"test row {row}"))
            bar.update()
        padded = [_ask(worker, batch, "a padded batch") for batch in inputs.probes()]
    save(single, out / SINGLE)
    save([entry for batch in padded for entry in split_rows(batch, [1] * _entries(batch))], out / PADDED)
    predictions, truths = inputs.predictions(single), inputs.truths()
    found = {metric: score(metric, predictions, truths) for metric in metrics}
    scores = {metric: value if math.isfinite(value) else None for metric, value in found.items()}
    return {"scores": scores, "predictions": predictions}


def read(folder: Path, info: dict[str, Any]) -> Scored:
    """What `collect` wrote."""
    (_, first), *others = info["scores"].items()
    return Scored(
        single=load(folder / SINGLE),
        padded=load(folder / PADDED),
        predictions=info["predictions"],
        score=first,
        others={metric: value for metric, value in others if value is not None},
    )


def _ask(worker: Worker, batch: Arrays, what: str) -> Arrays:
    entries = _entries(batch)
    try:
        worker.put(batch)
        outputs = worker.run().outputs
    except WorkerError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
        raise type(error)(f"{error}\n  asked for {what}: {shapes}", error.said) from error
    for name, values in outputs.items():
        if values.dtype.kind not in "biuf" or not values.ndim:
            raise WorkerError(
                f"{worker.name}: {name} of {what} is {values.dtype} of shape {values.shape}; a backend answers with "
                "numbers, a row for each of the batch"
            )
        if not np.isfinite(values).all():
            raise WorkerError(f"{worker.name}: {name} of {what} holds NaN or infinity")
        if len(values) != entries:
            raise WorkerError(f"{worker.name}: {name} has {len(values)} rows for a batch of {entries}")
    return outputs


def _entries(arrays: Arrays) -> int:
    return len(next(iter(arrays.values()), ()))
