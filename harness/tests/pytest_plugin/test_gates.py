"""What a CI job sees: red on evidence, another exit status where there is too little, and how to see it again."""

import re
import shlex

import pandas as pd
import pytest

from conftest import Once, Run, Toy
from harness.pytest_plugin.options import CONSTRAINTS

pytest_plugins = "pytester"

SUITE = ("gated.py", "own.py", "bag.py")


@pytest.fixture
def decided(once: Once) -> tuple[Toy, Run]:
    """A backend four times as fast as its reference, given all the launches that it takes to say so."""

    def make(toy: Toy) -> Run:
        toy.copy(*SUITE)
        options = ("--ship-require=decided", "--ship-launches=4", "--ship-tail=44", "--ship-max-latency-ms=3")
        return toy.run("test_toy.py", "-k", "quick or pytorch", "-m", "not cuda", *options, undecided=False)

    return once("decided", make)


@pytest.fixture
def undecided(once: Once) -> tuple[Toy, Run]:
    """The same of one start, which decides nothing."""

    def make(toy: Toy) -> Run:
        toy.copy(*SUITE)
        return toy.run("test_toy.py", "-k", "quick or pytorch", "-m", "not cuda", "--ship-require=decided")

    return once("undecided", make)


@pytest.fixture
def broken(once: Once) -> tuple[Toy, Run]:
    """One start, which decides no speed but that a backend answers wrongly."""

    def make(toy: Toy) -> Run:
        toy.copy(*SUITE)
        return toy.run("test_toy.py", "-k", "biased or quick", "-m", "not cuda", "--ship-require", "decided")

    return once("broken", make)


# Decided


def test_a_run_that_decides_every_case_passes_though_decisions_are_required(decided: tuple[Toy, Run]) -> None:
    _, run = decided
    assert 0 == run.status
    assert run.line("toy/slow.quick.cpu").startswith("toy/slow.quick.cpu  passed  ship  ")
    assert run.line("toy/slow.pytorch.cpu").startswith("toy/slow.pytorch.cpu  passed  reference  1×")
    assert [] == [line for line in run.out if line.startswith("warning: ")]


def test_rounds_end_with_the_look_that_decides(decided: tuple[Toy, Run]) -> None:
    toy, _ = decided
    result = toy.results["toy/slow.quick.cpu"]
    for series in result.series:
        assert 4 <= len(series.own_ns) <= 8
        assert 1 == series.arms
    assert any("every arm decided" in note for note in result.notes)


def test_the_fastest_safe_backend_is_chosen_within_the_constraints_of_the_run(decided: tuple[Toy, Run]) -> None:
    toy, run = decided
    assert re.search(r"^Ship quick: \d\.\d+x \[", run.text, re.MULTILINE)
    assert {3.0} == {result.constraints.max_latency_ms for result in toy.results.values()}


def test_a_tail_gives_percentiles_as_far_as_its_size_supports_them(decided: tuple[Toy, Run]) -> None:
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


# Not decided


def test_a_run_that_does_not_decide_ends_with_a_status_of_its_own_if_decisions_are_required(
    undecided: tuple[Toy, Run],
) -> None:
    _, run = undecided
    assert 7 == run.status
    assert "2 passed" in run.text
    said = r"^warning: toy/slow\.quick\.cpu is undecided: its speed-up is \d\.\d\dx \[too few launches or rounds\]"
    assert re.search(said, run.text, re.MULTILINE)


def test_without_that_requirement_it_passes_and_warns(undecided: tuple[Toy, Run]) -> None:
    _, run = undecided
    assert run.line("toy/slow.quick.cpu").startswith("toy/slow.quick.cpu  passed  undecided  ")
    assert "Ship pytorch: no other backend is proven faster within the allowed drop (quick: undecided)" in run.text


def test_the_smallest_speedup_asked_for_is_on_record(undecided: tuple[Toy, Run]) -> None:
    toy, _ = undecided
    assert {1.5} == {result.gate.min_speedup for result in toy.results.values() if result.gate}


# Broken


def test_a_broken_gate_is_red_whatever_else_is_undecided(broken: tuple[Toy, Run]) -> None:
    _, run = broken
    assert pytest.ExitCode.TESTS_FAILED == run.status
    assert "1 failed, 1 passed" in run.text
    assert run.line("toy/slow.biased.cpu").startswith("toy/slow.biased.cpu  failed  worse  ")


def told(run: Run) -> list[str]:
    """What the failing case says."""
    said = "\n".join(run.out).partition("toy/slow.biased.cpu\n  score ")[2].partition("\n  again: ")
    return [*said[0].splitlines(), said[2].splitlines()[0]]


def test_a_failing_case_tells_figures_intervals_and_rows(broken: tuple[Toy, Run]) -> None:
    toy, run = broken
    score, drop, *flips, _ = told(run)
    assert re.match(r"0\.\d{4} on 48 rows is under the floor 0\.9 \(the reference has [01]\.\d{4}\)$", score)
    points = r"\d\d\.\d\d"
    said = rf"  loses {points} points \[{points}, {points}\] against pytorch, more than the 10 allowed: \d+ rows lost, "
    assert re.match(said, drop)
    assert 5 == len(flips)
    assert all(re.match(r"  row \d+ is \w+: the reference says \w+, this \w+", flip) for flip in flips)
    answers = toy.results["toy/slow.biased.cpu"].answers
    assert answers is not None
    assert [f"row {flip.row} " for flip in answers.flips[:5]] == [re.match(r"  (row \d+ )", flip)[1] for flip in flips]


def test_flipped_rows_are_those_of_the_parquet(broken: tuple[Toy, Run]) -> None:
    toy, _ = broken
    rows = pd.read_parquet(toy.folder / "results" / "local" / "toy" / "slow.biased.cpu.parquet")
    flipped = rows[rows["prediction"] != rows["reference"]]
    answers = toy.results["toy/slow.biased.cpu"].answers
    assert answers is not None
    assert 20 == len(answers.flips)
    assert flipped["row"].tolist()[:20] == [flip.row for flip in answers.flips]
    assert flipped["label"].tolist()[:20] == [flip.label for flip in answers.flips]
    assert 48 == len(answers.correct)
    assert (rows["label"] == rows["prediction"]).tolist() == [right == "1" for right in answers.correct]


def test_the_command_it_names_reproduces_it(broken: tuple[Toy, Run]) -> None:
    toy, run = broken
    program, *words = shlex.split(told(run)[-1])
    assert "pytest" == program
    assert "test_toy.py::test_toy[toy/slow.biased.cpu]" in words
    assert ["--ship-require", "decided"] == words[-2:]
    again = toy.run(*words)
    assert pytest.ExitCode.TESTS_FAILED == again.status
    assert "1 failed" in again.text
    assert told(run)[:-1] == told(again)[:-1]


# Before anything launches


def test_a_loss_that_so_few_rows_cannot_exclude_is_refused_with_the_rows_it_takes(toy: Toy) -> None:
    toy.copy(*SUITE)
    suite = toy.folder / "test_toy.py"
    suite.write_text(suite.read_text().replace("max_drop=0.1", "max_drop=0.01"))
    run = toy.run("test_toy.py", "-m", "not cuda")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    said = (
        "toy/slow: 48 test rows of which not one is answered differently still leave room for a drop of 0.0605, and "
        "the gate allows 0.01; it takes 299 rows"
    )
    assert said in run.text
    assert {} == toy.results


def test_every_constraint_is_an_option() -> None:
    assert ("max_latency_ms", "max_memory_mb", "max_size_mb") == CONSTRAINTS
