"""Laws of tables and judgement: what stands beside what, what is refused, what is recommended, what is written."""

import math
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import report, results
from harness.compare import COLUMNS, check_comparable, comparisons, recommend, tidy
from harness.environment import Environment
from harness.errors import HarnessError, Incomparable
from harness.judge import choose, flat, loss, noise_floor, own_speedup, shortfalls, with_promise
from harness.report.tables import line
from harness.schema import Answers, Built, Data, Failure, Process, Promise, Result, Series, Workload
from harness.spec import Gate

LAW = settings(deadline=None, database=None, max_examples=60)

HERE = Environment(
    machine="toy-machine",
    cpu="abacus",
    flags=("avx2",),
    cores=2,
    memory_gib=1.0,
    accelerator=None,
    system="Linux 6",
    python="3.11",
    packages={"torch": "2.13"},
    threads=2,
    wait_policy="passive",
    commit="0123456789abcdef",
    dirty=False,
    load_before=0.1,
)
GATE = Gate(floor=0.9, max_loss=0.01)
REFERENCE_NS = 1_000_000


def series(factor=1.0, batch=1, noise=0.001, loops=1, rounds=60, starts=2):
    """Rounds in which the case takes 1/`factor` of the reference's time, on a machine as loud as `noise`."""
    dice = np.random.default_rng(0)

    def times(middle):
        return tuple(tuple(map(int, middle * np.exp(dice.normal(0, noise, rounds)))) for _ in range(starts))

    return Series(
        workload=Workload(batch=batch, threads=2, order_seed=0),
        loops=loops,
        own_ns=times(REFERENCE_NS / factor),
        reference_ns=times(REFERENCE_NS),
        control_ns=times(REFERENCE_NS),
        rows=((0,) * rounds,) * starts,
        lengths=((8,) * rounds,) * starts,
    )


def answers(lost=0, gained=0, rows=1000, score=0.95):
    """Answers against a reference with this score."""
    return Answers(
        rows=rows,
        score=score + (gained - lost) / rows,
        reference_score=score,
        lost=lost,
        gained=gained,
        agreement=1 - (lost + gained) / rows,
        compared_with="pytorch",
        source_lost=lost,
        source_gained=gained,
        source_agreement=1 - (lost + gained) / rows,
        largest_difference=1e-6,
    )


def result(backend="pytorch", factor=1.0, **changed):
    """A measured case that keeps its promise."""
    known = Result(
        task="toy-task",
        model="toy-model",
        backend=backend,
        device="cpu",
        status="ok",
        measurement="0123456789ab",
        created="2026-01-01T00:00:00+00:00",
        environment=HERE,
        recipe={},
        data=Data(
            source="toydata: rows.csv",
            source_sha256="00",
            kind="text-classification",
            metric="accuracy",
            labels=("a", "b"),
            sizes={"test": 1000},
            sha256={"test": "11"},
            duplicates=0,
        ),
        checkpoint=Built(key="22", size_bytes=2_000_000, seconds=3.0, info={"weights_sha256": "33"}),
        artifact=Built(key="44", size_bytes=1_500_000, seconds=1.0, info={}),
        answers=answers(),
        process=Process(
            load_ns=(1_000_000, 3_000_000),
            first_ns=(5_000_000, 7_000_000),
            peak_rss_bytes=(1, 250_000_000),
            settings={},
        ),
        series=(series(factor), series(factor, batch=16, rounds=5)),
        promise=Promise(floor=GATE.floor, max_loss=GATE.max_loss),
    )
    return replace(known, **changed)


def failed(backend="onnxruntime", message="out of memory", stage="build", **changed):
    """A case that ended before anything was measured."""
    error = Failure(stage=stage, message=message)
    nothing = dict.fromkeys(("artifact", "answers", "process", "promise"))
    return result(backend, status="failed", error=error, series=(), **(nothing | changed))


def unsupported(backend="onnxruntime-o2"):
    """A combination that does not exist."""
    error = Failure(stage="build", message="Optimum exports no such head", status="unsupported")
    return replace(failed(backend), status="unsupported", error=error)


def elsewhere(**changed):
    return replace(HERE, **changed)


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


# What the evidence allows


def test_a_result_is_held_to_the_gate_of_its_suite():
    assert Promise(floor=0.9, max_loss=0.01) == with_promise(result(promise=None), GATE).promise


