# the expectation stands on the left
"""What a person gets who runs pytest on a suite of their own, far from this repository."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Never

import pandas as pd
import pytest

from conftest import BAG, Once, Run, Toy
from harness.backends import DEFAULT_BACKENDS, MORE_BACKENDS

pytest_plugins = "pytester"

MEASURED = ["toy/bag.numpy.cpu", "toy/bag.onnxruntime-int8.cpu", "toy/bag.onnxruntime.cpu", "toy/bag.pytorch.cpu"]
UNSUPPORTED = "toy/bag.onnxruntime-o2.cpu"
ON_CUDA = ("onnxruntime-fp16", "onnxruntime-o2", "onnxruntime", "pytorch-fp16", "pytorch")


@pytest.fixture
def passing(once: Once) -> tuple[Toy, Run]:
    """A suite in which all is well, beside the plug-ins that other people have installed, in random order."""

    def make(toy: Toy) -> Run:
        toy.copy("passing.py", "own.py", "bag.py")
        shown = {"GITHUB_STEP_SUMMARY": str(toy.folder / "summary.md")}
        options = ("--timeout=600", "--benchmark-json=timings.json", "--junitxml=junit.xml", "-rs", "--randomly-seed=2")
        return toy.run("test_toy.py", *options, page=True, env=shown)

    return once("passing", make)


@pytest.fixture
def again(once: Once, passing: tuple[Toy, Run]) -> tuple[Toy, Run]:
    """One backend of the same suite, once more, after an accident to the folder of artifacts."""

    def make(toy: Toy) -> Run:
        shutil.copytree(passing[0].folder, toy.folder, dirs_exist_ok=True)
        (int8,) = toy.artifacts.glob("toy/bag/onnxruntime-int8-*/model.onnx")
        int8.write_bytes(int8.read_bytes()[:-1])
        (marker,) = toy.artifacts.glob("toy/bag/onnxruntime-[0-9a-f]*[0-9a-f]/shipbench.json")
        marker.unlink()
        return toy.run("test_toy.py", "-k", "int8", "--ship-retrain")

    return once("again", make)


@pytest.fixture
def troubled(once: Once) -> tuple[Toy, Run]:
    """A suite in which much goes wrong."""

    def make(toy: Toy) -> Run:
        toy.copy("troubled.py", "own.py", "bag.py", "needy.py", "trouble.py")
        return toy.run("test_toy.py", "-m", "not cuda", "--ship-timeout=12", "-p", "no:randomly")

    return once("troubled", make)


@pytest.fixture
def named(once: Once) -> tuple[Toy, Run]:
    """A suite in a clean git repository, under a named machine and importlib's import mode, in very little time."""

    def make(toy: Toy) -> Run:
        toy.copy("alone.py")
        (toy.folder / "models").mkdir()
        shutil.copy(BAG, toy.folder / "models")
        commit(toy.folder)
        return toy.run(
            *("test_toy.py", "--import-mode=importlib", "-n", "0", "-p", "no:playwright"),
            *("--ship-machine=somebody-s", "--ship-budget=0.05", "--ship-launches=2", "--benchmark-disable"),
        )

    return once("named", make)


def commit(folder: Path) -> None:
    (folder / ".gitignore").write_text("__pycache__/\nartifacts/\n")
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "a suite")):
        subprocess.run(["git", *words], cwd=folder, check=True)


# ---------------------------------------------------------------------------------------------------- all is well


