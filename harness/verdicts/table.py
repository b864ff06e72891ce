"""The tidy table: one row per case and workload, plain numbers, the unit in the column's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import Any, NamedTuple

import pandas as pd

from harness.contracts.backend import REFERENCE
from harness.measure.rounds import batch_rows, row_order
from harness.results.schema import Result, Series
from harness.stats.intervals import Interval, percentile_bound
from harness.verdicts import speed
from harness.verdicts.accuracy import counts_rows, provable_drop, score_drop
from harness.verdicts.comparability import COMPARISON_KEY, batch_sizes, comparisons, judged_batch
from harness.verdicts.machines import million_cost, request_ms
from harness.verdicts.recommendation import last_run, memory_mb, pareto_front, recommend, size_mb
from harness.verdicts.verdict import shortfalls, verdict

TIMED = (
    "batch", "median_ms", "p90_bound_ms", "p95_bound_ms", "p99_bound_ms", "rows_per_s", "tokens_per_s", "speedup",
    "speedup_low", "speedup_high",
)  # fmt: skip
"""Columns that tables show of a batch size."""

ANSWERS = (
    "score", "rows", "lost", "gained", "agreement", "compared_with", "source_lost", "source_gained", "source_agreement",
    "largest_difference",
)  # fmt: skip
"""Columns copied from the answers."""

COSTS = ["price_per_hour", "cost_per_million", "cost_per_million_low", "cost_per_million_high"]
"""Columns that only tables with prices have."""

COLUMNS = [
    *COMPARISON_KEY, "backend", "status", "verdict", "reasons", "recommended", "pareto", "in_last_run", "batch",
    "rounds", "launches", "launches_sd", "arms", "median_ms", "p90_bound_ms", "p95_bound_ms", "p99_bound_ms",
    "rows_per_s", "tokens_per_s", "first_token_ms", "token_ms", "speedup", "speedup_low", "speedup_high",
    "min_speedup", "gate_batch", "noise", "noise_low", "noise_high", "metric", "score", "other_scores", "min_score",
    "max_score", "rows", "drop", "drop_low", "drop_high", "max_drop", "provable_drop", "broken_gate", "lost", "gained",
    "agreement", "compared_with", "source_lost", "source_gained", "source_agreement", "largest_difference", "parted",
    "parted_at", "size_mb", "peak_rss_mb", "peak_vram_mb", "import_ms", "load_ms", "compile_ms", "first_answer_ms",
    "startup_ms", "break_even_requests", "seeds", "seed_low", "seed_high", "train_s", "threads", "cpu", "measurement",
    "created", "commit", "error", *COSTS,
]  # fmt: skip

UNITY = Interval(1.0, 1.0, 1.0)
"""The reference's speed-up, by definition."""

Row = tuple[Any, ...]
"""Values in the order of COLUMNS, None for a missing value."""

Cells = dict[str, Any]
"""Values by column."""


def tidy(results: Iterable[Result]) -> pd.DataFrame:
    """Return one row per case and workload, with COLUMNS but for COSTS."""
    results = list(results)
    speed.precompute_speedups(results)
    return to_frame([row for group in comparisons(results) for row in case_rows(group)])


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows of any number of comparisons as a table, in the order given."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.drop(columns=COSTS) if table[COSTS[0]].isna().all() else table


def case_rows(group: list[Result], price: float | None = None) -> Iterator[Row]:
    """Yield one row per case and workload of a comparison; an unmeasured case has one row.

    `price` is that of its machine for an hour.
    """
    (recommended, _), front, newest, levels = (
        recommend(group),
        pareto_front(group),
        last_run(group),
        noise_levels(group),
    )
    for result in group:
        shared = _case(result) | {
            "recommended": result is recommended,
            "pareto": any(result is r for r in front),
            "in_last_run": result.measurement == newest,
        }
        tokens = result.answers.tokens if result.answers else ()
        rows = [
            shared
            | _timing(result, series)
            | _generation(series, tokens)
            | _noise(levels, result, series)
            | _cost(series, price)
            for series in result.series
        ]
        for cells in rows or [shared]:
            yield tuple(map(cells.get, COLUMNS))


def noise_levels(group: Iterable[Result]) -> dict[tuple[str, int], Series]:
    """Return the series that tells the control's noise, for each measurement and batch size.

    It is one for all backends. A contender's, which comes later, knows the spread between launches better than the
    reference's alone.
    """
    return {
        (result.measurement, series.workload.batch): series
        for result in group
        for series in result.series
        if series.control_ns
    }


class Shown(NamedTuple):
    """The rows of a case that tables show; figures of a batch at which it was not timed are None."""

    judged: Cells
    """At the batch that the gate judges."""
    other: Cells
    """At the largest other batch, or the smallest if the judged one is the largest."""
    largest: Cells
    """The one of the two with more rows per call."""


def shown_batches(group: Iterable[Result]) -> tuple[int, int]:
    """Return the judged batch size, and the other one that tables show; twice the same if there is no other."""
    group = list(group)
    judged, sizes = judged_batch(group), batch_sizes(group) or [1, 16]
    return judged, sizes[-1] if sizes[-1] != judged else sizes[0]


