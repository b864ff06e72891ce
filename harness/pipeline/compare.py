"""The spine: make ready (data, train, build, answer), measure, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from harness.backends import PYTORCH
from harness.contracts.backend import CONTROL, Backend
from harness.data.inputs import Inputs
from harness.evaluation import parity
from harness.measure import gpu, rounds
from harness.measure.rounds import ORDER_SEED, batch_rows, row_order
from harness.measure.samples import Arm, WorkloadInputs
from harness.pipeline import record
from harness.pipeline.findings import Findings
from harness.pipeline.plan import Comparison, Options
from harness.pipeline.prepare import fail_all, prepare
from harness.pipeline.stages import Stopped, stage
from harness.results.schema import Failure, Result
from harness.spec import Case
from harness.util.console import Progress
from harness.util.machine import load_average
from harness.util.store import size_bytes
from harness.util.text import error_text, error_trace
from harness.verdicts.speed import is_settled

Keep = Callable[[Result, pd.DataFrame | None, str], None]
"""Told every result, with its answers row by row and the whole story of a failure, as soon as it is known."""


def compare(comparison: Comparison, options: Options, progress: Progress, keep: Keep) -> list[Result]:
    """Build, measure and store every case of the comparison. A case that fails has a result that says why."""
    findings, inputs = prepare(comparison, options, progress)
    if inputs is not None:
        try:
            with stage("measure"):
                _measure(comparison, options, inputs, findings, progress)
        except Stopped as stopped:
            fail_all(comparison, findings, stopped)
    return [_record(case, findings, keep) for case in comparison.cases]


def _record(case: Case, findings: Findings, keep: Keep) -> Result:
    """Keep the case's result; one that cannot be kept whole becomes a failure, and its neighbours go on."""
    try:
        with stage("record"):
            result = record.result(case, findings)
            keep(result, record.answers_table(case, findings), findings.traces.get(case.backend.name, ""))
    except Stopped as stopped:
        result = record.failure(case, findings, stopped.failure)
        keep(result, None, stopped.trace)
    return result


def _measure(comparison: Comparison, options: Options, inputs: Inputs, findings: Findings, progress: Progress) -> None:
    """Rounds over the reference, its control, and every selected case that is ready."""
    ready = [
        c.backend for c in comparison.cases if c.backend.name not in findings.failures and c.backend is not PYTORCH
    ]
    made = findings.contenders
    findings.environment = replace(findings.environment, load_before=load_average())
    kind = inputs.kind
    names = [b.name for b in (PYTORCH, *ready)]
    arms = [Arm(name, made[name].backend, made[name].artifact.path, kind=kind) for name in names]
    arms.insert(1, replace(arms[0], name=CONTROL))
    device = comparison.cases[0].device
    gpu.check_room(device, [size_bytes(arm.artifact) for arm in arms])
    wanted = {b.name: _smallest_speedup(comparison, b) for b in ready}
    nothing = dict.fromkeys(wanted)  # a gate asks for speed at the first workload only
    scored = {arm.name: made[arm.backend.name].scored for arm in arms}
    found = findings.measurement = rounds.measure(
        arms,
        [_load(inputs, batch) for batch in options.batches],
        options.settings(device),
        lambda name, rows, outputs: parity.check_timed(name, scored[name], rows, outputs),
        lambda samples: is_settled(samples, PYTORCH.name, wanted if samples.batch == options.batches[0] else nothing),
        progress,
    )
    findings.notes += found.notes()
    findings.notes += [
        f"batch {part.batch}: there are {len(inputs)} test rows, so that some come twice in a batch"
        for part in found.samples
        if part.batch > len(inputs)
    ]
    if CONTROL in found.failed:
        findings.notes.append(
            f"the control failed, so nothing is known of the noise: {error_text(found.failed.pop(CONTROL))}"
        )
    for name, error in found.failed.items():
        findings.fail(name, Failure(stage="measure", message=error_text(error)), error_trace(error))


def _smallest_speedup(comparison: Comparison, backend: Backend) -> float | None:
    gates = [case.gate for case in comparison.cases if case.backend is backend]
    return gates[0].min_speedup if gates and gates[0] else None


def _load(inputs: Inputs, batch: int) -> WorkloadInputs:
    order = row_order(len(inputs))

    def rows(number: int) -> list[int]:
        return batch_rows(order, number * batch, batch)

    return WorkloadInputs(batch, ORDER_SEED, rows, inputs.batch)
