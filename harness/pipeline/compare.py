"""A comparison from its cases to their results: prepare, measure, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.measure.samples import Arm
from harness.pipeline import measurement, record
from harness.pipeline.measurement import Contender, workload
from harness.pipeline.prepare import prepare
from harness.pipeline.state import Comparison, Options, State, Stopped, stage
from harness.results.schema import NO_CONSTRAINTS, Failure, Result
from harness.spec import Case
from harness.util.console import Progress
from harness.util.machine import load_average
from harness.util.text import error_text, error_trace

Keep = Callable[[Result, pd.DataFrame | None, str], None]
"""Called with each result as soon as it exists, its answers row by row, and the trace of a failure."""


def compare(comparison: Comparison, options: Options, progress: Progress, keep: Keep) -> list[Result]:
    """Build, measure and store every case of the comparison. A failed case has a result that says why."""
    state = prepare(comparison, options, progress)
    if REFERENCE in state.prepared and not _ends_untimed(state, progress):
        try:
            with stage("measure"):
                _measure(state, progress)
        except Stopped as stopped:
            state.fail_all(stopped)
    return [_record(case, state, keep) for case in comparison.cases]


def _ends_untimed(state: State, progress: Progress) -> bool:
    """Return whether no backend may ship however fast it is, and say so once: rounds would take minutes for nothing."""
    score, gates = state.prepared[REFERENCE].scored.score, [case.gate for case in state.comparison.cases if case.gate]
    contenders = {case.backend.name for case in state.comparison.cases} - {REFERENCE}
    why = ""
    broken = [gate for gate in gates if score is not None and not gate.admits(score)]
    if broken:
        side = "below" if broken[0].max_score is None else "above"
        strictest = max if broken[0].max_score is None else min
        limit = strictest(broken, key=lambda gate: gate.score_limit).limit
        why = f"the reference scores {score:.4f}, {side} its {limit}"
    elif contenders and contenders <= state.failures.keys() and state.options.constraints == NO_CONSTRAINTS:
        why = "no other backend gave answers to compare it with"
    if why:
        state.notes.append(f"nothing was timed: {why}")
        progress.say(state.notes[-1])
    return bool(why)


def _measure(state: State, progress: Progress) -> None:
    """Run rounds over the reference, its control, and every selected case that is ready."""
    cases, options, inputs = state.comparison.cases, state.options, state.test
    assert inputs is not None
    state.environment = replace(state.environment, load_before=load_average())
    gates = {case.backend.name: case.gate for case in cases}
    contenders = []
    for name in (REFERENCE, *(name for name in gates if name != REFERENCE and name not in state.failures)):
        prepared, gate = state.prepared[name], gates.get(name)
        arm = Arm(name, prepared.backend, prepared.artifact.path, kind=inputs.kind)
        contenders.append(Contender(arm, prepared.scored, gate.min_speedup if gate else None))
    if options.spinning:
        contenders.append(measurement.asleep(contenders[0]))
    workloads = [workload(batch, len(inputs), inputs.batch) for batch in cases[0].batches(options.batches)]
    measured = measurement.measure(contenders, workloads, cases[0].device, options, progress)
    state.measurement = measured
    state.notes += measurement.notes(measured, len(inputs))
    for name, error in measured.failed.items():
        if name in gates:
            failure = Failure(stage="measure", message=error_text(error))
            state.fail(name, Stopped(failure, error_trace(error)))


def _record(case: Case, state: State, keep: Keep) -> Result:
    """Keep the case's result; one that cannot be kept whole becomes a failure, and the other cases go on."""
    try:
        with stage("record"):
            result = record.result_of(case, state)
            keep(result, record.answers_table(case, state), state.traces.get(case.backend.name, ""))
    except Stopped as stopped:
        result = record.bare_result(case, state, stopped.failure)
        keep(result, None, stopped.trace)
    return result
