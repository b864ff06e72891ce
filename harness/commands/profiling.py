"""`shipbench profile`: where the time of an answer goes, and how much of this machine's peak its products reach."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from harness.commands import collection
from harness.commands.answer_profile import (
    PRODUCTS,
    Profile,
    count_operations,
    in_worker_environment,
    peak,
    product_format,
    take,
)
from harness.errors import HarnessError
from harness.measure.rounds import batch_rows, row_order
from harness.pipeline.state import Comparison, Options
from harness.report.rendering import number, render
from harness.spec import Case

SHOWN = 12
"""Operators in the table; the others share a line."""


def declare_profile(parser: ArgumentParser) -> None:
    """Declare the arguments of `shipbench profile`."""
    collection.declare_suite(parser)
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="profile a batch of N test rows (default: 1)")


def run_profile(options: Namespace) -> int:
    """Profile the selected case's backend; print its operators by time, and the rate that its products reach."""
    if options.batch < 1:
        raise HarnessError(f"--batch {options.batch}: must be at least 1")
    cases, settings = collection.select(options)
    case, folder = collection.single_case("profile", options.suite, cases)
    if reason := _obstacle(case):
        raise HarnessError(f"{case} cannot be profiled; {reason}")
    print("\n".join(_profile_case(case, folder, settings, options.batch)))
    return 0


def _obstacle(case: Case) -> str | None:
    if case.device != "cpu":
        return "only processors are; choose its case on the cpu"
    if case.task.kind.tokens is not None:
        return "it generates text, so most of an answer is a loop in Python; choose a task that generates none"
    if case.backend.runs_in is not None:
        return "its runtime is in another environment; choose a backend of this one"
    if case.backend.batches_of is not None:
        return "it splits batches; choose the backend that it is a variant of"
    return None


def _profile_case(case: Case, folder: Path, options: Options, batch: int) -> Iterator[str]:
    from harness.pipeline.prepare import prepare

    name, target = case.backend.name, case.backend.worker_target(options.target(case.device))
    target = target._replace(options=dict(target.options))  # which another process can be sent
    state = prepare(Comparison((case,), folder), options, collection.stderr_progress())
    if name in state.failures:
        raise HarnessError(f"{case} cannot be profiled; run its test first: {state.failures[name].message}")
    assert state.test is not None
    assert state.checkpoint is not None
    if batch > (rows := len(state.test)):
        raise HarnessError(f"--batch {batch}: must be at most {rows}, the number of test rows")
    arrays = state.test.batch(batch_rows(row_order(rows), 0, batch))
    shapes = ", ".join(f"{key} {'x'.join(map(str, array.shape))}" for key, array in arrays.items())
    yield f"{case}, threads={target.threads}: {shapes}"
    operations, uncounted = count_operations(state.checkpoint.path, arrays)
    with in_worker_environment(target) as call:
        profile, plain_s, settings = call(take, case.backend.load, state.prepared[name].artifact.path, target, arrays)
        form = None if uncounted else product_format(profile, settings)
        rate = call(peak, form, target.threads) if form else math.nan
    yield from report(profile, plain_s, form, rate, operations)
    if uncounted:
        yield f"Their rate is left out: operations inside {uncounted} are not counted."


def report(profile: Profile, plain_s: float, form: str | None, peak_rate: float, operations: int) -> Iterator[str]:
    """Yield the table of operators by time, and what the products reach and could reach."""
    table = pd.DataFrame.from_dict(profile.operators, orient="index", columns=["calls", "s"])
    table = table.rename(lambda name: f"{name} *" if PRODUCTS.search(name) else name).sort_values("s", ascending=False)
    if others := len(table[SHOWN:]):
        table = pd.concat([table[:SHOWN], table[SHOWN:].sum().to_frame(f"{others} others").T])
    if (between := profile.seconds - table["s"].sum()) > 0:  # operators may overlap
        table.loc["between operators"] = [math.nan, between]
    cells = {"operator": list(table.index), "calls": list(map(number, table["calls"]))}
    cells |= {
        "ms": [number(1e3 * s, 3) for s in table["s"]],
        "share": [f"{s / profile.seconds:.0%}" for s in table["s"]],
    }
    yield render(pd.DataFrame(cells), left=("operator",))
    times = f"{number(1e3 * plain_s, 3)} ms, {number(1e3 * profile.seconds, 3)} ms under the profiler"
    products = sum(entry[1] for name, entry in profile.operators.items() if PRODUCTS.search(name))
    sentence = f"An answer takes {times}; matrix products (*) are {products / profile.seconds:.0%} of it"
    if form is not None:
        rate, least_ms = operations / products, number(1e3 * operations / peak_rate, 3)
        reached = f"{number(rate / 1e9, 3)} GFLOP/s, {rate / peak_rate:.0%} of the {number(peak_rate / 1e9, 3)}"
        sentence += (
            f" and reach {reached} that one large product in {form} reaches here; at that they take {least_ms} ms"
        )
    yield f"{sentence}."
