"""Laws of tables: what stands beside what, what is refused, what is recommended, what is written."""

import math
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from factory import GATE, HERE, answers, elsewhere, failed, process, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import report
from harness.errors import HarnessError, Incomparable
from harness.measure.rounds import row_order
from harness.measure.system import Disturbance
from harness.report import page
from harness.report.tables import line
from harness.results import store
from harness.results.schema import Flip, Seed
from harness.verdicts.comparability import check_comparable, comparisons
from harness.verdicts.recommendation import choose, recommend
from harness.verdicts.speed import flat
from harness.verdicts.table import COLUMNS, tidy
from harness.verdicts.verdict import shortfalls, verdict

LAW = settings(max_examples=25)


# What stands beside what


def test_results_of_one_task_model_and_device_form_a_comparison_with_the_reference_first():
    given_results = [
        result("onnxruntime"),
        result("pytorch", device="cuda"),
        result("pytorch"),
        result("a-backend"),
        result("pytorch", model="another-model"),
        result("onnxruntime", task="another-task"),
    ]
    expected = [
        ["another-task/toy-model.onnxruntime.cpu"],
        ["toy-task/another-model.pytorch.cpu"],
        ["toy-task/toy-model.pytorch.cpu", "toy-task/toy-model.a-backend.cpu", "toy-task/toy-model.onnxruntime.cpu"],
        ["toy-task/toy-model.pytorch.cuda"],
    ]
    assert expected == [[one.name for one in group] for group in comparisons(given_results)]