def test_samples_of_all_starts_are_one_list():
    assert [1, 2, 3] == flat([(1, 2), (), (3,)])


def test_a_speedup_is_the_ratio_to_the_reference_of_the_same_rounds():
    found = own_speedup(series(2.0))
    assert found.low < found.estimate < found.high
    assert pytest.approx(2.0, rel=1e-3) == found.estimate


def test_the_noise_floor_is_the_reference_against_itself():
    found = noise_floor(series(2.0))
    assert found.low < 1 < found.high
    assert found.high - found.low < 0.01


def test_a_loss_is_positive_where_the_backend_is_worse():
    found = loss(result(answers=answers(lost=30, gained=10)))
    assert 0.02 == found.estimate
    assert 0 < found.low < found.estimate < found.high


def test_without_answers_there_is_no_loss():
    assert loss(failed()) is None


def test_a_result_that_keeps_its_promise_falls_short_of_nothing():
    assert [] == shortfalls(result())


def test_a_failure_falls_short_with_its_stage_and_message():
    assert ["failed at build: out of memory"] == shortfalls(failed())


def test_what_cannot_exist_falls_short_of_nothing():
    assert [] == shortfalls(unsupported())


def test_without_a_promise_nothing_falls_short():
    assert [] == shortfalls(result(answers=answers(score=0.1), promise=None))


def test_a_score_under_the_floor_falls_short():
    said = "score 0.8900 on 1000 rows is under the floor 0.9 (the reference has 0.8900)"
    assert [said] == shortfalls(result(answers=answers(score=0.89)))


def test_a_score_on_the_floor_does_not():
    assert [] == shortfalls(result(answers=answers(score=0.9)))


def test_a_proven_loss_falls_short_with_its_counts():
    (said,) = shortfalls(result(answers=answers(lost=40, gained=0)))
    assert said.startswith("loses 4.00 points [3.1")
    assert said.endswith("against the reference, more than the 1 allowed: 40 rows lost, 0 gained of 1000")


def test_a_loss_that_is_not_proven_does_not_fall_short():
    assert [] == shortfalls(result(answers=answers(lost=12, gained=0)))


def test_a_bad_case_falls_short_in_every_way_at_once():
    assert 2 == len(shortfalls(result(answers=answers(lost=100, gained=0))))


@LAW
@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 1), st.floats(0, 0.5))
def test_a_loss_falls_short_only_where_its_whole_interval_lies_beyond(lost, gained, floor, max_loss):
    one = result(answers=answers(lost, gained, score=0.5), promise=Promise(floor=floor, max_loss=max_loss))
    said = shortfalls(one)
    assert (loss(one).low > max_loss) == any("points" in text for text in said)
    assert (one.answers.score < floor) == any("under the floor" in text for text in said)


# What is recommended


def chosen(*others, reference=None):
    found, why = choose([reference or result(), *others])
    return found.backend if found else None, why


def test_the_fastest_backend_that_is_safe_is_chosen():
    name, why = chosen(result("onnxruntime", 1.5), result("onnxruntime-int8", 3.0), result("onnxruntime-o2", 2.0))
    assert "onnxruntime-int8" == name
    assert why.startswith("3.00 times the reference's speed [")
    assert why.endswith("] at batch 1")


@pytest.mark.parametrize(
    "other",
    [
        result("onnxruntime", 0.5),
        result("onnxruntime", 1.0),
        result("onnxruntime", 1.015),
        result("onnxruntime", series=(series(1.1, noise=1.0),)),
        result("onnxruntime", series=(series(3.0, rounds=2),)),
        result("onnxruntime", 3.0, answers=answers(lost=11)),
        result("onnxruntime", 3.0, answers=answers(score=0.8)),
        result("onnxruntime", 3.0, promise=None),
        failed(),
        unsupported(),
    ],
    ids=[
        "slower", "same", "within the tolerance", "lost in noise", "too few rounds", "loses too much",
        "under the floor", "no promise", "failed", "unsupported",
    ],
)  # fmt: skip
def test_the_reference_is_chosen_where_nothing_is_both_faster_and_safe(other):
    said = "nothing measured beside it is faster beyond noise and within the loss allowed"
    assert ("pytorch", said) == chosen(other)


