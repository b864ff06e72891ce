"""Results → a tidy table, one line a case and workload: plain numbers, with the unit in the column's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import Any

import pandas as pd

from harness.measure.rounds import batch_rows, row_order
from harness.results.schema import Result, Series
from harness.stats.intervals import percentile_bound
from harness.verdicts.accuracy import counts_rows, drop, provable_drop
from harness.verdicts.comparability import PAIR, batches, comparisons
from harness.verdicts.recommendation import memory_mb, recommend, size_mb, undominated, vram_mb
from harness.verdicts.speed import (
    break_even,
    flat,
    foresee_all,
    launches_differ_by,
    noise_floor,
    own_speedup,
    startup_ms,
)
from harness.verdicts.verdict import shortfalls, verdict

TIMED = ("batch", "speedup", "speedup_low", "speedup_high", "rows_per_s", "tokens_per_s")
"""What tables show of the largest batch."""

COLUMNS = [
    *PAIR, "backend", "status", "verdict", "reasons", "chosen", "undominated", "batch", "rounds", "launches", "launches_sd",
    "arms", "median_ms", "p90_bound_ms", "p95_bound_ms", "p99_bound_ms", "rows_per_s", "tokens_per_s", "speedup",
    "speedup_low", "speedup_high", "min_speedup", "noise", "noise_low", "noise_high", "metric", "score", "others",
    "min_score", "rows", "drop", "drop_low", "drop_high", "max_drop", "margin", "broken_gate", "lost", "gained",
    "agreement", "compared_with", "source_lost", "source_gained", "source_agreement", "largest_difference", "size_mb",
    "peak_rss_mb", "peak_vram_mb", "import_ms", "load_ms", "compile_ms", "first_answer_ms", "startup_ms",
    "break_even_requests", "seeds", "seed_low", "seed_high", "train_s", "threads", "cpu", "measurement",
    "created", "commit", "error",
]  # fmt: skip

Line = tuple[Any, ...]
"""Values in the order of COLUMNS, None where there is none."""

Ends = tuple[dict[str, Any], dict[str, Any]]
"""A case's line at the gate's workload and that at the largest batch, by column."""


def tidy(results: Iterable[Result]) -> pd.DataFrame:
    """One line a case and workload, plain numbers with the unit in the column's name."""
    results = list(results)
    foresee_all(results)
    return table([line for group in comparisons(results) for line in case_lines(group)])


def table(lines: Sequence[Line]) -> pd.DataFrame:
    """Lines of any number of comparisons, in the order given."""
    return pd.DataFrame(lines, columns=COLUMNS)


def case_lines(group: list[Result]) -> Iterator[Line]:
    """One a case and workload of a comparison; values in the order of COLUMNS, None where there is none."""
    chosen, _ = recommend(group)
    unbeaten = undominated(group)
    for result in group:
        known = _case(result) | {"chosen": result is chosen, "undominated": any(result is one for one in unbeaten)}
        tokens = result.answers.tokens if result.answers else ()
        for found in [known | _timing(series) | _generated(series, tokens) for series in result.series] or [known]:
            yield tuple(map(found.get, COLUMNS))


def first_and_last(group: list[Result]) -> Iterator[Ends]:
    """Each case of a comparison; a case that has no figures of the largest batch has a line without any for it."""
    largest = max(batches(group), default=None)
    for _, found in groupby(case_lines(group), itemgetter(COLUMNS.index("backend"))):
        lines = [dict(zip(COLUMNS, line, strict=True)) for line in found]
        yield lines[0], lines[-1] if lines[-1]["batch"] == largest else lines[-1] | dict.fromkeys(TIMED)


def rows_per_s(series: Series) -> float:
    """Throughput over all rounds."""
    own = flat(series.own_ns)
    return series.workload.batch * len(own) / (sum(own) / 1e9)