def test_two_machines_are_two_comparisons():
    other = result("onnxruntime", environment=elsewhere(machine="other-machine"))
    assert [["onnxruntime"], ["pytorch"]] == [
        [one.backend for one in group] for group in comparisons([result(), other])
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"machine": "other-machine"}, "environment machine: toy-machine and other-machine"),
        ({"cpu": "slide rule"}, "environment cpu: abacus and slide rule"),
        ({"flags": ("avx2", "amx")}, r"environment flags: \('avx2',\) and \('avx2', 'amx'\)"),
        ({"cores": 4}, "environment cores: 2 and 4"),
        ({"accelerator": "toy GPU"}, "environment accelerator: None and toy GPU"),
        ({"system": "Linux 7"}, "environment system: Linux 6 and Linux 7"),
        ({"python": "3.12"}, "environment python: 3.11 and 3.12"),
        ({"packages": {"torch": "2.12"}}, "environment packages: {'torch': '2.13'} and {'torch': '2.12'}"),
        ({"threads": 1}, "environment threads: 2 and 1"),
        ({"wait_policy": "active"}, "environment wait_policy: passive and active"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_backends_from_unequal_environments_are_refused(changed, said):
    other = result("onnxruntime", environment=elsewhere(**changed))
    names = r"toy-task/toy-model\.pytorch\.cpu and toy-task/toy-model\.onnxruntime\.cpu differ in "
    with pytest.raises(Incomparable, match=f"{names}{said}; run both again"):
        check_comparable([result(), other])


def test_every_field_of_an_environment_is_compared_or_known_not_to_matter():
    assert {"memory_gib", "commit", "dirty", "load_before"} == set(vars(HERE)) - set(HERE.comparable())


@pytest.mark.parametrize(
    "changed", [{"load_before": 9.0}, {"commit": "fedcba"}, {"dirty": True}, {"memory_gib": 2.0}], ids=str
)
def test_what_does_not_decide_a_ratio_is_no_reason_to_refuse(changed):
    check_comparable([result(), result("onnxruntime", environment=elsewhere(**changed))])


def test_other_test_rows_are_refused():
    other = result("onnxruntime", data=replace(result().data, sha256={"test": "99"}))
    with pytest.raises(Incomparable, match="differ in test rows: 11 and 99; run both again"):
        check_comparable([result(), other])


def test_another_checkpoint_is_refused():
    other = result("onnxruntime", checkpoint=replace(result().checkpoint, info={"weights_sha256": "77"}))
    with pytest.raises(Incomparable, match="differ in checkpoint: 33 and 77; run both again"):
        check_comparable([result(), other])


def test_all_that_differs_is_named_at_once():
    other = result("onnxruntime", environment=elsewhere(cores=4, threads=4), data=None)
    said = "environment cores: 2 and 4; environment threads: 2 and 4; test rows: 11 and None; run both again"
    with pytest.raises(Incomparable, match=said):
        check_comparable([result(), other])


# What is recommended


def test_incomparable_results_are_not_chosen_from():
    found, why = recommend([result(), result("onnxruntime", 3.0, environment=elsewhere(threads=1))])
    assert found is None
    assert why.startswith(
        "not comparable: toy-task/toy-model.pytorch.cpu and toy-task/toy-model.onnxruntime.cpu differ"
    )


def test_a_failed_case_makes_nothing_incomparable():
    found, _ = recommend([result(), failed(environment=elsewhere(threads=1))])
    assert "pytorch" == found.backend


def test_where_everything_failed_nothing_is_recommended():
    assert (None, "no backend was measured that keeps its gate") == recommend([failed("pytorch"), failed()])


def test_what_is_recommended_is_what_is_chosen_of_the_measured():
    several = [result(), result("onnxruntime", 2.0), failed("broken")]
    assert choose(several[:2]) == recommend(several)


# The tidy table


def test_a_table_has_one_line_a_case_and_workload():
    table = tidy([result(), result("onnxruntime", 2.0), failed("onnxruntime-int8")])
    assert COLUMNS == list(table.columns)
    expected = [("pytorch", 1), ("pytorch", 16), ("onnxruntime", 1), ("onnxruntime", 16), ("onnxruntime-int8", None)]
    found = [(row.backend, None if math.isnan(row.batch) else row.batch) for row in table.itertuples()]
    assert expected == found


def test_no_results_are_an_empty_table():
    assert (0, len(COLUMNS)) == tidy([]).shape


def test_columns_hold_plain_numbers_in_the_unit_of_their_name():
    one = result("onnxruntime", 2.0, answers=answers(lost=2, gained=1))
    row = tidy([one]).iloc[0]
    own = flat(one.series[0].own_ns)
    expected = {
        "machine": "toy-machine",
        "task": "toy-task",
        "model": "toy-model",
        "device": "cpu",
        "status": "ok",
        "verdict": "ship",
        "batch": 1,
        "rounds": 240,
        "launches": 4,
        "arms": 1,
        "median_ms": float(np.median(own)) / 1e6,
        "rows_per_s": len(own) / (sum(own) / 1e9),
        "metric": "accuracy",
        "score": 0.949,
        "min_score": 0.9,
        "rows": 1000,
        "drop": 0.001,
        "max_drop": 0.01,
        "lost": 2,
        "gained": 1,
        "agreement": 0.997,
        "size_mb": 1.5,
        "peak_rss_mb": 250.0,
        "import_ms": 3.0,
        "load_ms": 3.0,
        "compile_ms": 3.0,
        "first_answer_ms": 3.0,
        "startup_ms": 12.0,
        "break_even_requests": 0,
        "train_s": 3.0,
        "threads": 2,
        "cpu": "abacus",
        "measurement": "0123456789ab",
        "commit": "0123456789abcdef",
        "error": None,
    }
    found = {name: row[name] for name in expected}
    assert {name: pytest.approx(value) for name, value in expected.items()} == found


def test_a_row_of_a_batch_takes_a_share_of_its_time():
    table = tidy([result()])
    rate = dict(zip(table["batch"], table["rows_per_s"], strict=True))
    assert pytest.approx(16, rel=1e-2) == rate[16] / rate[1]


def test_at_most_one_case_of_a_comparison_is_chosen():
    table = tidy([result(), result("onnxruntime", 2.0), result("onnxruntime-int8", 3.0), failed("onnxruntime-o2")])
    assert {"onnxruntime-int8"} == set(table[table["chosen"]]["backend"])


@pytest.mark.parametrize(
    ("changed", "bounded"),
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
def test_a_percentile_is_bounded_only_by_enough_single_calls(changed, bounded):
    row = tidy([result("onnxruntime", series=(series(**changed),))]).iloc[0]
    assert bounded == (not pd.isna(row["p90_bound_ms"]))
    assert not bounded or row["p90_bound_ms"] > row["median_ms"]


def test_the_order_of_results_does_not_matter():
    several = [result(), result("onnxruntime", 2.0), failed("onnxruntime-int8"), result(device="cuda")]
    pd.testing.assert_frame_equal(tidy(several), tidy(several[::-1]))
    assert report.markdown(several) == report.markdown(several[::-1])


# Text


def cells(text):
    """The cells of every table row in Markdown; a backslash keeps a bar from ending its cell."""
    rows = [row for row in text.splitlines() if row.startswith("|")]
    return [[cell.strip() for cell in row.replace("\\\\", "").replace("\\|", "").split("|")[1:-1]] for row in rows]


def test_markdown_says_what_to_choose_and_why():
    text = report.markdown([result(), result("onnxruntime", 2.0)])
    assert "# Comparison\n" in text
    assert "## toy-task / toy-model on cpu, machine toy-machine\n" in text
    assert "**Would choose onnxruntime**: 2.00x [2.00, 2.0" in text
    assert "abacus, 2 cores, 2 threads (passive), Linux 6, Python 3.11, torch 2.13; commit 0123456789ab." in text
    assert "The reference against itself, batch 1: 1.000 [" in text
    assert "over 240 rounds in 4 launches." in text


def test_a_table_reads_from_left_to_right():
    text = report.markdown([result(), result("onnxruntime", 2.0), failed("z")])
    head, _, reference, other, broken = cells(text.partition("Times in ms")[0])
    assert [
        "backend", "speed-up, batch 1", "ms", "speed-up, batch 16", "rows/s", "score", "drop, points", "MB",
        "peak RSS, MB", "verdict",
    ] == head  # fmt: skip
    assert ["pytorch", "1×", "1.00", "1×"] == reference[:4]
    assert ["0.9500", "0", "1.50", "250", "reference"] == reference[5:]
    assert ["onnxruntime *", "0.500", "ship"] == [other[0], other[2], other[-1]]
    assert other[1].startswith("2.00× [")
    assert ["z", *[""] * 8, "failed: out of memory"] == broken


def swept(backend, *sizes):
    factor = None if backend == "pytorch" else 2.0
    return result(backend, series=tuple(series(factor, batch=size, noise=0) for size in sizes))


def test_the_largest_batch_is_that_of_the_comparison_not_of_a_case():
    text = report.markdown([swept("pytorch", 1, 16, 64), swept("onnxruntime", 1, 16), swept("z", 1, 16, 64)])
    head, _, reference, small, large = cells(text.partition("Rows a second")[0])
    assert "speed-up, batch 64" == head[3]
    assert ["1×", "64,000"] == reference[3:5]
    assert ["2.00× [2.00, 2.00]", "", ""] == [small[1], *small[3:5]]
    assert ["2.00× [2.00, 2.00]", "128,000"] == large[3:5]


def test_throughput_stands_by_batch_where_more_than_two_were_measured():
    text = report.markdown([swept("pytorch", 1, 16, 64), swept("onnxruntime", 1, 16), failed("z")])
    rows = cells(text.partition("Rows a second")[2].partition("Times in ms")[0])
    assert ["backend", "batch 1", "batch 16", "batch 64"] == rows[0]
    assert [["pytorch", "1,000", "16,000", "64,000"], ["onnxruntime", "2,000", "32,000", ""]] == rows[2:]
    html, told = (write([swept("pytorch", 1, 16, 64)]) for write in (page.page, report.terminal))
    assert '<th scope="col">batch 64</th>' in html
    assert "Rows a second by batch" in told
    assert "Rows a second by batch" not in report.markdown([result(), swept("onnxruntime", 1, 16)])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (((1,), (1,)), "speed-up, batch 16"),
        (((1, 64), (1, 64)), "speed-up, batch 64"),
        (((1, 16), (1, 64, 256)), "speed-up, largest batch (16 to 256)"),
    ],
)
def test_the_page_says_which_batch_is_largest(sizes, expected):
    groups = [replace(swept("pytorch", *those), model=f"m{at}") for at, those in enumerate(sizes)]
    assert f"{expected}</button>" in page.page(groups)


