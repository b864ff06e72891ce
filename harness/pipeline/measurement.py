"""The one way arms are measured, for comparisons and finals: checks, settle rules and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.contracts.backend import ASLEEP, CONTROL, REFERENCE, Device
from harness.contracts.kind import Arrays
from harness.evaluation.answers import check_timed
from harness.evaluation.predictions import Evaluation
from harness.measure import gpu, rounds
from harness.measure.rounds import ORDER_SEED, batch_rows, row_order
from harness.measure.samples import Arm, Measurement, Samples, WorkloadInputs
from harness.pipeline.state import Options
from harness.stats.intervals import format_ratio
from harness.stats.speedup import speedup
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
    min_speedups = {contender.arm.name: contender.min_speedup for contender in others if contender.arm.name != ASLEEP}

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
    if ASLEEP in measurement.failed:
        lines.append(f"the reference failed with idle threads asleep: {error_text(measurement.failed[ASLEEP])}")
    return lines + [_waiting_note(part) for part in measurement.samples if part.has(ASLEEP) and part.has(CONTROL)]


def asleep(reference: Contender) -> Contender:
    """Return another arm of the reference, whose idle threads sleep while all others wait by their own defaults."""
    backend = reference.arm.backend
    sleeping = replace(backend, options={**backend.options, "spinning": False})
    return replace(reference, arm=replace(reference.arm, name=ASLEEP, backend=sleeping))


def _waiting_note(samples: Samples) -> str:
    """Say how far the two ways to wait lie apart."""
    gain = speedup(samples.ns[ASLEEP], samples.ns[REFERENCE], samples.ns[CONTROL], arms=1)
    speed = f"{format_ratio(gain)} as fast as asleep while idle"
    return f"batch {samples.batch}: waiting as deployed, the reference is {speed}"