def _case(result: Result) -> dict[str, Any]:
    known: dict[str, Any] = {
        "machine": result.environment.machine,
        "task": result.task,
        "model": result.model,
        "device": result.device,
        "backend": result.backend,
        "status": result.status,
        "threads": result.environment.threads,
        "cpu": result.environment.cpu,
        "measurement": result.measurement,
        "created": result.created,
        "commit": result.environment.commit,
        "error": result.error.message if result.error else None,
        "metric": result.data.metric if result.data else None,
        "train_s": result.checkpoint.seconds if result.checkpoint else None,
        "size_mb": size_mb(result),
        "peak_rss_mb": memory_mb(result),
        "peak_vram_mb": vram_mb(result),
    }
    found = verdict(result)
    if found is not None:
        known |= {"verdict": found.word, "reasons": "; ".join(found.reasons)}
    scores = [seed.score for seed in result.seeds if seed.score is not None]
    if scores:
        known |= {"seeds": len(scores), "seed_low": min(scores), "seed_high": max(scores)}
    return known | _answered(result) | _promised(result) | _started(result)


def _answered(result: Result) -> dict[str, Any]:
    known: dict[str, Any] = {}
    lost = drop(result)
    if lost is not None:
        known |= {"drop": lost.estimate, "drop_low": lost.low, "drop_high": lost.high}
    if result.answers is not None:
        known |= {
            "score": result.answers.score,
            "others": "; ".join(f"{name} {value:.4f}" for name, value in result.answers.others.items()) or None,
            "rows": result.answers.rows,
            "margin": provable_drop(result.answers) if result.data and counts_rows(result.data.metric) else None,
            "lost": result.answers.lost,
            "gained": result.answers.gained,
            "agreement": result.answers.agreement,
            "compared_with": result.answers.compared_with,
            "source_lost": result.answers.source_lost,
            "source_gained": result.answers.source_gained,
            "source_agreement": result.answers.source_agreement,
            "largest_difference": result.answers.largest_difference,
        }
    return known


def _promised(result: Result) -> dict[str, Any]:
    if result.gate is None:
        return {}
    broken = "; ".join(shortfalls(result)) if result.status == "ok" else ""
    return {
        "min_score": result.gate.min_score,
        "max_drop": result.gate.max_drop,
        "min_speedup": result.gate.min_speedup,
        "broken_gate": broken or None,
    }


def _started(result: Result) -> dict[str, Any]:
    """Phases, each the median over launches."""
    if result.process is None:
        return {}
    return {
        "import_ms": median(result.process.import_ns) / 1e6,
        "load_ms": median(result.process.load_ns) / 1e6,
        "compile_ms": median(result.process.compile_ns) / 1e6,
        "first_answer_ms": median(result.process.first_ns) / 1e6,
        "startup_ms": startup_ms(result.process),
        "break_even_requests": break_even(result),
    }


def _timing(series: Series) -> dict[str, Any]:
    own = flat(series.own_ns)
    gain, noise = own_speedup(series), noise_floor(series)
    # A block of several calls gives their mean, and percentiles of means are none of calls.
    calls = series.tail_ns or (own if series.loops == 1 else ())
    bounds = {f"p{share}_bound_ms": percentile_bound(calls, share / 100) for share in (90, 95, 99)}
    return {
        "batch": series.workload.batch,
        "rounds": len(own),
        "launches": len(series.own_ns),
        "launches_sd": launches_differ_by(series),
        "arms": series.arms,
        "median_ms": median(own) / 1e6,
        **{name: None if bound is None else bound / 1e6 for name, bound in bounds.items()},
        "rows_per_s": rows_per_s(series),
        "speedup": gain.estimate,
        "speedup_low": gain.low,
        "speedup_high": gain.high,
        "noise": noise.estimate,
        "noise_low": noise.low,
        "noise_high": noise.high,
    }


def _generated(series: Series, tokens: Sequence[int]) -> dict[str, Any]:
    """How many tokens a second were generated; nothing where none are."""
    if not tokens:
        return {}
    order = row_order(len(tokens), series.workload.order_seed)
    places = {row: place for place, row in enumerate(order)}
    asked = (row for first in flat(series.rows) for row in batch_rows(order, places[first], series.workload.batch))
    return {"tokens_per_s": sum(tokens[row] for row in asked) / (sum(flat(series.own_ns)) / 1e9)}
