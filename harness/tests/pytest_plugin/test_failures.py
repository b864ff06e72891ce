"""A failing case is red, says why and how to repeat it, and leaves its neighbours alone."""

import re
import shlex

import pandas as pd
import pytest

from conftest import Once, Run, Toy

pytest_plugins = "pytester"


@pytest.fixture
def troubled(once: Once) -> tuple[Toy, Run]:
    """A suite in which much goes wrong."""

    def make(toy: Toy) -> Run:
        toy.copy("troubled.py", "own.py", "bag.py", "needy.py", "trouble.py")
        return toy.run("test_toy.py", "-m", "not cuda", "--ship-timeout=12", "-p", "no:randomly")

    return once("troubled", make)


def message(toy: Toy, backend: str, model: str = "bag") -> str:
    """Stage and message of a failed case's result."""
    result = toy.results[f"toy/{model}.{backend}.cpu"]
    assert result.error is not None
    assert "failed" == result.status == result.error.status
    return f"{result.error.stage}: {result.error.message}"


def row_of_the_empty_text(toy: Toy) -> int:
    """The only text that is one token long."""
    series = toy.results["toy/bag.pytorch.cpu"].series[0]
    return dict(zip(series.lengths[0], series.rows[0], strict=True))[1]


def test_every_case_of_a_failing_suite_leaves_a_result(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    assert pytest.ExitCode.TESTS_FAILED == run.status
    assert "collected 21 items / 3 deselected / 18 selected" in run.text
    assert 18 == len(toy.results)


def test_only_measured_cases_are_green(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    passed = {f"toy/bag.{backend}.cpu" for backend in ("pytorch", "numpy", "needy")}
    red = {name for name in toy.results if re.match(r"[\w-]+ +(failed|below|worse) |.*\(failed\)$", run.line(name))}
    assert toy.results.keys() - passed == red
    assert {"ok"} == {toy.results[name].status for name in passed}
    assert re.search(r"=+ 15 failed, 3 passed, 3 deselected in ", run.text)


def test_backend_may_import_modules_of_its_suite(troubled: tuple[Toy, Run]) -> None:
    process = troubled[0].results["toy/bag.needy.cpu"].process
    assert process is not None
    assert "toy" == process.settings["task"]


def test_score_below_the_gate_fails_with_the_command_to_repeat(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    answers = toy.results["toy/asleep.numpy.cpu"].answers
    assert answers is not None
    text = "\n".join(run.out).partition("toy/asleep.numpy.cpu\n  score ")[2]
    assert text.startswith(f"{answers.score:.4f} on 48 rows is below min_score=0.9 ")
    again = re.search(r"^  run it again: pytest (.*)$", text, re.MULTILINE)
    assert again is not None
    assert "test_toy.py::test_toy[toy/asleep.numpy.cpu]" == shlex.split(again[1])[0]


def test_command_to_repeat_a_case_selects_it_alone(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    text = "\n".join(run.out).partition("toy/bag.killed.cpu\n  ")[2]
    again = re.search(r"run it again: pytest (.*)$", text, re.MULTILINE)
    assert again is not None
    collected = toy.run("--collect-only", "-q", *shlex.split(again[1])).out
    assert ["test_toy.py::test_toy[toy/bag.killed.cpu]"] == [line for line in collected if "::" in line]


def test_worker_killed_before_the_rounds_is_named_with_its_signal(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    assert "answer: killed: the worker was killed by SIGKILL" == message(toy, "killed").partition("\n  asked for ")[0]
    assert "SIGKILL" in run.line("toy/bag.killed.cpu")


def test_worker_killed_in_the_rounds_keeps_its_answers(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    result = toy.results["toy/bag.killed-later.cpu"]
    assert "measure: killed-later: the worker was killed by SIGTERM" == message(toy, "killed-later")
    assert () == result.series
    assert result.answers is not None
    assert 48 == result.answers.rows


def test_hanging_worker_fails_with_the_timeout(troubled: tuple[Toy, Run]) -> None:
    first, asked = message(troubled[0], "hanging").split("\n")
    assert re.fullmatch(r"answer: hanging: .* within 12 s", first)
    assert re.match(r"  asked for test row \d+: ", asked)


def test_error_of_a_backend_names_its_line(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    assert message(toy, "raising").startswith("answer: raising: ValueError: no kernel for a Tuesday")
    assert "in run" in message(toy, "raising")
    assert "trouble.py" in message(toy, "raising")
    assert 1 == run.line("toy/bag.raising.cpu").count("no kernel for a Tuesday")


def test_backend_on_another_device_is_refused(troubled: tuple[Toy, Run]) -> None:
    assert "asked for cpu, the runtime runs on cuda" in message(troubled[0], "elsewhere")


def test_answer_that_is_not_finite_names_its_row(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    row = row_of_the_empty_text(toy)
    assert f"answer: undefined: logits of test row {row} holds NaN or infinity" == message(toy, "undefined")


def test_failed_build_fails_its_case_alone(troubled: tuple[Toy, Run]) -> None:
    text = message(troubled[0], "unbuilt")
    assert text.startswith("build: unbuilt: RuntimeError: no operator for a full moon\n  |")
    assert "trouble.py" in text


def test_export_that_answers_differently_names_difference_and_row(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    row = row_of_the_empty_text(toy)
    assert re.search(
        rf"^parity: .* as pytorch does: logits differs by up to 0\.25 .* test row {row} alone; 1 of 48 rows differ$",
        message(toy, "shifted"),
    )


@pytest.mark.parametrize("backend", ["shifted-int8", "shifted-int4"])
def test_backend_built_from_a_broken_export_fails_too(backend: str, troubled: tuple[Toy, Run]) -> None:
    assert "logits differs by up to 0.25" in message(troubled[0], backend)


def test_lossy_backend_is_judged_by_its_drop(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    result = toy.results["toy/bag.biased.cpu"]
    assert "ok" == result.status
    assert result.answers is not None
    assert "numpy" == result.answers.compared_with
    assert result.answers.lost > 30
    text = "\n".join(run.out).partition("toy/bag.biased.cpu\n  ")[2].partition("run it again: ")[0]
    assert re.search(r"drops \d\d\.\d\d points \[.*more than the 10 allowed \(\d\d of 48 rows lost", text)


@pytest.mark.parametrize("backend", ["pytorch", "numpy"])
def test_diverging_training_names_its_step(backend: str, troubled: tuple[Toy, Run]) -> None:
    assert re.match(
        r"train: toy/diverging: training diverged: the loss is (nan|inf) at step [1-6] of 6; lower the learning rate",
        message(troubled[0], backend, "diverging"),
    )


def test_failed_case_is_not_recommended(troubled: tuple[Toy, Run]) -> None:
    table = pd.read_csv(troubled[0].folder / "results" / "local" / "comparison.csv")
    recommended = set(table.loc[table["recommended"], ["model", "backend"]].itertuples(index=False, name=None))
    assert {("bag", "numpy"), ("bag", "needy"), ("bag", "pytorch")} > recommended