def test_a_speedup_that_is_not_sure_is_none():
    # Faster in 66 rounds of 120: the median is above the tolerance, the lower end of its interval is not.
    unsure = replace(series(), own_ns=((900_000,) * 33 + (1_100_000,) * 27,) * 2)
    assert own_speedup(unsure).low < 1.02 < own_speedup(unsure).estimate
    assert "pytorch" == chosen(result("onnxruntime", series=(unsure,)))[0]


def test_a_speedup_within_the_references_own_noise_is_none():
    shaky = series(1.2)
    shaky = replace(shaky, control_ns=series(1.5).own_ns)
    assert "pytorch" == chosen(result("onnxruntime", series=(shaky,)))[0]


def test_a_fast_and_safe_backend_is_chosen_though_the_reference_was_not_selected():
    found, _ = choose([result("onnxruntime", 2.0)])
    assert "onnxruntime" == found.backend


@pytest.mark.parametrize(
    "reference", [failed("pytorch"), result(answers=answers(score=0.5))], ids=["failed", "under the floor"]
)
def test_nothing_is_chosen_where_not_even_the_reference_ran_well(reference):
    assert (None, "no backend was measured that keeps its promise") == chosen(reference=reference)


def test_batch_1_decides():
    mixed = result("onnxruntime", series=(series(0.8), series(5.0, batch=16)))
    assert "pytorch" == chosen(mixed)[0]


@LAW
@given(st.lists(st.tuples(st.floats(0.3, 4.0), st.integers(0, 30)), max_size=4))
def test_what_is_chosen_is_never_slower_than_the_reference_nor_unsafe(contenders):
    others = [result(f"b{i}", factor, answers=answers(lost)) for i, (factor, lost) in enumerate(contenders)]
    found, _ = choose([result(), *others])
    assert found.backend == "pytorch" or own_speedup(found.series[0]).low > 1.02
    assert loss(found).estimate <= GATE.max_loss


def test_incomparable_results_are_not_chosen_from():
    found, why = recommend([result(), result("onnxruntime", 3.0, environment=elsewhere(threads=1))])
    assert found is None
    assert why.startswith(
        "not comparable: toy-task/toy-model.pytorch.cpu and toy-task/toy-model.onnxruntime.cpu differ"
    )


def test_a_failed_case_makes_nothing_incomparable():
    found, _ = recommend([result(), failed(environment=elsewhere(threads=1))])
    assert "pytorch" == found.backend


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
        "batch": 1,
        "rounds": 120,
        "starts": 2,
        "median_ms": float(np.median(own)) / 1e6,
        "rows_per_s": len(own) / (sum(own) / 1e9),
        "metric": "accuracy",
        "score": 0.949,
        "floor": 0.9,
        "rows": 1000,
        "loss": 0.001,
        "max_loss": 0.01,
        "lost": 2,
        "gained": 1,
        "agreement": 0.997,
        "size_mb": 1.5,
        "peak_rss_mb": 250.0,
        "load_ms": 2.0,
        "first_call_ms": 6.0,
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
    [({}, True), ({"rounds": 22}, True), ({"rounds": 21}, False), ({"loops": 2}, False)],
    ids=["240 rounds", "44 rounds", "42 rounds", "means of two calls"],
)
def test_a_percentile_is_bounded_only_by_enough_single_calls(changed, bounded):
    row = tidy([result(series=(series(**changed),))]).iloc[0]
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
    assert "**Would choose onnxruntime**: 2.00 times the reference's speed [" in text
    assert "abacus, 2 cores, 2 threads (passive), Linux 6, Python 3.11, torch 2.13; commit 0123456789ab." in text
    assert "The reference against itself, batch 1: 1.000 [" in text
    assert "over 120 rounds in 2 starts." in text


def test_a_table_reads_from_left_to_right():
    head, _, reference, other, broken = cells(report.markdown([result(), result("onnxruntime", 2.0), failed("z")]))
    assert [
        "backend", "speed-up, batch 1", "ms", "speed-up, batch 16", "rows/s", "score", "loss, points", "MB",
        "peak RSS, MB", "status",
    ] == head  # fmt: skip
    assert ["pytorch", "1×", "1.00", "1×"] == reference[:4]
    assert ["0.9500", "0", "1.50", "250", "ok"] == reference[5:]
    assert ["onnxruntime *", "0.500"] == [other[0], other[2]]
    assert other[1].startswith("2.00× [")
    assert ["z", *[""] * 8, "failed: out of memory"] == broken


