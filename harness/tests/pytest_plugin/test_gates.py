"""A CI job's view: red on evidence, a status of its own without it, and how to repeat a failure."""

import re
import shlex

import pandas as pd
import pytest

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

SUITE = ("gated.py", "own.py", "bag.py")


@pytest.fixture
def decided(once: Once) -> tuple[Toy, Run]:
    """A backend four times as fast as its reference, with all the launches that proving it takes."""

    def make(toy: Toy) -> Run:
        toy.copy(*SUITE)
        options = ("--ship-require=decided", "--ship-launches=4", "--ship-tail=44", "--ship-max-latency-ms=3")
        return toy.run("test_toy.py", "-k", "quick or pytorch", "-m", "not cuda", *options, undecided=False)

    return once("decided", make)


@pytest.fixture
def undecided(once: Once) -> tuple[Toy, Run]:
    """The same with one launch, which decides nothing."""

    def make(toy: Toy) -> Run:
        toy.copy(*SUITE)
        return toy.run("test_toy.py", "-k", "quick or pytorch", "-m", "not cuda", "--ship-require=decided")

    return once("undecided", make)


@pytest.fixture
def broken(once: Once) -> tuple[Toy, Run]:
    """One launch, which decides no speed, a backend that answers wrongly, and workers that wait as deployed."""

    def make(toy: Toy) -> Run:
        toy.copy(*SUITE)
        return toy.run(
            "test_toy.py",
            "-k",
            "biased or quick",
            "-m",
            "not cuda",
            "--ship-wait",
            "deployed",
            "--ship-require",
            "decided",
        )

    return once("broken", make)


# Decided


def test_decided_run_passes_where_decisions_are_required(decided: tuple[Toy, Run]) -> None:
    _, run = decided
    assert 0 == run.status
    assert re.match("quick +ship +≥ ", run.line("toy/slow.quick.cpu"))
    assert re.match("pytorch +reference ", run.line("toy/slow.pytorch.cpu"))
    assert [] == [line for line in run.out if line.startswith("warning: ")]


def test_rounds_end_with_the_deciding_look(decided: tuple[Toy, Run]) -> None:
    result = decided[0].results["toy/slow.quick.cpu"]
    for series in result.series:
        assert 4 <= len(series.own_ns) <= 8
        assert 1 == series.arms
    assert any("every arm decided" in note for note in result.notes)


def test_recommendation_keeps_the_constraints_of_the_run(decided: tuple[Toy, Run]) -> None:
    toy, run = decided
    assert re.search(r"^toy/slow +quick +≥ \d\.\d\d× ", run.text, re.MULTILINE)
    assert {3.0} == {result.constraints.max_latency_ms for result in toy.results.values()}


