"""The one way arms are measured, for comparisons and finals: checks, settle rules and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.contracts.backend import CONTROL, Device
from harness.contracts.kind import Arrays
from harness.evaluation.answers import check_timed
from harness.evaluation.predictions import Evaluation
from harness.measure import gpu, rounds
from harness.measure.rounds import ORDER_SEED, batch_rows, row_order
from harness.measure.samples import Arm, Measurement, Samples, WorkloadInputs
from harness.pipeline.state import Options
from harness.util.console import Progress
from harness.util.store import size_bytes
from harness.util.text import error_text
from harness.verdicts.speed import is_settled


@dataclass(frozen=True)
class Contender:
    """An arm, with the answers and the limit that it is held to."""

    arm: Arm
    scored: Evaluation
    """Its answers as they were scored: a timed answer that differs from them fails the arm."""
    min_speedup: float | None = None
    """The gate's, which counts at the first workload only: the judged one."""


def measure(
    contenders: Sequence[Contender],
    workloads: Sequence[WorkloadInputs],
    device: Device,
    options: Options,
    progress: Progress,
) -> Measurement:
    """Measure the contenders in the same rounds; the first is the reference, and a second worker of it the control."""
    reference, *others = contenders
    arms = [reference.arm, replace(reference.arm, name=CONTROL), *(contender.arm for contender in others)]
    gpu.check_memory(device, [size_bytes(arm.artifact) for arm in arms])
    scored = {contender.arm.name: contender.scored for contender in contenders} | {CONTROL: reference.scored}
    min_speedups = {contender.arm.name: contender.min_speedup for contender in others}

    def check(name: str, rows: Sequence[int], outputs: Arrays) -> None:
        check_timed(name, scored[name], rows, outputs)

    def settled(samples: Samples) -> bool:
        gated = samples.batch == workloads[0].batch
        return is_settled(samples, reference.arm.name, min_speedups if gated else dict.fromkeys(min_speedups))

    return rounds.measure(arms, workloads, options.settings(device), check, settled, progress)


def workload(batch: int, rows: int, arrays: Callable[[list[int]], Arrays]) -> WorkloadInputs:
    """Return batches of the `rows` test rows in a seeded order; `arrays` makes the inputs of a batch."""
    order = row_order(rows)
    return WorkloadInputs(batch, ORDER_SEED, lambda number: batch_rows(order, number * batch, batch), arrays)


def notes(measurement: Measurement, rows: int) -> list[str]:
    """Return what a reader should know of these rounds over `rows` test rows."""
    lines = measurement.notes()
    too_large = [part.batch for part in measurement.samples if part.batch > rows]
    lines += [f"batch {batch}: the test split has {rows} rows, so some occur twice in a batch" for batch in too_large]
    if CONTROL in measurement.failed:
        lines.append(f"the control failed, so the noise is unknown: {error_text(measurement.failed[CONTROL])}")
    return lines
