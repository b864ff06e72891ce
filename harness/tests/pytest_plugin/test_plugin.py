"""A suite far from this repository: its lines, results, tables, timings, and the selection of its cases."""

import json
import re
import shutil
import subprocess
import sys
from itertools import chain
from typing import Never

import pandas as pd
import pytest

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

MEASURED = ["toy/bag.numpy.cpu", "toy/bag.onnxruntime-int8.cpu", "toy/bag.onnxruntime.cpu", "toy/bag.pytorch.cpu"]
UNSUPPORTED = ["toy/bag.onnxruntime-o2-int8.cpu", "toy/bag.onnxruntime-o2.cpu"]


@pytest.fixture
def passing(once: Once) -> tuple[Toy, Run]:
    """A suite in which all is well, beside the plug-ins that other people have installed, in random order."""

    def make(toy: Toy) -> Run:
        toy.copy("passing.py", "own.py", "bag.py")
        env = {"GITHUB_STEP_SUMMARY": str(toy.folder / "summary.md")}
        options = ("--timeout=600", "--benchmark-json=timings.json", "--junitxml=junit.xml", "-rs", "--randomly-seed=2")
        return toy.run("test_toy.py", *options, page=True, env=env)

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
        return toy.run("test_toy.py", "-k", "onnxruntime-int8", "--ship-retrain")

    return once("again", make)


@pytest.fixture
def named(once: Once) -> tuple[Toy, Run]:
    """A suite in a clean git repository, under a named machine and importlib's import mode, in very little time."""

    def make(toy: Toy) -> Run:
        toy.copy("alone.py", "bag.py")
        (toy.folder / "models").mkdir()
        (toy.folder / "bag.py").rename(toy.folder / "models" / "bag.py")
        toy.commit()
        return toy.run(
            *("test_toy.py", "--import-mode=importlib", "-n", "0", "-p", "no:playwright"),
            *("--ship-machine=somebody-s", "--ship-budget=0.01", "--ship-launches=2", "--benchmark-disable", "-v"),
        )

    return once("named", make)


# A suite in which all is well


def test_every_case_that_runs_leaves_a_result(passing: tuple[Toy, Run]) -> None:
    toy, run = passing
    assert 0 == run.status
    assert re.search(r"\b4 passed, 7 skipped in ", run.text)
    statuses = dict.fromkeys(MEASURED, "ok") | dict.fromkeys(UNSUPPORTED, "unsupported")
    assert statuses == {name: result.status for name, result in toy.results.items()}