def test_a_run_of_single_rows_has_one_column_of_speed():
    head, *_ = cells(report.markdown([swept("pytorch", 1), swept("onnxruntime", 1)]))
    assert ["backend", "speed-up, batch 1", "ms", "rows/s"] == head[:4]


def test_nothing_lost_is_not_a_negative_loss():
    _, _, _, other, *_ = cells(report.markdown([result(), result("onnxruntime", 2.0)]))
    assert "0.00 [-0.30, +0.30]" == other[6]


@pytest.mark.parametrize(
    "several",
    [
        [failed("pytorch"), failed()],
        [unsupported()],
        [result(), failed()],
        [result(process=None, artifact=None)],
        [result(series=(series(rounds=2, launches=1),))],
        [result("onnxruntime", series=(series(rounds=2, launches=1),))],
        [result("onnxruntime", series=(series(control_ns=()),))],
        [result("onnxruntime", answers=answers(score=0.9, reference_score=None))],
        [failed("pytorch", data=None, checkpoint=None)],
        [],
    ],
    ids=[
        "all failed",
        "unsupported",
        "one failed",
        "little known",
        "few rounds",
        "one start",
        "no control",
        "undefined",
        "nothing known",
        "no results",
    ],
)
def test_nothing_missing_is_printed_as_a_value(several):
    for text in (report.markdown(several), report.terminal(several)):
        assert "nan" not in text
        assert "None" not in text