def test_a_suite_in_which_all_is_well_passes(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    assert 0 == run.status
    assert re.search(r"\b4 passed, 6 skipped in ", run.text)


def test_every_case_that_ran_leaves_one_result(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    assert sorted([*MEASURED, UNSUPPORTED]) == sorted(toy.results)
    assert dict.fromkeys(MEASURED, "ok") | {UNSUPPORTED: "unsupported"} == {
        name: result.status for name, result in toy.results.items()
    }


def test_every_measured_case_has_its_answers_row_by_row(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    for name in MEASURED:
        rows = pd.read_parquet(toy.folder / "results" / "local" / f"{name}.parquet")
        found = toy.results[name].answers
        assert found is not None
        assert ["row", "label", "prediction", "reference", "logits"] == list(rows.columns)
        assert 48 == len(rows) == found.rows
        assert found.score == (rows["label"] == rows["prediction"]).mean()
        assert found.agreement == (rows["prediction"] == rows["reference"]).mean()


def test_every_case_has_a_line_of_its_own(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    shown = r"toy/bag\.[\w-]+\.cpu  passed  \w+  \d\S*×( \[[^]]+\])? \(\S+ ms\), 0\.\d{4}, drop \S+( \[\S+, \S+\])?"
    for name in MEASURED:
        assert re.fullmatch(rf"{shown}( +\[ *\d+%\])?", run.line(name))
    assert run.line(UNSUPPORTED).startswith(f"{UNSUPPORTED}  skipped  unsupported at build: ")


def test_the_summary_names_the_backend_it_would_choose_and_where_the_files_are(passing: tuple[Toy, Run]) -> None:
    toy, run = passing
    (chosen,) = re.findall(r"^Ship (\S+): ", run.text, re.MULTILINE)
    folder = toy.folder / "results" / "local"
    table = pd.read_csv(folder / "comparison.csv")
    assert {chosen} == set(table.loc[table["recommended"], "backend"])
    assert f"**Ship {chosen}**" in (folder / "comparison.md").read_text()
    assert [folder / "comparison.csv", folder / "comparison.md", folder / "report.html"] == [
        Path(line.removeprefix("wrote ")) for line in run.out if line.startswith("wrote ")
    ]


def test_the_page_and_githubs_summary_name_what_ships(passing: tuple[Toy, Run]) -> None:
    toy, run = passing
    (chosen,) = re.findall(r"^Ship (\S+): ", run.text, re.MULTILINE)
    assert f"<strong>ship {chosen}</strong>" in (toy.folder / "results" / "local" / "report.html").read_text()
    assert f"| {chosen} " in (toy.folder / "summary.md").read_text()
    assert re.search(r"^[01] of 1 comparisons may ship a faster backend", run.text, re.MULTILINE)


def test_junits_xml_holds_the_figures_of_every_case(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    text = (toy.folder / "junit.xml").read_text()
    for name in MEASURED:
        case = text[text.index(f"[{name}]") :].partition("</testcase>")[0]
        told = dict(re.findall(r'<property name="(ship_\w+)" value="([^"]*)"', case))
        assert "ok" == told["ship_status"]
        low, speedup, high = (float(told[f"ship_speedup{end}"]) for end in ("_low", "", "_high"))
        assert low <= speedup <= high
        assert 0 < speedup


def test_the_table_is_what_the_results_give(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    again = toy.pytester.run(
        sys.executable, "-m", "harness", "report", "--check", "--ship-results", toy.folder / "results"
    )
    assert 0 == again.ret
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv")
    assert sorted([*MEASURED, *MEASURED, UNSUPPORTED]) == sorted(
        table["task"] + "/" + table["model"] + "." + table["backend"] + "." + table["device"]
    )


def test_samples_are_kept_raw_by_start_with_those_of_the_reference_and_the_control(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    for name in MEASURED:
        assert [1, 16] == [series.workload.batch for series in toy.results[name].series]
        for series in toy.results[name].series:
            parts = (series.own_ns, series.reference_ns, series.control_ns, series.rows, series.lengths)
            assert [1] * 5 == [len(part) for part in parts]
            assert 1 == len({len(part[0]) for part in parts})
            assert all(sample > 0 for sample in chain(*series.own_ns, *series.reference_ns, *series.control_ns))
            assert series.own_ns == series.reference_ns or "pytorch" not in name
            assert series.control_ns != series.reference_ns


def test_the_cases_of_a_comparison_share_one_measurement(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    found = [toy.results[name] for name in MEASURED]
    assert 1 == len({result.measurement for result in found})
    for number in (0, 1):
        assert 1 == len({(r.series[number].reference_ns, r.series[number].control_ns) for r in found})
        assert 4 == len({r.series[number].own_ns for r in found})


def test_a_worker_imports_nothing_but_its_own_runtime(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    imported = {}
    for name in MEASURED:
        process = toy.results[name].process
        assert process is not None
        imported[name.split(".")[1]] = process.settings["imported"]
    assert "torch" in imported.pop("pytorch")
    assert {"onnxruntime": "onnxruntime", "onnxruntime-int8": "onnxruntime", "numpy": ""} == imported


def test_a_float_form_is_held_to_the_reference_and_a_lossy_one_to_its_float_form(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    held = {name: toy.results[name].answers for name in MEASURED}
    assert {
        "toy/bag.numpy.cpu": "pytorch",
        "toy/bag.onnxruntime-int8.cpu": "onnxruntime",
        "toy/bag.onnxruntime.cpu": "pytorch",
        "toy/bag.pytorch.cpu": "pytorch",
    } == {name: answers.compared_with for name, answers in held.items() if answers}
    differences = {name: answers.largest_difference for name, answers in held.items() if answers}
    assert 0 == differences.pop("toy/bag.pytorch.cpu")
    assert differences.pop("toy/bag.onnxruntime-int8.cpu") > 1e-3
    assert all(0 < difference < 1e-4 for difference in differences.values())


def test_what_cannot_exist_is_skipped_and_says_why(passing: tuple[Toy, Run]) -> None:
    toy, run = passing
    error = toy.results[UNSUPPORTED].error
    assert error is not None
    assert "a native module has none" in error.message
    assert re.search(r"^SKIPPED \[1\] .*a native module has none$", run.text, re.MULTILINE)


def test_cuda_cases_are_collected_and_skip_with_the_reason_where_there_is_no_device(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    assert "collected 10 items" in run.text
    assert re.search(r"^SKIPPED \[5\] .*no CUDA device: ", run.text, re.MULTILINE)


def test_libraries_are_quiet_and_so_are_bars_where_there_is_no_terminal(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    known = "this CPU has no VNNI instructions"
    chatter = re.compile(r"Warning|WARNING|site-packages|it/s|\d+%\|")
    assert [] == [line for line in run.out if chatter.search(line) and known not in line]
    assert [] == [line for line in run.err if line and "Wrote benchmark data in" not in line]


def test_an_empty_text_and_texts_far_too_long_are_measured_like_any_other(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    for name in MEASURED:
        (lengths,) = toy.results[name].series[0].lengths
        assert (1, 64) == (min(lengths), max(lengths))


# -------------------------------------------------------------------------------------- beside pytest-benchmark


def timings(toy: Toy) -> list[dict[str, object]]:
    found = json.loads((toy.folder / "timings.json").read_text())["benchmarks"]
    return sorted(found, key=lambda timing: timing["param"])


def test_pytest_benchmark_is_given_the_samples_of_the_gates_workload(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    given = {timing["param"]: timing["stats"]["data"] for timing in timings(toy)}
    assert MEASURED == list(given)
    for name, data in given.items():
        own = chain(*toy.results[str(name)].series[0].own_ns)
        assert pytest.approx([sample / 1e9 for sample in own], rel=1e-9) == data


def test_pytest_benchmark_is_given_every_workload_as_extra_info(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    for timing in timings(toy):
        lines = timing["extra_info"]["shipbench"]
        assert [1, 16] == [line["batch"] for line in lines]
        assert {timing["param"].split(".")[1]} == {line["backend"] for line in lines}


def test_timings_are_json_that_other_tools_can_read(passing: tuple[Toy, Run]) -> None:
    def refuse(constant: str) -> Never:
        raise AssertionError(f"{constant} is no JSON")

    toy, _ = passing
    json.loads((toy.folder / "timings.json").read_text(), parse_constant=refuse)


def test_benchmark_skip_measures_nothing(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--benchmark-skip", "-m", "not cuda")
    assert 0 == run.status
    assert re.search(r"\b5 skipped, 5 deselected in ", run.text)
    assert {} == toy.results


def test_benchmark_only_takes_a_case_for_a_benchmark(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--benchmark-only", "-m", "cuda", "-rs")
    assert re.search(r"^SKIPPED \[5\] .*no CUDA device: ", run.text, re.MULTILINE)


# ------------------------------------------------------------------------------------------- one backend, again


def test_a_run_on_one_backend_leaves_every_other_result_as_it_was(
    passing: tuple[Toy, Run], again: tuple[Toy, Run]
) -> None:
    def files(toy: Toy) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (toy.folder / "results" / "local" / "toy").iterdir()}

    before, after = files(passing[0]), files(again[0])
    assert 0 == again[1].status
    assert before.keys() == after.keys()
    changed = {name for name, content in after.items() if before[name] != content}
    assert {"bag.onnxruntime-int8.cpu.json"} == changed - {"bag.onnxruntime-int8.cpu.parquet"}


def test_samples_of_two_measurements_are_never_paired(passing: tuple[Toy, Run], again: tuple[Toy, Run]) -> None:
    old, new = (toy.results for toy, _ in (passing, again))
    mine = "toy/bag.onnxruntime-int8.cpu"
    assert {mine} == {name for name in new if new[name].measurement != old[name].measurement}
    for number in (0, 1):
        before, after = old[mine].series[number], new[mine].series[number]
        assert [1, 1, 1] == [len(part) for part in (after.own_ns, after.reference_ns, after.control_ns)]
        assert set(before.own_ns).isdisjoint(after.own_ns)
        assert set(before.reference_ns).isdisjoint(after.reference_ns)
        assert set(before.control_ns).isdisjoint(after.control_ns)


def test_the_table_keeps_the_measurement_of_every_case_that_did_not_run(
    passing: tuple[Toy, Run], again: tuple[Toy, Run]
) -> None:
    table = pd.read_csv(again[0].folder / "results" / "local" / "comparison.csv")
    shown = dict(zip(table["backend"], table["measurement"], strict=True))
    assert {result.backend: result.measurement for result in again[0].results.values()} == shown
    assert {result.measurement for result in passing[0].results.values()} < set(shown.values())


def test_a_broken_artifact_is_built_again_and_that_is_said(again: tuple[Toy, Run]) -> None:
    toy, run = again
    built = re.compile(r"\b(onnxruntime[a-z0-9-]*)-[0-9a-f]{12}: (.*); building it again")
    said = ["onnxruntime-int8: corrupt (model.onnx)", "onnxruntime: half-written"]
    notes = toy.results["toy/bag.onnxruntime-int8.cpu"].notes
    assert said == sorted(": ".join(match.groups()) for note in notes if (match := built.search(note)))
    assert said == sorted(": ".join(match.groups()) for line in run.out if (match := built.search(line)))


def test_training_again_from_the_same_seed_gives_the_same_weights(
    passing: tuple[Toy, Run], again: tuple[Toy, Run]
) -> None:
    name = "toy/bag.onnxruntime-int8.cpu"
    (old_marker,), (new_marker,) = (
        toy.artifacts.glob("toy/bag/checkpoint-*/shipbench.json") for toy, _ in (passing, again)
    )
    assert old_marker.stat().st_mtime_ns < new_marker.stat().st_mtime_ns
    old, new = (toy.results[name].checkpoint for toy, _ in (passing, again))
    assert old is not None
    assert new is not None
    assert old.info["weights_sha256"] == new.info["weights_sha256"]


# ---------------------------------------------------------------------------------------------- much goes wrong


def message(toy: Toy, backend: str, model: str = "bag") -> str:
    """What the result of a failed case says, and where it ended."""
    result = toy.results[f"toy/{model}.{backend}.cpu"]
    assert result.error is not None
    assert "failed" == result.status == result.error.status
    return f"{result.error.stage}: {result.error.message}"


def test_a_suite_with_failures_is_red_and_every_case_of_it_leaves_a_result(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    assert pytest.ExitCode.TESTS_FAILED == run.status
    assert "collected 21 items / 3 deselected / 18 selected" in run.text
    assert 18 == len(toy.results)


def test_the_neighbours_of_a_failing_case_pass(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    for name in ("toy/bag.pytorch.cpu", "toy/bag.numpy.cpu"):
        assert "ok" == toy.results[name].status
        assert "  passed  " in run.line(name)


def test_a_backend_may_import_what_its_suite_may_import(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    process = toy.results["toy/bag.needy.cpu"].process
    assert process is not None
    assert "toy" == process.settings["task"]


def test_only_what_passed_is_green(troubled: tuple[Toy, Run]) -> None:
    _, run = troubled
    assert {"pytorch", "numpy", "needy"} == set(
        re.findall(r"^  toy/\w+\.([\w-]+)\.cpu  passed  ", run.text, re.MULTILINE)
    )
    assert re.search(r"=+ 15 failed, 3 passed, 3 deselected in ", run.text)


def test_a_case_under_its_floor_fails_and_says_how_to_repeat_it(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    answers = toy.results["toy/asleep.numpy.cpu"].answers
    assert answers is not None
    said = "\n".join(run.out).partition("toy/asleep.numpy.cpu\n  score ")[2]
    assert said.startswith(f"{answers.score:.4f} on 48 rows is under the floor 0.9 ")
    again = re.search(r"^  again: pytest (.*)$", said, re.MULTILINE)
    assert again is not None
    assert "test_toy.py::test_toy[toy/asleep.numpy.cpu]" == shlex.split(again[1])[0]


def test_the_command_that_repeats_a_case_selects_that_case_alone(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    said = "\n".join(run.out).partition("toy/bag.killed.cpu\n  ")[2]
    found = re.search(r"again: pytest (.*)$", said, re.MULTILINE)
    assert found is not None
    collected = toy.run("--collect-only", "-q", *shlex.split(found[1])).out
    assert ["test_toy.py::test_toy[toy/bag.killed.cpu]"] == [line for line in collected if "::" in line]


def test_a_worker_that_dies_before_the_rounds_fails_its_case_with_the_signal(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    assert "answer: killed: the worker was killed by SIGKILL" == message(toy, "killed").partition("\n  asked for ")[0]
    assert "SIGKILL" in run.line("toy/bag.killed.cpu")


def test_a_worker_that_dies_in_the_rounds_keeps_what_was_known_of_it(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    result = toy.results["toy/bag.killed-later.cpu"]
    assert "measure: killed-later: the worker was killed by SIGTERM" == message(toy, "killed-later")
    assert () == result.series
    assert result.answers is not None
    assert 48 == result.answers.rows


def test_a_worker_that_hangs_fails_its_case_with_the_timeout(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    said = "answer: hanging: the worker gave no answer within 12 s"
    assert said == message(toy, "hanging").partition("\n  asked for test row 0: ")[0]


def test_an_error_of_a_backend_is_shown_with_the_line_it_came_from(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    assert message(toy, "raising").startswith("answer: raising: ValueError: no kernel for a Tuesday")
    assert "in run" in message(toy, "raising")
    assert "trouble.py" in message(toy, "raising")
    assert 1 == run.line("toy/bag.raising.cpu").count("no kernel for a Tuesday")


def test_a_backend_on_another_device_than_asked_for_is_refused(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    assert "asked for cpu, the runtime runs on cuda" in message(toy, "elsewhere")


def row_of_the_empty_text(toy: Toy) -> int:
    """The only text that is one token long."""
    series = toy.results["toy/bag.pytorch.cpu"].series[0]
    return dict(zip(series.lengths[0], series.rows[0], strict=True))[1]


def test_an_answer_that_is_no_number_fails_its_case_and_names_the_row(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    row = row_of_the_empty_text(toy)
    assert f"answer: undefined: logits of test row {row} holds NaN or infinity" == message(toy, "undefined")


def test_a_failed_build_fails_its_case_alone(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    assert message(toy, "unbuilt").startswith("build: unbuilt: RuntimeError: no operator for a full moon\n  |")
    assert "trouble.py" in message(toy, "unbuilt")


def test_an_export_that_answers_differently_fails_with_the_largest_difference_and_its_row(
    troubled: tuple[Toy, Run],
) -> None:
    toy, _ = troubled
    row = row_of_the_empty_text(toy)
    assert re.search(
        rf"^parity: .* as pytorch does: logits differs by up to 0\.25 .* test row {row} alone; 1 of 48 rows differ$",
        message(toy, "shifted"),
    )


@pytest.mark.parametrize("backend", ["shifted-int8", "shifted-int4"])
def test_what_is_built_from_a_broken_export_is_broken_too(backend: str, troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    assert "logits differs by up to 0.25" in message(toy, backend)


def test_a_lossy_backend_is_judged_by_what_it_loses(troubled: tuple[Toy, Run]) -> None:
    toy, run = troubled
    result = toy.results["toy/bag.biased.cpu"]
    assert "ok" == result.status
    assert result.answers is not None
    assert "numpy" == result.answers.compared_with
    assert result.answers.lost > 30
    said = "\n".join(run.out).partition("toy/bag.biased.cpu\n  ")[2].partition("again: ")[0]
    assert re.search(r"loses \d\d\.\d\d points \[.*more than the 10 allowed: \d\d rows lost", said)


@pytest.mark.parametrize("backend", ["pytorch", "numpy"])
def test_training_that_diverges_says_at_which_step(backend: str, troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    assert re.match(
        r"train: toy/diverging: training diverged: the drop is (nan|inf) at step [1-7] of 7; lower the learning rate",
        message(toy, backend, "diverging"),
    )


def test_nothing_that_failed_is_chosen(troubled: tuple[Toy, Run]) -> None:
    toy, _ = troubled
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv")
    assert {("bag", "numpy"), ("bag", "needy"), ("bag", "pytorch")} > set(
        table.loc[table["recommended"], ["model", "backend"]].itertuples(index=False, name=None)
    )


# ------------------------------------------------------------------------------ another place, another import mode


def test_a_suite_with_a_backend_of_its_own_runs_under_importlib(named: tuple[Toy, Run]) -> None:
    toy, run = named
    assert 0 == run.status
    assert "2 passed, 1 skipped in " in run.text
    artifact = toy.results["alone/bag.npz.cpu"].artifact
    assert artifact is not None
    assert {"form": "npz"} == artifact.info


def test_results_of_a_named_machine_carry_the_commit(named: tuple[Toy, Run]) -> None:
    toy, _ = named
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=toy.folder, check=True, capture_output=True, text=True)
    for result in toy.results.values():
        environment = result.environment
        assert ("somebody-s", head.stdout.strip(), False) == (
            environment.machine,
            environment.commit,
            environment.dirty,
        )


def test_a_named_machine_stands_in_its_own_tables_and_in_those_of_all(named: tuple[Toy, Run]) -> None:
    toy, _ = named
    folder = toy.folder / "results"
    assert ["comparison.csv", "comparison.md", "somebody-s"] == sorted(path.name for path in folder.iterdir())
    assert (folder / "comparison.md").read_text() == (folder / "somebody-s" / "comparison.md").read_text()


def test_rounds_end_when_the_budget_is_spent_and_that_is_said(named: tuple[Toy, Run]) -> None:
    toy, run = named
    for result in toy.results.values():
        assert [2, 2] == [len(series.own_ns) for series in result.series]
        assert all(1 <= len(start) < 60 for start in result.series[0].own_ns)
    assert re.search(r"^alone/bag: batch 1: .*cut short by the budget$", run.text, re.MULTILINE)


def test_pytest_benchmark_can_be_turned_off(named: tuple[Toy, Run]) -> None:
    _, run = named
    assert "Name (time in" not in run.text


@pytest.fixture
def repository(toy: Toy) -> Toy:
    """A clean git repository that holds nothing but a suite and results."""
    toy.copy("passing.py", "own.py", "bag.py")
    commit(toy.folder)
    (toy.folder / "results").mkdir()
    (toy.folder / "results" / "LOG.md").write_text("not committed yet")
    return toy


def test_a_named_machine_takes_a_clean_tree_results_aside(repository: Toy) -> None:
    run = repository.run("test_toy.py", "-m", "cuda", "--ship-machine=somebody-s")
    assert 0 == run.status
    assert "5 skipped, 5 deselected in " in run.text


@pytest.mark.parametrize("name", ["own.py", "new.py"])
def test_a_named_machine_refuses_a_tree_that_no_commit_holds(repository: Toy, name: str) -> None:
    with (repository.folder / name).open("a") as file:
        file.write("\nCHANGED = True\n")
    run = repository.run("test_toy.py", "-m", "cuda", "--ship-machine=somebody-s")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert re.search(r"--ship-machine somebody-s: .*the tree has changes that no commit holds", run.text)


def test_an_option_that_names_a_folder_does_not_move_the_suite(repository: Toy) -> None:
    # pytest itself takes `--unknown DIR` for a folder with tests, as long as no plug-in has told it otherwise.
    repository.artifacts.mkdir(exist_ok=True)
    with (repository.folder / "own.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    options = ("--ship-machine=somebody-s", "--ship-artifacts", str(repository.artifacts))
    assert pytest.ExitCode.USAGE_ERROR == repository.run("test_toy.py", "-m", "cuda", *options).status


# ---------------------------------------------------------------------------------------------------- the options


def test_measuring_in_parallel_processes_is_refused(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "-n", "2")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert "run suites without -n" in run.text
    assert not re.search("INTERNALERROR|Traceback| passed", run.text)
    assert {} == toy.results


def test_an_unknown_backend_is_answered_with_those_there_are(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--ship-backends=numpy,tensorflow")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    known = "numpy, onnxruntime, onnxruntime-fp16, onnxruntime-int8, onnxruntime-o2, pytorch, pytorch-fp16"
    assert f"--ship-backends: no backend tensorflow; there are {known}; and default, all" in run.text


def test_other_backends_are_measured_on_request(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    suite = toy.folder / "test_toy.py"
    suite.write_text(suite.read_text().replace(", [*DEFAULT_BACKENDS, NUMPY]", ""))

    def collected(*options: str) -> set[str]:
        out = toy.run("test_toy.py", "--collect-only", "-q", "--ship-device=cpu", *options).out
        return {line.partition("toy/bag.")[2][:-5] for line in out if "::" in line}

    groups = (DEFAULT_BACKENDS, MORE_BACKENDS)
    default, more = ({one.name for one in group if "cpu" in one.devices} for group in groups)
    assert default == collected() == collected("--ship-backends=default")
    assert default | {"onnxruntime-o2-int8"} == collected("--ship-backends=default,onnxruntime-o2-int8")
    assert {"onnxruntime-o2-int8"} == collected("--ship-backends=onnxruntime-o2-int8")
    assert default | more == collected("--ship-backends=all")


def test_an_unknown_device_is_answered_with_those_there_are(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--ship-device=tpu")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert re.search(r"--ship-device: .*'tpu'.*cpu.*cuda", run.text)


@pytest.mark.parametrize("option", ["--ship-threads=4096", "--ship-launches=0", "--ship-machine=../x"])
def test_an_option_that_makes_no_sense_is_refused(option: str, toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "-m", "cuda", option)
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert option.partition("=")[0] in run.text


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["-m", "not cuda"], "numpy.cpu onnxruntime-int8.cpu onnxruntime-o2.cpu onnxruntime.cpu pytorch.cpu"),
        (["--ship-device=cpu"], "numpy.cpu onnxruntime-int8.cpu onnxruntime-o2.cpu onnxruntime.cpu pytorch.cpu"),
        (
            ["--ship-device=cuda"],
            "onnxruntime-fp16.cuda onnxruntime-o2.cuda onnxruntime.cuda pytorch-fp16.cuda pytorch.cuda",
        ),
        (["--ship-backends=numpy,pytorch"], "numpy.cpu pytorch.cpu pytorch.cuda"),
        (["-k", "bag and int8"], "onnxruntime-int8.cpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_cases_are_selected(options: list[str], left: str, toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--collect-only", "-q", *options)
    assert [f"test_toy.py::test_toy[toy/bag.{name}]" for name in left.split()] == sorted(
        line for line in run.out if "::" in line
    )
