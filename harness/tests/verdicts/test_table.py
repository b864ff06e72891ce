"""The tidy table: a row per case and workload, plain numbers in the unit of the column's name."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factory import GATE, answers, failed, result, series, unsupported

from harness.measure.rounds import row_order
from harness.report import documents
from harness.results.schema import Seed
from harness.verdicts.speed import flatten
from harness.verdicts.table import COLUMNS, COSTS, case_rows, tidy, to_frame
from harness.verdicts.verdict import shortfalls


def test_one_row_per_case_and_workload():
    table = tidy([result(), result("onnxruntime", 2.0), failed("onnxruntime-int8")])
    unpriced = [name for name in COLUMNS if name not in COSTS]
    assert unpriced == list(table.columns)
    expected = [("pytorch", 1), ("pytorch", 16), ("onnxruntime", 1), ("onnxruntime", 16), ("onnxruntime-int8", None)]
    assert expected == [(row.backend, None if math.isnan(row.batch) else row.batch) for row in table.itertuples()]
    assert (0, len(unpriced)) == tidy([]).shape


def test_columns_hold_plain_numbers_in_their_unit():
    one = result("onnxruntime", 2.0, answers=answers(lost=2, gained=1))
    row = tidy([one]).iloc[0]
    own = flatten(one.series[0].own_ns)
    expected = {
        "machine": "toy-machine", "task": "toy-task", "model": "toy-model", "device": "cpu", "status": "ok",
        "verdict": "ship", "batch": 1, "rounds": 240, "launches": 4, "arms": 1,
        "median_ms": float(np.median(own)) / 1e6, "rows_per_s": len(own) / (sum(own) / 1e9), "metric": "accuracy",
        "score": 0.949, "min_score": 0.9, "rows": 1000, "drop": 0.001, "max_drop": GATE.max_drop, "lost": 2,
        "gained": 1, "agreement": 0.997, "size_mb": 1.5, "peak_rss_mb": 250.0, "import_ms": 3.0, "load_ms": 3.0,
        "compile_ms": 3.0, "first_answer_ms": 3.0, "startup_ms": 12.0, "break_even_requests": 0, "train_s": 3.0,
        "threads": 2, "cpu": "abacus", "measurement": "0123456789ab", "commit": "0123456789abcdef", "error": None,
    }  # fmt: skip
    cells = {name: row[name] for name in expected}
    assert {name: pytest.approx(value) for name, value in expected.items()} == cells
    assert pytest.approx(0.003, abs=1e-4) == tidy([result("onnxruntime", 2.0)]).iloc[0]["provable_drop"]


def test_throughput_counts_the_rows_of_a_batch():
    table = tidy([result()])
    rate = dict(zip(table["batch"], table["rows_per_s"], strict=True))
    assert pytest.approx(16, rel=1e-2) == rate[16] / rate[1]


def test_cost_is_the_price_times_the_mean_time_of_a_million_rows():
    one = result("onnxruntime", 2.0)
    table = to_frame([*case_rows([one], 3.6), *case_rows([failed("onnxruntime-int8")], 3.6)])
    first, last, missing = table.to_dict("records")
    for row, series_ in ((first, one.series[0]), (last, one.series[1])):
        ns = flatten(series_.own_ns)
        hours = 1e6 * sum(ns) / len(ns) / row["batch"] / 3.6e12
        assert pytest.approx(3.6 * hours) == row["cost_per_million"]
        assert row["cost_per_million_low"] < row["cost_per_million"] < row["cost_per_million_high"]
    assert 16 == last["batch"]
    assert 3.6 == first["price_per_hour"]
    assert math.isnan(missing["cost_per_million"])


def test_recommended_and_pareto_mark_backends():
    table = tidy([result(), result("onnxruntime", 2.0), result("onnxruntime-int8", 3.0), failed("onnxruntime-o2")])
    assert {"onnxruntime-int8"} == set(table[table["recommended"]]["backend"])
    assert {"onnxruntime-int8"} == set(table[table["pareto"]]["backend"])


def test_verdict_reasons_and_broken_gate_are_columns():
    low = result("low", 2.0, answers=answers(score=0.5))
    table = tidy([result(), result("onnxruntime", 0.5), failed("z"), unsupported(), low])
    first = table.drop_duplicates("backend").set_index("backend")
    assert "slower" == first["verdict"]["onnxruntime"]
    assert first["reasons"]["onnxruntime"].startswith("speed-up 0.50x [")
    assert "failed" == first["verdict"]["z"]
    assert ["reference", "unsupported"] == first["verdict"][["pytorch", "onnxruntime-o2"]].tolist()
    assert shortfalls(low) == [first["broken_gate"]["low"]]


@pytest.mark.parametrize(
    ("changed", "is_bounded"),
    [
        ({}, True),
        ({"rounds": 11}, True),
        ({"rounds": 10}, False),
        ({"loops": 2}, False),
        ({"loops": 2, "tail_ns": (2_000_000,) * 44}, True),
        ({"tail_ns": (2_000_000,) * 43}, False),
    ],
    ids=["240 rounds", "44 rounds", "40 rounds", "means of two calls", "44 calls of the tail", "43 calls of the tail"],
)
def test_percentile_bounds_need_enough_single_calls(changed, is_bounded):
    row = tidy([result("onnxruntime", series=(series(**changed),))]).iloc[0]
    assert is_bounded == (not pd.isna(row["p90_bound_ms"]))
    assert not is_bounded or row["p90_bound_ms"] > row["median_ms"]


def test_reference_is_one_and_drops_nothing_by_definition():
    row = tidy([result(), result("onnxruntime", 2.0)]).iloc[0]
    assert [1, 1, 1, 0, 0, 0] == [row[f"{name}{end}"] for name in ("speedup", "drop") for end in ("", "_low", "_high")]


def test_noise_is_one_for_all_backends_of_the_rounds():
    several = [result(), *(result(f"b{seed}", series=(series(2.0, noise=0.05, seed=seed),)) for seed in range(3))]
    table = tidy([replace(one, series=one.series[:1]) for one in several])
    assert 1 == len(table[["noise", "noise_low", "noise_high"]].drop_duplicates())


def test_result_of_an_earlier_run_is_marked():
    old = result("gone", 2.0, measurement="old", created="2025-12-31T00:00:00+00:00")
    table = tidy([result(), old])
    assert {"pytorch": True, "gone": False} == dict(zip(table["backend"], table["in_last_run"], strict=True))
    assert "| ship, not in the last run |" in " ".join(documents.section([result(), old]).split())
    assert "ship, not in the last run" in documents.terminal_text([result(), old])


def test_order_of_results_does_not_matter():
    several = [result(), result("onnxruntime", 2.0), failed("onnxruntime-int8"), result(device="cuda")]
    pd.testing.assert_frame_equal(tidy(several), tidy(several[::-1]))
    assert documents.terminal_text(several) == documents.terminal_text(several[::-1])


def test_seeds_and_further_metrics_are_columns():
    seeds = tuple(Seed(seed=seed, score=score) for seed, score in enumerate((0.95, 0.93, 0.5)))
    row = tidy([result(seeds=seeds, answers=answers(other_scores={"mrr": 0.91, "top-5": 0.99}))]).iloc[0]
    assert (3, 0.5, 0.95) == tuple(row[["seeds", "seed_low", "seed_high"]])
    assert "mrr 0.9100; top-5 0.9900" == row["other_scores"]


def test_tokens_are_counted_over_the_rows_of_each_call():
    # Rows 0 to 3 give 1, 10, 100, 1000 tokens; a call of the reference takes a millisecond.
    generated, order = answers(rows=4, tokens=(1, 10, 100, 1000)), row_order(4)
    following = order[(order.index(2) + 1) % 4]
    one = series(None, rounds=1, launches=1, noise=0, rows=((2,),))
    two = series(None, rounds=1, launches=1, noise=0, rows=((2,),), batch=2)
    rates = tidy([result(answers=generated, series=(one, two))])["tokens_per_s"].tolist()
    assert [100_000, (100 + 10**following) * 1000] == pytest.approx(rates)


def test_first_and_further_tokens_have_times_of_their_own():
    # A call of the reference takes a millisecond, of which the first of five tokens takes 0.2.
    one = series(None, rounds=2, launches=1, noise=0, rows=((0, 1),), first_token_ns=((200_000, 200_000),))
    row = tidy([result(answers=answers(rows=4, tokens=(5,) * 4), series=(one,))]).iloc[0]
    assert (pytest.approx(0.2), pytest.approx(0.2)) == (row["first_token_ms"], row["token_ms"])
    assert tidy([result()])[["first_token_ms", "token_ms", "parted"]].isna().all(axis=None)


def test_single_token_has_no_further_one():
    one = series(None, rounds=1, launches=1, noise=0, rows=((0,),), first_token_ns=((200_000,),))
    row = tidy([result(answers=answers(rows=4, tokens=(1,) * 4), series=(one,))]).iloc[0]
    assert pytest.approx(0.2) == row["first_token_ms"]
    assert row["token_ms"] is None


def test_rows_that_part_are_a_share_and_a_place():
    row = tidy([result("onnxruntime", answers=answers(rows=8, tokens=(5,) * 8, parted=(2, 5, 3)))]).iloc[0]
    assert (0.375, 3) == (row["parted"], row["parted_at"])