def test_a_broken_promise_is_printed():
    low = result("onnxruntime", 2.0, answers=answers(score=0.5))
    assert "score 0.5000 on 1000 rows is under the floor 0.9" in cells(report.markdown([result(), low]))[3][-1]
    assert shortfalls(low) == [tidy([low]).iloc[0]["broken_gate"]]


def test_uncommitted_changes_are_printed():
    assert "; commit 0123456789ab with changes." in report.markdown([result(environment=elsewhere(dirty=True))])
    assert "; commit unknown." in report.markdown([result(environment=elsewhere(commit=None))])


def test_the_terminal_shows_the_same_without_marks():
    text = report.terminal([result(), result("onnxruntime", 2.0), failed("z", message="a\nb")])
    assert "toy-task / toy-model on cpu\n" in text
    assert "\nWould choose onnxruntime: 2.00x [" in text
    assert "peak RSS" not in text
    assert any(row.startswith("z") and row.rstrip().endswith("failed") for row in text.splitlines())


@LAW
@given(st.text(min_size=1, max_size=60))
def test_no_error_message_breaks_a_table(message):
    several = [result(), failed(message=message)]
    found = cells(report.markdown(several).partition("Times in ms")[0])
    assert [10] * 4 == [len(row) for row in found]
    assert report.terminal(several)
    assert line(failed(message=message)).startswith("failed at build: ")


def test_an_error_without_a_message_breaks_no_table():
    silent = failed(message="")
    assert [10] * 3 == [len(row) for row in cells(report.markdown([silent]))]
    assert report.terminal([silent])
    assert line(silent).startswith("failed at build")


def test_a_case_has_a_line():
    assert "failed at build: out of memory" == line(failed(message="out of memory\n  | more"))
    assert "unsupported at build: Optimum exports no such head" == line(unsupported())
    assert line(result("onnxruntime", 2.0)).startswith("ship  2.00× [")
    assert line(result()).startswith("reference  1× (")
    assert " (0.500 ms), 0.9500, drop " in line(result("onnxruntime", 2.0))