def test_measured_case_has_its_answers_row_by_row(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    for name in MEASURED:
        rows = pd.read_parquet(toy.folder / "results" / "local" / f"{name}.parquet")
        answers = toy.results[name].answers
        assert answers is not None
        assert ["row", "label", "prediction", "reference", "logits"] == list(rows.columns)
        assert 48 == len(rows) == answers.rows
        assert answers.score == (rows["label"] == rows["prediction"]).mean()
        assert answers.agreement == (rows["prediction"] == rows["reference"]).mean()


def test_every_case_has_a_line(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    speed, drop = r"([≥≤] \S+×|\S+ to \S+×|unproven)", r"drop -?\d+\.\d\d \([≥≤] -?\d+\.\d\d\)"
    for name in MEASURED[:-1]:
        assert re.fullmatch(rf"[\w-]+ +(ship|same|slower|undecided|invalid) +{speed}, \S+ ms, {drop}", run.line(name))
    assert re.fullmatch(r"pytorch +reference  \S+ ms, score 0\.\d{4}", run.line(MEASURED[-1]))
    fused, of_fused = (run.line(name) for name in reversed(UNSUPPORTED))
    assert fused.startswith("onnxruntime-o2       unsupported  build: ")
    assert of_fused.startswith("onnxruntime-o2-int8  unsupported  build: its source onnxruntime-o2 is unsupported: ")


def test_plan_counts_what_runs_and_what_is_skipped_by_reason(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    (at,) = [at for at, line in enumerate(run.out) if line.startswith("collected ")]
    first, limit, skipped, left_out, *_ = run.out[at + 1 :]
    assert re.fullmatch(r"shipbench: 1 comparison of 6 cases on cpu, \d threads?", first)
    assert "each has at most 60 s of rounds, after training, builds and answers" == limit
    assert re.fullmatch(r"skipped: 5 cases: no CUDA device: .*", skipped)
    assert not left_out.startswith("skipped")


def test_log_says_which_comparison_runs_and_how_long_it_took(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    title = r"\[1/1\] toy/bag on cpu"
    assert 1 == len([line for line in run.err if re.fullmatch(title, line)])
    assert 1 == len([line for line in run.err if re.fullmatch(rf"{title} took \d+( min \d+)? s", line)])
    assert 1 == len([line for line in run.out if re.fullmatch(rf"{title}, \d+( min \d+)? s", line)])


def test_tables_of_pytest_benchmark_are_shown_on_request(passing: tuple[Toy, Run]) -> None:
    assert "Name (time in" not in passing[1].text


def test_recommended_backend_is_in_every_report(passing: tuple[Toy, Run]) -> None:
    toy, run = passing
    folder = toy.folder / "results" / "local"
    (recommended,) = re.findall(r"^toy/bag  +(\S+) ", run.text, re.MULTILINE)
    table = pd.read_csv(folder / "comparison.csv")
    assert {recommended} == set(table.loc[table["recommended"], "backend"])
    assert f"**Ship {recommended}**" in (folder / "comparison.md").read_text()
    assert f"<strong>ship {recommended}</strong>" in (folder / "report.html").read_text()
    assert f"| {recommended} " in (toy.folder / "summary.md").read_text()
    assert re.search(r"^[01] of 1 comparisons may ship a faster backend", run.text, re.MULTILINE)


def test_summary_ends_with_the_written_files(passing: tuple[Toy, Run]) -> None:
    toy, run = passing
    written = [line for line in run.out if line.startswith("wrote ")]
    assert ["wrote comparison.csv, comparison.md, report.html to results/local"] == written
    folder = toy.folder / "results" / "local"
    assert all((folder / name).is_file() for name in ("comparison.csv", "comparison.md", "report.html"))


def test_junit_xml_holds_the_figures_of_every_case(passing: tuple[Toy, Run]) -> None:
    text = (passing[0].folder / "junit.xml").read_text()
    for name in MEASURED:
        case = text[text.index(f"[{name}]") :].partition("</testcase>")[0]
        properties = dict(re.findall(r'<property name="(ship_\w+)" value="([^"]*)"', case))
        assert "ok" == properties["ship_status"]
        low, speedup, high = (float(properties[f"ship_speedup{end}"]) for end in ("_low", "", "_high"))
        assert low <= speedup <= high
        assert 0 < speedup


def test_tables_follow_from_the_results(passing: tuple[Toy, Run]) -> None:
    toy, _ = passing
    again = toy.pytester.run(
        sys.executable, "-m", "harness", "report", "--check", "--ship-results", toy.folder / "results"
    )
    assert 0 == again.ret
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv")
    names = table["task"] + "/" + table["model"] + "." + table["backend"] + "." + table["device"]
    assert sorted([*MEASURED, *MEASURED, *UNSUPPORTED]) == sorted(names)


def test_samples_are_stored_raw_with_reference_and_control(passing: tuple[Toy, Run]) -> None:
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


def test_cases_of_a_comparison_share_one_measurement(passing: tuple[Toy, Run]) -> None:
    results = [passing[0].results[name] for name in MEASURED]
    assert 1 == len({result.measurement for result in results})
    for number in (0, 1):
        assert 1 == len({(r.series[number].reference_ns, r.series[number].control_ns) for r in results})
        assert 4 == len({r.series[number].own_ns for r in results})


def test_worker_imports_only_its_own_runtime(passing: tuple[Toy, Run]) -> None:
    imported = {}
    for name in MEASURED:
        process = passing[0].results[name].process
        assert process is not None
        imported[name.split(".")[1]] = process.settings["imported"]
    assert "torch" in imported.pop("pytorch")
    assert {"onnxruntime": "onnxruntime", "onnxruntime-int8": "onnxruntime", "numpy": ""} == imported


def test_each_form_is_compared_with_its_source(passing: tuple[Toy, Run]) -> None:
    answers = {name: passing[0].results[name].answers for name in MEASURED}
    sources = {name: found.compared_with for name, found in answers.items() if found}
    assert dict.fromkeys(MEASURED, "pytorch") | {"toy/bag.onnxruntime-int8.cpu": "onnxruntime"} == sources
    differences = {name: found.largest_difference for name, found in answers.items() if found}
    assert 0 == differences.pop("toy/bag.pytorch.cpu")
    assert differences.pop("toy/bag.onnxruntime-int8.cpu") > 1e-3
    assert all(0 < difference < 1e-4 for difference in differences.values())


def test_cases_that_cannot_run_are_skipped_with_a_reason(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    assert "collected 11 items" in run.text
    assert re.search(r"^SKIPPED \[1\] .*a native module has none$", run.text, re.MULTILINE)
    assert re.search(r"^SKIPPED \[5\] .*no CUDA device: ", run.text, re.MULTILINE)


def test_libraries_are_quiet_without_a_terminal(passing: tuple[Toy, Run]) -> None:
    _, run = passing
    known = "this CPU has no VNNI instructions"
    chatter = re.compile(r"Warning|WARNING|site-packages|it/s|\d+%\|")
    assert [] == [line for line in run.out if chatter.search(line) and known not in line]
    begun = r"Wrote benchmark data in|checking the rows and models of toy|toy: text is blank in row|\[1/1\] "
    own = re.compile(rf"{begun}|: waiting since ")
    assert [] == [line for line in run.err if line and not own.search(line)]


def test_empty_and_very_long_texts_are_measured(passing: tuple[Toy, Run]) -> None:
    for name in MEASURED:
        (lengths,) = passing[0].results[name].series[0].lengths
        assert (1, 64) == (min(lengths), max(lengths))


# pytest-benchmark


def test_pytest_benchmark_gets_the_samples_and_every_workload(passing: tuple[Toy, Run]) -> None:
    def refuse(constant: str) -> Never:
        raise AssertionError(f"{constant} is not JSON")

    toy, _ = passing
    timings = json.loads((toy.folder / "timings.json").read_text(), parse_constant=refuse)["benchmarks"]
    assert MEASURED == sorted(timing["param"] for timing in timings)
    for timing in timings:
        own = chain(*toy.results[timing["param"]].series[0].own_ns)
        assert pytest.approx([sample / 1e9 for sample in own], rel=1e-9) == timing["stats"]["data"]
        lines = timing["extra_info"]["shipbench"]
        assert [1, 16] == [line["batch"] for line in lines]
        assert {timing["param"].split(".")[1]} == {line["backend"] for line in lines}


def test_benchmark_skip_measures_nothing(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--benchmark-skip", "-m", "not cuda")
    assert 0 == run.status
    assert re.search(r"\b6 skipped, 5 deselected in ", run.text)
    assert {} == toy.results


def test_benchmark_only_runs_cases(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "--benchmark-only", "-m", "cuda", "-rs")
    assert re.search(r"^SKIPPED \[5\] .*no CUDA device: ", run.text, re.MULTILINE)


# One backend, again


def test_run_on_one_backend_keeps_other_results(passing: tuple[Toy, Run], again: tuple[Toy, Run]) -> None:
    def files(toy: Toy) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (toy.folder / "results" / "local" / "toy").iterdir()}

    before, after = files(passing[0]), files(again[0])
    assert 0 == again[1].status
    assert before.keys() == after.keys()
    changed = {name for name, content in after.items() if before[name] != content}
    assert {"bag.onnxruntime-int8.cpu.json"} == changed - {"bag.onnxruntime-int8.cpu.parquet"}


def test_result_keeps_reference_and_control_of_its_own_rounds(passing: tuple[Toy, Run], again: tuple[Toy, Run]) -> None:
    old, new = (toy.results for toy, _ in (passing, again))
    repeated = "toy/bag.onnxruntime-int8.cpu"
    assert {repeated} == {name for name in new if new[name].measurement != old[name].measurement}
    for before, after in zip(old[repeated].series, new[repeated].series, strict=True):
        for samples in ("own_ns", "reference_ns", "control_ns"):
            assert set(getattr(before, samples)).isdisjoint(getattr(after, samples))
    table = pd.read_csv(again[0].folder / "results" / "local" / "comparison.csv")
    shown = dict(zip(table["backend"], table["measurement"], strict=True))
    assert {result.backend: result.measurement for result in new.values()} == shown


def test_broken_artifact_is_built_again_with_a_note(again: tuple[Toy, Run]) -> None:
    toy, run = again
    built = re.compile(r"\b(onnxruntime[a-z0-9-]*)-[0-9a-f]{12}: (.*); building it again")
    expected = ["onnxruntime-int8: corrupt (model.onnx)", "onnxruntime: corrupt (shipbench.json)"]
    for lines in (toy.results["toy/bag.onnxruntime-int8.cpu"].notes, run.err):
        assert expected == sorted(": ".join(match.groups()) for line in lines if (match := built.search(line)))


def test_same_seed_trains_the_same_weights(passing: tuple[Toy, Run], again: tuple[Toy, Run]) -> None:
    toys = (passing[0], again[0])
    (old,), (new,) = (toy.artifacts.glob("toy/bag/checkpoint-*/shipbench.json") for toy in toys)
    assert old.stat().st_mtime_ns < new.stat().st_mtime_ns
    checkpoints = [toy.results["toy/bag.onnxruntime-int8.cpu"].checkpoint for toy in toys]
    assert 1 == len({checkpoint.info["weights_sha256"] for checkpoint in checkpoints if checkpoint})


# A named machine, another import mode


def test_suite_with_its_own_backend_runs_under_importlib(named: tuple[Toy, Run]) -> None:
    toy, run = named
    assert 0 == run.status
    assert "2 passed, 1 skipped in " in run.text
    assert "Name (time in" not in run.text  # --benchmark-disable
    artifact = toy.results["alone/bag.npz.cpu"].artifact
    assert artifact is not None
    assert {"form": "npz"} == artifact.info


def test_named_machine_records_its_commit_and_has_its_own_tables(named: tuple[Toy, Run]) -> None:
    toy, _ = named
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=toy.folder, check=True, capture_output=True, text=True)
    for result in toy.results.values():
        there = result.environment
        assert ("somebody-s", head.stdout.strip(), False) == (there.machine, there.commit, there.dirty)
    folder = toy.folder / "results"
    assert ["comparison.csv", "comparison.md", "somebody-s"] == sorted(path.name for path in folder.iterdir())
    assert (folder / "comparison.md").read_text() == (folder / "somebody-s" / "comparison.md").read_text()


def test_rounds_end_with_the_budget_and_a_note(named: tuple[Toy, Run]) -> None:
    toy, run = named
    for result in toy.results.values():
        assert [2, 2] == [len(series.own_ns) for series in result.series]
        assert all(1 <= len(launch) < 60 for launch in result.series[0].own_ns)
        assert 2 == len(result.windows)
    assert re.search(r"^alone/bag: batch 1: .*cut short by the budget$", run.text, re.MULTILINE)


def test_named_machine_refuses_uncommitted_changes(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    toy.commit()
    (toy.folder / "new.py").touch()
    # An option that names a folder does not move pytest's rootdir, though pytest takes `--unknown DIR` for one.
    toy.artifacts.mkdir(exist_ok=True)
    run = toy.run("test_toy.py", "-m", "cuda", "--ship-machine=somebody-s", "--ship-artifacts", str(toy.artifacts))
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert re.search(r"--ship-machine somebody-s: .*the tree has uncommitted changes", run.text)


# Options and selection


def test_measuring_under_xdist_is_refused(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("test_toy.py", "-n", "2")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert "run suites without -n" in run.text
    assert not re.search("INTERNALERROR|Traceback| passed", run.text)
    assert {} == toy.results


WRONG = {
    "--ship-backends=numpy,tensorflow": "--ship-backends: unknown backend 'tensorflow'; expected one of numpy, "
    "onnxruntime, onnxruntime-fp16, onnxruntime-int8, onnxruntime-o2, onnxruntime-o2-int8, pytorch, pytorch-fp16, "
    "default, all",
    "--ship-machine=../x": "--ship-machine '../x': ",
}


def test_wrong_option_is_a_usage_error(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    runs = toy.commands(*(("pytest", "test_toy.py", option) for option in WRONG))
    for message, run in zip(WRONG.values(), runs, strict=True):
        assert pytest.ExitCode.USAGE_ERROR == run.status
        assert message in run.text
        assert "checking the rows" not in run.text


SELECTED = {
    ("--ship-device=cpu",): "numpy.cpu onnxruntime-int8.cpu onnxruntime-o2-int8.cpu onnxruntime-o2.cpu onnxruntime.cpu "
    "pytorch.cpu",
    ("--ship-backends=numpy,pytorch", "-m", "cuda"): "pytorch.cuda",
}


def test_cases_are_selected(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    runs = toy.commands(*(("pytest", "test_toy.py", "--collect-only", "-q", *options) for options in SELECTED))
    for left, run in zip(SELECTED.values(), runs, strict=True):
        collected = sorted(line for line in run.out if "::" in line)
        assert [f"test_toy.py::test_toy[toy/bag.{name}]" for name in left.split()] == collected
