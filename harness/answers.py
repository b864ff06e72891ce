"""What a backend answers on the test rows: collected once an artifact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from harness.contracts import Arrays, Kind
from harness.errors import WorkerError
from harness.process import Worker
from harness.progress import Progress
from harness.score import score

SINGLE, PADDED = "single.safetensors", "padded.safetensors"
PROBE_BATCHES = (2, 16)
"""Besides every row alone, this many rows together, padded: an export may be right at one shape only."""
CUT = 16
"""So many rows, each cut to another length, are probed together where a kind's rows have a length. Test rows that all
fill `max_length` need no padding, and would hide a lost mask, the wrong padding side, and a length folded in."""
SHORTEST = 8
"""No row is cut shorter than this or the shortest real one: the reference itself may need some length."""


@dataclass(frozen=True)
class Inputs:
    """The encoded test rows, the same objects for every backend."""

    kind: Kind
    processor: Any
    encoded: list[dict[str, Any]]
    order: Sequence[int] | None = None
    """For each answer that the model can give, its index among the task's labels; None where they are the same."""

    def predictions(self, outputs: Arrays) -> list[int]:
        """What is answered, as indices of the task's labels; below 0 for a label that no row has."""
        found = self.kind.predict(outputs)
        return (found if self.order is None else np.asarray(self.order)[found]).tolist()  # type: ignore[no-any-return]

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
    predictions = inputs.predictions(outputs)
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