@LAW
@given(st.integers(1, 10**12))
def test_a_time_is_never_printed_rounded_above_its_unit(ns):
    whole = result("onnxruntime", series=(series(rounds=1, launches=1, own_ns=((ns,),)),))
    shown = float(cells(report.markdown([whole]))[2][2].replace(",", ""))
    assert pytest.approx(ns / 1e6, rel=0.006) == shown


# Files


def save(folder, *several):
    for one in several:
        store.save(folder, one)
    return folder


def test_every_machine_has_its_tables_and_all_named_ones_have_one_more(tmp_path):
    local = elsewhere(machine="local")
    save(tmp_path, result(), result("onnxruntime", environment=elsewhere(machine="other")), result(environment=local))
    expected = [
        tmp_path / folder / name
        for folder in ("local", "other", "toy-machine", "")
        for name in ("comparison.csv", "comparison.md")
    ]
    assert expected == report.write(tmp_path)
    assert all(path.is_file() for path in expected)
    shared = (tmp_path / "comparison.md").read_text()
    assert "machine toy-machine" in shared
    assert "machine other" in shared
    assert "machine local" not in shared


def test_a_local_run_writes_its_own_tables_only(tmp_path):
    save(tmp_path, result(), result(environment=elsewhere(machine="local")))
    expected = [tmp_path / "local/comparison.csv", tmp_path / "local/comparison.md"]
    assert expected == report.write(tmp_path, "local")
    assert not (tmp_path / "comparison.csv").exists()


def test_a_named_run_writes_its_own_tables_and_the_shared_ones(tmp_path):
    save(tmp_path, result(), result(environment=elsewhere(machine="other")))
    expected = ["comparison.csv", "comparison.md", "other/comparison.csv", "other/comparison.md"]
    assert expected == sorted(str(path.relative_to(tmp_path)) for path in report.write(tmp_path, "other"))


def test_the_csv_is_the_tidy_table(tmp_path):
    several = [result(), result("onnxruntime", 2.0), failed("onnxruntime-int8")]
    report.write(save(tmp_path, *several))
    found = pd.read_csv(BytesIO((tmp_path / "comparison.csv").read_bytes()))
    expected = tidy(several)
    assert list(expected.columns) == list(found.columns)
    for column in ("backend", "status", "chosen", "undominated", "verdict", "reasons"):
        assert expected[column].fillna("").tolist() == found[column].fillna("").tolist()
    for column in ("median_ms", "speedup", "speedup_low", "drop_high", "score"):
        np.testing.assert_allclose(expected[column].astype(float), found[column], rtol=1e-5)


def test_tables_that_were_just_written_are_what_the_results_give(tmp_path):
    report.write(save(tmp_path, result()))
    report.check(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "comparison.md").write_text("better numbers"),
        lambda folder: (folder / "comparison.md").unlink(),
        lambda folder: save(folder, result("onnxruntime", 2.0)),
        lambda folder: store.path_of(folder, result()).unlink(),
    ],
    ids=["edited", "missing", "stale", "left over"],
)
def test_tables_that_are_not_what_the_results_give_are_named(tmp_path, spoil):
    report.write(save(tmp_path, result()))
    spoil(tmp_path)
    said = r"/comparison\.md.*: not what the results give; run python -m harness report and commit"
    with pytest.raises(HarnessError, match=said):
        report.check(tmp_path)


def test_a_folder_that_is_not_there_is_a_harness_error(tmp_path):
    said = "none: no such results folder; run pytest suites first, or name it with --ship-results"
    for make in (report.write, report.check):
        with pytest.raises(HarnessError, match=said):
            make(tmp_path / "none")


def test_an_empty_folder_has_no_tables(tmp_path):
    assert [] == report.write(tmp_path)
    report.check(tmp_path)


def test_a_damaged_result_is_named_and_not_left_out(tmp_path):
    save(tmp_path, result())
    (tmp_path / "toy-machine/toy-task/broken.json").write_text("{")
    with pytest.raises(HarnessError, match=r"broken\.json: not a result"):
        report.write(tmp_path)


