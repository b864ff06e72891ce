"""Predictions of a backend on the test rows, collected once per artifact and kept on disk.

The rows that rounds visit first are answered alone, as they are timed. All others are answered in batches of rows of
one shape, which need no padding, where that changes no answer: the rows answered in both ways show it. A backend that
fails this, such as one that scales a whole batch to int8, answers every row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from harness.contracts.backend import REFERENCE
from harness.contracts.tolerance import ELEMENTWISE
from harness.data.inputs import split_rows
from harness.errors import HarnessError, WorkerError
from harness.evaluation import probes
from harness.evaluation.score import score
from harness.measure.rounds import row_order

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays
    from harness.data.inputs import Inputs
    from harness.measure.client import Answer, Worker
    from harness.metrics import Metric
    from harness.util.console import Progress

ALONE = 64
"""Rows that every backend answers alone: those of the first rounds of single rows."""
BATCH = 16
"""Most entries of the batches that answer the others; a default workload has as many."""
SINGLE, PADDED = "single.safetensors", "padded.safetensors"
SHAPES = ".shapes"
ASKED_TWICE = 8
"""Rows, evenly spread, that every backend answers a second time once it has answered all."""


@dataclass(frozen=True)
class Evaluation:
    """Outputs, predictions and scores of one backend on the rows of one part."""

    single: list[Arrays]
    """Outputs of each row, run alone, or in a batch that answers as single rows do."""
    padded: list[Arrays]
    """Outputs of each entry of the padded probe batches."""
    predictions: list[Any]
    score: float | None
    """By the task's metric; None where the metric is undefined on these rows."""
    other_scores: dict[str, float]
    """By the task's further metrics, where they are defined."""
    unchecked: tuple[str, ...] = ()
    """Checks of its worker that were impossible, with the reason."""


def collect(
    worker: Worker, inputs: Inputs, metrics: Sequence[Metric], out: Path, progress: Progress, model: str
) -> dict[str, Any]:
    """Run every row and the probes, write the outputs to `out`, and return predictions and scores for `read`.

    The model's name is for the message that its answers do not repeat.
    """
    with progress.bar(f"answers of {worker.name}", len(inputs)) as bar:
        shapes = [(*inputs.entries([row]), shape) for row, shape in enumerate(inputs.shapes)]
        unchecked = [probes.check_memoization(worker.name, shapes, partial(_time_ns, worker, inputs))]
        bar.start_steps()
        single = _answer(worker, inputs, bar.update)
        padded = [_run(worker, batch, "a padded batch") for batch in inputs.probes()]
        _check_repeats(worker, inputs, single, model)
        unchecked.append(probes.check_leaks(worker, inputs.batch([0])))
    save_rows(single, out / SINGLE)
    save_rows([entry for batch in padded for entry in split_rows(batch, [1] * _entries(batch))], out / PADDED)
    predictions, truths = inputs.predictions(single), inputs.truths()
    scores = {metric.name: score(metric, predictions, truths) for metric in metrics}
    return {
        "scores": {metric: value if math.isfinite(value) else None for metric, value in scores.items()},
        "predictions": predictions,
        "unchecked": list(filter(None, unchecked)),
    }


def read(folder: Path, info: dict[str, Any]) -> Evaluation:
    """Return the evaluation in `folder`, with the `info` that `collect` returned."""
    (_, first), *others = info["scores"].items()
    return Evaluation(
        single=load_rows(folder / SINGLE),
        padded=load_rows(folder / PADDED),
        predictions=info["predictions"],
        score=first,
        other_scores={metric: value for metric, value in others if value is not None},
        unchecked=tuple(info["unchecked"]),
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


def _answer(worker: Worker, inputs: Inputs, tick: Callable[[int], object]) -> list[Arrays]:
    """Return the outputs of every row; `tick` receives the number of rows that have just been answered."""
    order = row_order(len(inputs))
    outputs: dict[int, Arrays] = {}

    def answer_alone(rows: Iterable[int]) -> None:
        for row in rows:
            outputs[row] = _run(worker, inputs.batch([row]), f"test row {row}")
            tick(1)

    answer_alone(order[:ALONE])
    if len(order) > ALONE and inputs.kind.tokens is None:  # generated text is padded to the longest of a batch
        for row, answer in _answer_together(worker, inputs, order, outputs, tick).items():
            outputs.setdefault(row, answer)
    answer_alone(row for row in order if row not in outputs)
    return [outputs[row] for row in range(len(inputs))]


def _answer_together(
    worker: Worker, inputs: Inputs, order: Sequence[int], alone: Mapping[int, Arrays], tick: Callable[[int], object]
) -> dict[int, Arrays]:
    """Return the outputs of rows in batches; none if a row of `alone` is answered differently in one."""
    outputs: dict[int, Arrays] = {}
    pending = 0
    # Batches with such a row come first: a backend that answers them differently needs no others.
    for rows in sorted(inputs.unpadded_batches(order, BATCH), key=alone.keys().isdisjoint):
        if len(rows) == 1:
            continue
        answers = _run(worker, inputs.batch(rows), f"test rows {', '.join(map(str, rows))}")
        for row, answer in zip(rows, split_rows(answers, inputs.entries(rows)), strict=True):
            if row in alone and not _is_equal(answer, alone[row]):
                return {}
            outputs[row] = answer
        pending += len(rows) - len(alone.keys() & rows)
        if alone.keys().isdisjoint(rows):
            tick(pending)
            pending = 0
    tick(pending)
    return outputs


def _is_equal(own: Arrays, other: Arrays) -> bool:
    return all(
        own[name].shape == values.shape and ELEMENTWISE.of(values).excesses([own[name]], [values])[0] <= 0
        for name, values in other.items()
    )


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
    entries, outputs = _entries(batch), _ask(worker, batch, label).outputs
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


def _time_ns(worker: Worker, inputs: Inputs, row: int) -> int:
    return _ask(worker, inputs.batch([row]), f"test row {row}").elapsed_ns


def _ask(worker: Worker, batch: Arrays, label: str) -> Answer:
    try:
        worker.put(batch)
        return worker.run()
    except WorkerError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
        raise type(error)(f"{error}\n  asked for {label}: {shapes}", error.output) from error


def _entries(arrays: Arrays) -> int:
    return len(next(iter(arrays.values()), ()))
