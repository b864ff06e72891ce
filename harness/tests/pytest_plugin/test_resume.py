"""Resuming keeps the comparisons that are still valid and measures the others again."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import factory
import pytest

from conftest import Once, Run, Toy
from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Python
from harness.contracts.sources import Native, Package
from harness.errors import HarnessError
from harness.pipeline.state import Options
from harness.pytest_plugin import resume
from harness.results import store
from harness.results.schema import Failure, Finalist, Finals
from harness.spec import Case, Gate, Model, Recipe, Task
from harness.util import identity
from harness.util.remote import Remote

pytest_plugins = "pytester"

OPTIONS = ("test_toy.py", "-p", "no:randomly", "--ship-budget=0.4", "--ship-device=cpu")
SUITE = """
from dataclasses import replace

import pytest
from own import NUMPY
from passing import BAG
from toydata import TASK

from harness import Bench, Case, Gate, cases
from harness.backends import PYTORCH

OTHER = replace(BAG, name="other")
object.__setattr__(PYTORCH, "load", NUMPY.load)  # no worker of these tests needs seconds to import torch
GATES = dict.fromkeys([BAG, OTHER], Gate(min_score=0.5, max_drop=0.2))


@pytest.mark.parametrize("case", cases(TASK, GATES, [PYTORCH, NUMPY]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
"""
TASK = Task(
    name="toy-task",
    kind="text-classification",
    dataset=Package("toydata", "toydata/rows.csv", sha256="0"),
    inputs=("text",),
    label="topic",
    metric="accuracy",
    test=48,
    validation=24,
    calibration=12,
)
STORED = factory.result(answers=None, fingerprint="0123")
HERE = STORED.environment
NAMES = [f"toy/{model}.{backend}.cpu" for model in ("bag", "other") for backend in ("numpy", "pytorch")]


@pytest.fixture
def measured(once: Once, toy: Toy) -> Toy:
    """A copy of a folder in which two comparisons were measured, with the artifacts of the original."""

    def make(there: Toy) -> Run:
        there.copy("passing.py", "own.py", "bag.py", "passing.py")
        (there.folder / "test_toy.py").write_text(SUITE)
        return there.run(*OPTIONS)

    there, run = once("resumed", make)
    assert 0 == run.status
    shutil.copytree(there.folder, toy.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("artifacts"))
    return Toy(toy.folder, there.artifacts, toy.pytester)


def measurements(toy: Toy) -> dict[str, str]:
    """Measurement by name, of results of any schema."""
    folder = toy.folder / "results" / "local"
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text())["measurement"] for name, path in paths.items() if path.exists()}


def files(toy: Toy) -> dict[str, bytes]:
    """Results and answers."""
    folder = toy.folder / "results" / "local" / "toy"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def again(toy: Toy, *options: str) -> tuple[Run, list[str]]:
    """Resume; return the run and the cases that were measured."""
    before = measurements(toy)
    run = toy.run(*OPTIONS, "--ship-resume", *options)
    after = measurements(toy)
    return run, sorted(name for name in after if before.get(name) != after[name])


# Whole sessions


def test_finished_session_measures_nothing_and_sweeps_strays(measured: Toy) -> None:
    before = files(measured)
    (measured.folder / "results" / "local" / "toy" / ".bag.numpy.cpu.json.a1b2c3d_").write_text("{")
    (checkpoint,) = measured.artifacts.glob("toy/bag/checkpoint-????????????")
    scratch = checkpoint.with_name(f".{checkpoint.name}.a1b2c3d_")
    scratch.mkdir()
    run, changed = again(measured)
    assert (0, []) == (run.status, changed)
    assert before == files(measured)
    assert not scratch.exists()
    assert [] == [*measured.artifacts.rglob("*.lock")]
    for name in ("toy/bag on cpu", "toy/other on cpu", "finals of toy on cpu"):
        assert re.search(rf"^{name}: taken from 20\S+\+00:00, not measured again$", run.text, re.MULTILINE)
    assert all(run.line(name) for name in NAMES)
    assert "[1/2] toy/bag on cpu, not measured again" in run.out
    assert re.search("^comparison +ship ", run.text, re.MULTILINE)


def test_missing_result_repeats_its_comparison_only(measured: Toy) -> None:
    (measured.folder / "results" / "local" / "toy" / "other.numpy.cpu.json").unlink()
    run, changed = again(measured)
    assert (0, NAMES[2:]) == (run.status, changed)
    assert "toy/other on cpu: measured again: toy/other.numpy.cpu has no result" in run.out
    assert "toy/bag on cpu: taken from " in run.text


def test_stored_result_is_judged_by_its_gate(measured: Toy) -> None:
    for name in NAMES[:2]:
        stored = measured.results[name]
        assert stored.answers is not None
        store.save(measured.folder / "results", replace(stored, answers=replace(stored.answers, score=0.1)))
    run, changed = again(measured)
    assert (pytest.ExitCode.TESTS_FAILED, []) == (run.status, changed)
    assert "is below min_score=0.5" in run.text


# The fingerprint


def load_nothing(artifact, target):
    raise AssertionError("a fingerprint loads nothing")


@pytest.fixture
def case(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "bag.py").write_text("A = 1\n")
    model = Model(name="toy-model", source=Native("bag.py:Bag"), recipe=Recipe(loop="native"))
    return Case(task=TASK, model=model, backend=PYTORCH, device="cpu")


def fingerprint(cases, tmp_path, **changes):
    resume._suite_digest.cache_clear()
    identity.file_sha256.cache_clear()
    known = {"artifacts": tmp_path / "artifacts", "machine": "local", "threads": 1, "spinning": False, "launches": 1}
    options = Options(**known | {"budget_s": 1.0, "timeout_s": 1.0, "retrain": False} | changes)
    return resume.comparison_fingerprint(cases, tmp_path / "suite", options)


def test_options_that_shape_the_measurement_change_the_fingerprint(case, tmp_path):
    changes = [
        {}, {"launches": 2}, {"budget_s": 2.0}, {"tail": 9}, {"retrain": True}, {"threads": 2}, {"spinning": True},
        {"batches": (1,)},
    ]  # fmt: skip
    assert len(changes) == len({fingerprint([case], tmp_path, **change) for change in changes})


def test_places_do_not_change_the_fingerprint(case, tmp_path):
    changes = [{}, {"artifacts": Path("/elsewhere")}, {"machine": "other"}, {"remote": Remote("s3://bucket")}]
    assert 1 == len({fingerprint([case], tmp_path, **change) for change in changes})


def test_declarations_change_the_fingerprint(case, tmp_path):
    backend = Backend(name="other", load=load_nothing)
    changed = [
        [case],
        [replace(case, model=replace(case.model, recipe=replace(case.model.recipe, epochs=2)))],
        [replace(case, task=replace(case.task, test=case.task.test + 1))],
        [replace(case, gate=Gate(min_score=0.1, max_drop=0.5))],
        [replace(case, backend=backend)],
        [case, replace(case, backend=backend)],
    ]
    assert 6 == len({fingerprint(cases, tmp_path) for cases in changed})


def test_environment_of_a_source_changes_the_fingerprint(case, tmp_path, monkeypatch):
    source = Backend(name="source", load=load_nothing, build=load_nothing, builds_in=Python(interpreter="python"))
    built = replace(case, backend=Backend(name="built", source=source, load=load_nothing))
    digests = []
    for version in ("1", "2"):
        packages = {"packages": f"numpy {version}"}
        monkeypatch.setattr(resume, "describe_interpreter", lambda python, packages=packages: packages)
        digests.append(fingerprint([built], tmp_path))
    assert "" not in digests
    assert digests[0] != digests[1]


def test_order_of_cases_does_not_change_the_fingerprint(case, tmp_path):
    other = replace(case, backend=Backend(name="other", load=load_nothing))
    assert fingerprint([case, other], tmp_path) == fingerprint([other, case], tmp_path)


def test_outside_git_python_files_of_the_suite_count(case, tmp_path):
    known = fingerprint([case], tmp_path)
    suite = tmp_path / "suite"
    for quiet in (".hidden/x.py", "log.txt", "results/local/x.json", "venv/x.py"):
        (suite / quiet).parent.mkdir(parents=True, exist_ok=True)
        (suite / quiet).write_text("x")
    (suite / "venv" / "pyvenv.cfg").touch()
    assert known == fingerprint([case], tmp_path)
    (suite / "helper.py").touch()
    assert known != fingerprint([case], tmp_path)


def test_copies_of_native_models_among_artifacts_do_not_count(case, tmp_path):
    kept = tmp_path / "suite" / "kept"
    known = fingerprint([case], tmp_path, artifacts=kept)
    (kept / "toy" / "checkpoint-0123456789ab").mkdir(parents=True)
    (kept / "toy" / "checkpoint-0123456789ab" / "bag.py").touch()
    assert known == fingerprint([case], tmp_path, artifacts=kept)


def test_inside_git_tracked_files_count_committed_or_not(case, tmp_path):
    def git(*words):
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)

    (tmp_path / "rows.csv").write_text("1")
    git("init", "-q")
    git("add", ".")
    known = fingerprint([case], tmp_path)
    git("commit", "-q", "-m", "a suite")
    (tmp_path / "timings.json").write_text("{}")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.py").touch()
    assert known == fingerprint([case], tmp_path)
    (tmp_path / "rows.csv").write_text("2")
    changed = fingerprint([case], tmp_path)
    assert known != changed
    (tmp_path / "new.py").touch()
    assert fingerprint([case], tmp_path) not in (known, changed)


def test_case_without_a_fingerprint_is_never_valid(case, tmp_path):
    odd = replace(case, backend=replace(PYTORCH, name="odd", unavailable=object()))
    assert "" == fingerprint([odd], tmp_path)
    store.save(tmp_path, replace(STORED, fingerprint=""))
    with pytest.raises(HarnessError, match=r"the code, declarations or options of .* changed"):
        resume.valid_results([case], tmp_path / "toy-machine", "", HERE)


# Stored results


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (replace(STORED, status="failed", error=Failure(stage="build", message="no")), "failed"),
        (replace(STORED, fingerprint="4567"), "the code, declarations or options of .* changed"),
        (replace(STORED, environment=replace(HERE, python="3.12")), "python was 3.12, is 3.11"),
        (replace(STORED, answers=factory.answers()), "the answers of .* are missing"),
    ],
    ids=["failed", "fingerprint", "environment", "answers"],
)
def test_outdated_result_is_refused_with_the_reason(case, tmp_path, stored, reason):
    store.save(tmp_path, stored)
    with pytest.raises(HarnessError, match=reason):
        resume.valid_results([case], tmp_path / "toy-machine", "0123", HERE)


@pytest.mark.parametrize("status", ["ok", "unsupported"])
def test_result_of_the_same_things_is_valid(case, tmp_path, status):
    store.save(tmp_path, replace(STORED, status=status))
    elsewhere = replace(HERE, commit="another", dirty=True, load_before=9.0)
    results = resume.valid_results([case], tmp_path / "toy-machine", "0123", elsewhere)
    assert [replace(STORED, status=status)] == results


def test_results_of_two_measurements_are_not_valid(case, tmp_path):
    other = replace(case, backend=Backend(name="other", load=load_nothing))
    store.save(tmp_path, STORED)
    store.save(tmp_path, replace(STORED, backend="other", measurement="another"))
    with pytest.raises(HarnessError, match="different measurements"):
        resume.valid_results([case, other], tmp_path / "toy-machine", "0123", HERE)


def test_finals_are_valid_as_long_as_their_comparisons(tmp_path):
    known = resume.finals_fingerprint([STORED], "toy-task", "cpu")
    entry = Finalist(model="m", backend="b", score=1.0, correct="1", size_bytes=1, process=None, series=())
    finals = Finals(
        task="toy-task", device="cpu", measurement="1", fingerprint=known, created="", environment=HERE,
        metric="accuracy", test_sha256="", max_drop=None, entries=(entry,), absent={},
    )  # fmt: skip
    store.save_finals(tmp_path, finals)
    folder = tmp_path / "toy-machine"
    assert finals == resume.valid_finals(folder, "toy-task", "cpu", known)
    later = resume.finals_fingerprint([replace(STORED, measurement="another")], "toy-task", "cpu")
    assert resume.valid_finals(folder, "toy-task", "cpu", later) is None
    store.save_finals(tmp_path, replace(finals, entries=(replace(entry, error="killed"),)))
    assert resume.valid_finals(folder, "toy-task", "cpu", known) is None