# Evidence beside the table


def test_a_case_that_did_not_come_to_its_gate_is_not_shown_as_judged():
    assert "reference, not judged: its test did not come to its gate" in report.markdown([result(gate=None)])


def test_too_few_starts_for_an_interval_are_said():
    few = (series(2.0, rounds=2, launches=1),)
    text = report.markdown([result("onnxruntime", series=few)])
    assert "2.00× [too few launches or rounds]" in text
    assert "[too few launches or rounds] over 2 rounds in 1 start." in text


def test_a_verdict_that_leaves_shipping_open_is_given_its_reasons():
    several = [result(), result("onnxruntime", 2.0), result("onnxruntime-int8", 0.5)]
    told = [text for text in report.markdown(several).splitlines() if text.startswith("- ")]
    assert f"- onnxruntime-int8 is slower: {verdict(several[2]).reasons[0]}." == told[0]
    assert [] == [text for text in told if text.startswith("- onnxruntime is")]


def test_verdict_and_reasons_are_columns():
    table = tidy([result(), result("onnxruntime", 0.5), failed("z"), unsupported()])
    first = table.drop_duplicates("backend").set_index("backend")
    assert "slower" == first["verdict"]["onnxruntime"]
    assert first["reasons"]["onnxruntime"].startswith("its speed-up is 0.50x [")
    assert "failed" == first["verdict"]["z"]
    assert first["verdict"][["pytorch", "onnxruntime-o2"]].isna().all()


def test_those_that_no_other_beats_are_named():
    several = [result(), result("onnxruntime", 2.0), result("onnxruntime-int8", 1.5)]
    assert "- No other beats, on speed, drop and memory together: onnxruntime." in report.markdown(several)
    table = tidy(several)
    assert {"onnxruntime"} == set(table[table["undominated"]]["backend"])


def test_what_disturbed_the_rounds_is_told_once():
    heavy = Disturbance(
        load_before=2.0,
        load_after=2.0,
        foreign_share=0.4,
        steal_share=None,
        pressure_share=None,
        throttled=None,
        mhz_before=None,
        mhz_after=None,
        parent_cpu_share=None,
        switches={},
    )
    several = [result(disturbance=heavy), result("onnxruntime", 2.0, disturbance=heavy)]
    for text in (report.markdown(several), report.terminal(several)):
        assert 1 == text.count("other processes used 40% of the CPU")


def test_how_a_backend_starts_and_when_that_pays_off_is_a_table_of_its_own():
    slow = result("onnxruntime", 2.0, process=process(startup_ms=112.0))
    text = report.markdown([result(), slow]).partition("Times in ms, batch 1, from fresh processes")[2]
    head, _, reference, other = cells(text)
    assert [
        "backend", "import", "load", "compile", "first answer", "startup", "pays off after", "p90 ≤", "p95 ≤", "p99 ≤",
    ] == head  # fmt: skip
    assert ["pytorch", "3.00", "3.00", "3.00", "3.00", "12.0", ""] == reference[:7]
    assert ["onnxruntime", "28.0", "28.0", "28.0", "28.0", "112"] == other[:6]
    assert 200 == pytest.approx(int(other[6]), abs=2)


def test_seeds_are_told_beside_what_backends_differ_by():
    scores = (0.95, 0.93, 0.5)
    seeds = tuple(Seed(seed=seed, score=score, majority=0.5, frequent="a") for seed, score in enumerate(scores))
    several = [result(seeds=seeds), result("onnxruntime", 2.0, answers=answers(lost=3), seeds=seeds)]
    spread = (
        "Fine-tuned with 2 of 3 seeds, the reference scores 0.9300 to 0.9500: 2.00 points apart (standard deviation "
        "1.41); backends of one fine-tuning differ from it by 0.30 at most."
    )
    dead = "Fine-tuning with seed 2 collapsed: score 0.5000 is no more than the 0.5000 of always answering 'a'."
    for text in (report.markdown(several), report.terminal(several)):
        assert spread in text
        assert dead in text
    assert (3, 0.5, 0.95) == tuple(tidy(several).iloc[0][["seeds", "seed_low", "seed_high"]])