def test_tail_gives_the_percentiles_its_size_supports(decided: tuple[Toy, Run]) -> None:
    toy, _ = decided
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv")
    single = table[table["batch"] == 1].set_index("backend")
    assert single["p90_bound_ms"].notna().all()
    assert single["p99_bound_ms"].isna().all()
    for result in toy.results.values():  # of the tail alone: the rounds before it may have been slower
        tail_ms = sorted(ns / 1e6 for ns in result.series[0].tail_ns)
        written = [float(f"{ms:.6g}") for ms in tail_ms[len(tail_ms) // 2 :]]  # as tables write numbers
        assert single["p90_bound_ms"][result.backend] in written
    assert [44, 44] == [len(result.series[0].tail_ns) for result in toy.results.values()]
    assert [0, 0] == [len(result.series[1].tail_ns) for result in toy.results.values()]


# Undecided


def test_undecided_run_has_its_own_status_if_decisions_are_required(undecided: tuple[Toy, Run]) -> None:
    _, run = undecided
    assert 7 == run.status
    assert "2 passed" in run.text
    assert re.match("quick +undecided +unproven, ", run.line("toy/slow.quick.cpu"))
    warning = r"^warning: toy/slow\.quick\.cpu is undecided: \d+ rounds in 1 launch\(es\) give no interval; run again"
    assert re.search(warning, run.text, re.MULTILINE)
    reason = "no other backend is proven to reach min_speedup=1.5 within the allowed drop (quick: undecided)"
    assert f"toy/slow: {reason}" in run.out
    assert "exit status 7: toy/slow.quick.cpu is undecided; running again may decide" in run.out


def test_result_records_its_gate(undecided: tuple[Toy, Run]) -> None:
    assert {1.5} == {result.gate.min_speedup for result in undecided[0].results.values() if result.gate}


# Broken


def test_broken_gate_is_red_whatever_is_undecided(broken: tuple[Toy, Run]) -> None:
    _, run = broken
    assert pytest.ExitCode.TESTS_FAILED == run.status
    assert "1 failed, 1 passed" in run.text
    assert re.match("biased +worse ", run.line("toy/slow.biased.cpu"))


def failure(run: Run) -> list[str]:
    """The lines of the failing case's message, the last of which is the command."""
    text, _, rest = "\n".join(run.out).partition("toy/slow.biased.cpu\n  score ")[2].partition("\n  run it again: ")
    return [*text.splitlines(), rest.splitlines()[0]]


def test_failing_case_shows_figures_intervals_and_rows(broken: tuple[Toy, Run]) -> None:
    toy, run = broken
    score, drop, *others = failure(run)
    flips = [line for line in others if line.startswith("  row ")]
    assert re.match(r"0\.\d{4} on 48 rows is below min_score=0\.9 \(reference: [01]\.\d{4}\)(; its 95 % .*)?$", score)
    points = r"\d\d\.\d\d"
    interval = rf"{points} points \[{points}, {points}\]"
    pattern = rf"  score drops {interval} against pytorch, more than the 10 allowed \(\d+ of"
    assert re.match(pattern, drop)
    assert 5 == len(flips)
    assert all(re.match(r"  row \d+ is \w+: the reference says \w+, this backend \w+", flip) for flip in flips)
    answers = toy.results["toy/slow.biased.cpu"].answers
    assert answers is not None
    assert [f"row {flip.row} " for flip in answers.flips[:5]] == [re.match(r"  (row \d+ )", flip)[1] for flip in flips]


def test_waiting_as_deployed_is_compared_with_sleep(broken: tuple[Toy, Run]) -> None:
    result = broken[0].results["toy/slow.quick.cpu"]
    assert "default" == result.environment.wait_policy
    assert 2 == result.series[0].arms  # quick and biased
    (note,) = [note for note in result.notes if note.startswith("batch 1: waiting as deployed, the reference is ")]
    assert note.endswith("[too few launches or rounds] as fast as asleep while idle")


def test_flips_are_rows_of_the_parquet(broken: tuple[Toy, Run]) -> None:
    toy, _ = broken
    rows = pd.read_parquet(toy.folder / "results" / "local" / "toy" / "slow.biased.cpu.parquet")
    flipped = rows[rows["prediction"] != rows["reference"]]
    answers = toy.results["toy/slow.biased.cpu"].answers
    assert answers is not None
    assert 20 == len(answers.flips)
    assert flipped["row"].tolist()[:20] == [flip.row for flip in answers.flips]
    assert flipped["label"].tolist()[:20] == [flip.label for flip in answers.flips]
    assert (rows["label"] == rows["prediction"]).tolist() == [row == "1" for row in answers.correct]


def test_command_to_repeat_reproduces_the_failure(broken: tuple[Toy, Run]) -> None:
    toy, run = broken
    program, *words = shlex.split(failure(run)[-1])
    assert "pytest" == program
    assert "test_toy.py::test_toy[toy/slow.biased.cpu]" in words
    assert ["--ship-require", "decided"] == words[-2:]
    again = toy.run(*words)
    assert pytest.ExitCode.TESTS_FAILED == again.status
    assert "1 failed" in again.text
    assert failure(run)[:-1] == failure(again)[:-1]


# Batches


def test_gate_judges_the_batch_that_it_names(toy: Toy) -> None:
    toy.copy("crowded.py", *SUITE)
    run = toy.run("test_toy.py", "-m", "not cuda", "--ship-launches=4", undecided=False)
    assert 0 == run.status
    assert re.match(r"crowd +ship +≥ .* ms at batch 16,", run.line("crowded/slow.crowd.cpu"))
    assert re.search(r"^crowded/slow at batch 16 +crowd +≥ ", run.text, re.MULTILINE)
    assert re.search(
        r"reference's speed at batch 16, .*; but slower than the reference, .* at batch 1$", run.text, re.MULTILINE
    )
    judged, other = toy.results["crowded/slow.crowd.cpu"].series
    assert (16, 1) == (judged.workload.batch, other.workload.batch)
    assert (30, 16) == (sum(map(len, judged.own_ns)), sum(map(len, other.own_ns)))


def test_batch_that_a_run_leaves_out_is_refused_before_work(toy: Toy) -> None:
    toy.copy("crowded.py", *SUITE)
    run = toy.run("test_toy.py", "-m", "not cuda", "--ship-batch-sizes=1,4")
    assert 4 == run.status
    assert (
        "its gate judges speed at batch 16, and this run measures 1, 4; run with --ship-batch-sizes 1,4,16" in run.text
    )
    assert {} == toy.results