def shown_rows(group: list[Result]) -> Iterator[Shown]:
    """Yield the rows of each case."""
    judged, other = shown_batches(group)
    for _, rows in groupby(case_rows(group), itemgetter(COLUMNS.index("backend"))):
        cells = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        by_batch, empty = {row["batch"]: row for row in cells}, cells[0] | dict.fromkeys(TIMED)
        first, second = by_batch.get(judged, empty), by_batch.get(other, empty)
        yield Shown(first, second, max((judged, first), (other, second), key=itemgetter(0))[1])


def rows_per_s(series: Series) -> float:
    """Return the throughput over all rounds."""
    own = speed.flatten(series.own_ns)
    return series.workload.batch * len(own) / (sum(own) / 1e9)


def _case(result: Result) -> Cells:
    names = ("task", "model", "device", "backend", "status", "measurement", "created")
    cells: Cells = {
        **{name: getattr(result, name) for name in names},
        **{name: getattr(result.environment, name) for name in ("machine", "threads", "cpu", "commit")},
        "error": result.error.message if result.error else None,
        "metric": result.data.metric if result.data else None,
        "train_s": result.checkpoint.seconds if result.checkpoint else None,
        "size_mb": size_mb(result),
        "peak_rss_mb": memory_mb(result),
    }
    judgement = verdict(result)
    cells["verdict"] = judgement.word if judgement else "reference" if result.status == "ok" else result.status
    if judgement is not None:
        cells["reasons"] = "; ".join(judgement.reasons)
    scores = [seed.score for seed in result.seeds if seed.score is not None]
    if scores:
        cells |= {"seeds": len(scores), "seed_low": min(scores), "seed_high": max(scores)}
    return cells | _accuracy(result) | _gate(result) | _process(result)


def _accuracy(result: Result) -> Cells:
    answers, drop = result.answers, score_drop(result)
    if drop and result.backend == REFERENCE:  # against itself
        drop = Interval(0.0, 0.0, 0.0)
    if answers is None:
        return {}
    return {
        **{name: getattr(answers, name) for name in ANSWERS},
        **(_interval("drop", drop) if drop else {}),
        "other_scores": "; ".join(f"{name} {value:.4f}" for name, value in answers.other_scores.items()) or None,
        "parted": None if answers.parted is None else len(answers.parted) / answers.rows,
        "parted_at": median(answers.parted) if answers.parted else None,
        "provable_drop": provable_drop(answers) if result.data and counts_rows(result.data.metric) else None,
    }


def _gate(result: Result) -> Cells:
    if result.gate is None:
        return {}
    return {
        **{name: getattr(result.gate, name) for name in ("min_score", "max_score", "max_drop", "min_speedup")},
        "gate_batch": result.gate.batch,
        "broken_gate": ("; ".join(shortfalls(result)) if result.status == "ok" else "") or None,
    }


def _process(result: Result) -> Cells:
    """Return GPU memory and the phases of starting, each the median over launches."""
    process = result.process
    if process is None:
        return {}
    return {
        "peak_vram_mb": median(process.peak_vram_bytes) / 1e6 if process.peak_vram_bytes else None,
        "import_ms": median(process.import_ns) / 1e6,
        "load_ms": median(process.load_ns) / 1e6,
        "compile_ms": median(process.compile_ns) / 1e6,
        "first_answer_ms": median(process.first_ns) / 1e6,
        "startup_ms": speed.startup_ms(process),
        "break_even_requests": speed.break_even(result),
    }


def _timing(result: Result, series: Series) -> Cells:
    own = speed.flatten(series.own_ns)
    # A block of several calls gives their mean, and percentiles of means are not percentiles of calls.
    calls = series.tail_ns or (own if series.loops == 1 else ())
    bounds = {share: percentile_bound(calls, share / 100) for share in (90, 95, 99)}
    return {
        "batch": series.workload.batch,
        "rounds": len(own),
        "launches": len(series.own_ns),
        "launches_sd": speed.launch_spread(series),
        "arms": series.arms,
        "median_ms": speed.median_ms(series.own_ns),
        **{f"p{share}_bound_ms": None if bound is None else bound / 1e6 for share, bound in bounds.items()},
        "rows_per_s": rows_per_s(series),
        **_interval("speedup", UNITY if result.backend == REFERENCE else speed.own_speedup(series)),
    }


def _noise(levels: Mapping[tuple[str, int], Series], result: Result, series: Series) -> Cells:
    level = levels.get((result.measurement, series.workload.batch))
    return _interval("noise", speed.noise_floor(level)) if level else {}


def _cost(series: Series, price: float | None) -> Cells:
    if price is None:
        return {}
    return {COSTS[0]: price, **_interval(COSTS[1], million_cost(request_ms(series), price))}


def _interval(name: str, interval: Interval) -> Cells:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _generation(series: Series, tokens: Sequence[int]) -> Cells:
    """Return tokens per second, where any were generated, and the times of the first and of a further one."""
    if not tokens:
        return {}
    order, batch = row_order(len(tokens), series.workload.order_seed), series.workload.batch
    places = {row: place for place, row in enumerate(order)}
    rows = (row for first in speed.flatten(series.rows) for row in batch_rows(order, places[first], batch))
    own = speed.flatten(series.own_ns)
    cells = {"tokens_per_s": sum(tokens[row] for row in rows) / (sum(own) / 1e9)}
    if first := speed.flatten(series.first_token_ns):
        cells["first_token_ms"] = median(first) / 1e6
        if further := tokens[0] - 1:  # of every row, where text is written step by step
            cells["token_ms"] = median(call - start for call, start in zip(own, first, strict=True)) / further / 1e6
    return cells