def test_one_seed_is_told_of_where_it_collapsed_only():
    seed = Seed(seed=0, score=0.95, majority=0.5, frequent="a")
    assert "Fine-tun" not in report.markdown([result(seeds=(seed,))])
    dead = report.markdown([result(seeds=(replace(seed, only="b"),))])
    assert "Fine-tuning with seed 0 collapsed: score 0.9500, and every answer is 'b'." in dead


def test_a_flipped_row_does_not_break_a_table():
    flip = Flip(row=3, label="a|b", reference="a", own="b", text="| <b> `x` |")
    several = [result(), result("onnxruntime", 2.0, answers=answers(lost=1, flips=(flip,)))]
    assert {10} == {len(row) for row in cells(report.markdown(several))}


def test_the_noise_is_told_of_every_measurement_and_workload():
    again = result("onnxruntime", 2.0, measurement="ba9876543210")
    assert 4 == report.markdown([result(), again]).count("The reference against itself, batch ")
    assert 2 == report.markdown([result(), result("onnxruntime", 2.0)]).count("The reference against itself, batch ")


def test_the_largest_loss_and_the_margin_that_rows_can_exclude_stand_in_the_table():
    row = tidy([result("onnxruntime", 2.0)]).iloc[0]
    assert (GATE.max_drop, pytest.approx(0.003, abs=1e-4)) == (row["max_drop"], row["margin"])


def test_other_metrics_are_told_below_the_table_and_in_a_column():
    group = [
        result(answers=answers(others={"mrr": 0.91, "top-5": 0.99})),
        result("onnxruntime", answers=answers(others={"mrr": 0.9})),
    ]
    for told in (report.markdown(group), report.terminal(group)):
        assert "By mrr: pytorch 0.9100, onnxruntime 0.9000." in told
        assert "By top-5: pytorch 0.9900." in told
    assert ["mrr 0.9100; top-5 0.9900", "mrr 0.9000"] == tidy(group)["others"].unique().tolist()


def test_generated_tokens_are_counted_of_the_rows_that_were_asked_for():
    # Rows 0 to 3 give 1, 10, 100, 1000 tokens; a call of the reference takes a millisecond.
    written, order = answers(rows=4, tokens=(1, 10, 100, 1000)), row_order(4)
    following = order[(order.index(2) + 1) % 4]
    one = series(None, rounds=1, launches=1, noise=0, rows=((2,),))
    two = series(None, rounds=1, launches=1, noise=0, rows=((2,),), batch=2)
    found = tidy([result(answers=written, series=(one, two))])["tokens_per_s"].tolist()
    assert [100_000, (100 + 10**following) * 1000] == pytest.approx(found)
    table = report.markdown([result(answers=written, series=(one, two))])
    assert "tokens/s" in table
    assert "tokens/s" not in report.markdown([result()])


def test_a_guard_tells_the_layers_it_kept_in_float_and_what_they_cost_in_speed():
    plain = result("onnxruntime-int8", 3.0)
    kept = {"float_layers": "first, second", "guards": "onnxruntime-int8"}
    found = result("onnxruntime-int8-guarded", 2.0, artifact=replace(plain.artifact, info=kept))
    for told in (report.markdown([result(), plain, found]), report.terminal([result(), plain, found])):
        (said,) = re.findall("onnxruntime-int8-guarded, layers kept in float: first, second; it is (.*)", told)
        ratio, low, high = map(float, re.findall(r"\d\.\d+", said)[:3])
        assert low <= ratio <= high
        assert ratio == pytest.approx(2 / 3, abs=0.01)
        assert "as fast as onnxruntime-int8 at batch 1." in said
    many = replace(found, artifact=replace(plain.artifact, info={"float_layers": "a, b, c, d, e"}))
    alone = report.terminal([result(), many])
    assert "layers kept in float: a, b, c and 2 more." in alone