def test_nothing_lost_is_not_a_negative_loss():
    _, _, _, other = cells(report.markdown([result(), result("onnxruntime", 2.0)]))
    assert "0.00 [-0.27, +0.27]" == other[6].lstrip("+")


@pytest.mark.parametrize(
    "several",
    [
        [failed("pytorch"), failed()],
        [unsupported()],
        [result(), failed()],
        [result(process=None, artifact=None)],
        [result(series=(series(rounds=2, starts=1),))],
        [failed("pytorch", data=None, checkpoint=None)],
        [],
    ],
    ids=["all failed", "unsupported", "one failed", "little known", "few rounds", "nothing known", "no results"],
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
    assert "\nWould choose onnxruntime: 2.00 times" in text
    assert "peak RSS" not in text
    assert any(row.startswith("z") and row.rstrip().endswith("failed") for row in text.splitlines())


@LAW
@given(st.text(min_size=1, max_size=60))
def test_no_error_message_breaks_a_table(message):
    several = [result(), failed(message=message)]
    found = cells(report.markdown(several))
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
    assert line(result("onnxruntime", 2.0)).startswith("2.00× [")
    assert " (0.500 ms), 0.9500, loss " in line(result("onnxruntime", 2.0))


@LAW
@given(st.integers(1, 10**12))
def test_a_time_is_never_printed_rounded_above_its_unit(ns):
    whole = result(series=(replace(series(rounds=1, starts=1), own_ns=((ns,),)),))
    shown = float(cells(report.markdown([whole]))[2][2].replace(",", ""))
    assert pytest.approx(ns / 1e6, rel=0.006) == shown


# Files


def save(folder, *several):
    for one in several:
        results.save(folder, one)
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
    for column in ("backend", "status", "chosen"):
        assert expected[column].tolist() == found[column].tolist()
    for column in ("median_ms", "speedup", "speedup_low", "loss_high", "score"):
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
        lambda folder: results.path_of(folder, result()).unlink(),
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


# When speed, or a case, cannot be judged


def control_at(factor):
    """The series of a fast case on a machine where the reference's second worker runs at `factor` of its speed."""
    own = series(2.0)
    slower = tuple(tuple(int(ns / factor) for ns in start) for start in own.control_ns)
    return (replace(own, control_ns=slower),)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_control_outside_the_tolerance_makes_speed_invalid(factor):
    several = [result(series=control_at(factor)), result("onnxruntime", series=control_at(factor))]
    chosen, why = recommend(several)
    assert ("pytorch", True) == (chosen.backend, why.startswith("speed is invalid here, because the reference differs"))


def test_a_lost_control_makes_speed_invalid_and_leaves_the_rest():
    lost = (replace(series(2.0), control_ns=()),)
    several = [result(series=lost), result("onnxruntime", series=lost)]
    chosen, why = recommend(several)
    assert ("pytorch", True) == (chosen.backend, why.startswith("speed is invalid here, because the control was lost"))
    assert pytest.approx(2.0, rel=0.01) == tidy(several)["speedup"].tolist()[1]


def test_without_the_reference_selected_the_reference_stays():
    chosen, why = recommend([result("onnxruntime", 0.5)])
    assert (None, True) == (chosen, why.startswith("the reference, pytorch, stays"))


def test_a_case_that_did_not_come_to_its_gate_is_not_shown_as_judged():
    assert "ok, not judged" in report.markdown([result(promise=None)])


def test_a_metric_that_is_no_mean_over_rows_has_a_loss_and_no_interval():
    known = result("onnxruntime", 2.0, answers=replace(answers(lost=5), score=0.80, reference_score=0.95))
    found = loss(replace(known, data=replace(known.data, metric="f1-macro")))
    assert (pytest.approx(0.15), -np.inf, np.inf) == (found.estimate, found.low, found.high)


def test_a_loss_against_the_float_export_is_judged_as_well():
    lossy = replace(answers(), compared_with="onnxruntime", source_lost=60, source_gained=0)
    assert ["against onnxruntime"] == [
        "against onnxruntime"
        for line in shortfalls(result("onnxruntime-int8", answers=lossy))
        if "against onnx" in line
    ]


def test_too_few_rounds_for_an_interval_are_said():
    few = (series(2.0, rounds=2, starts=1),)
    text = report.markdown([result("onnxruntime", series=few)])
    assert "2.00× [too few rounds]" in text
    assert "[too few rounds] over 2 rounds in 1 start." in text
