# the expectation stands on the left
"""Laws of going on where a killed session ended: what stands, what is measured again, and what is swept away."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

import harness
from conftest import Once, Run, Toy
from harness.backends import PYTORCH
from harness.contracts.backend import Backend, Python
from harness.contracts.sources import Native, Package
from harness.kinds import text_classification
from harness.pipeline.state import Options
from harness.pytest_plugin import resume
from harness.results import store
from harness.results.schema import Failure, Finalist, Finals, Result
from harness.spec import Case, Gate, Model, Recipe, Task
from harness.util import fingerprints
from harness.util.files import sweep_results, sweep_store, write_atomically, writing
from harness.util.machine import Environment

pytest_plugins = "pytester"

HERE = Path(harness.__file__).parents[1]
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


@pytest.mark.parametrize("case", cases(TASK, dict.fromkeys([BAG, OTHER], Gate(min_score=0.5, max_drop=0.2)), [PYTORCH, NUMPY]), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
"""
TASK = Task(
    name="toy-task",
    kind=text_classification,
    dataset=Package("toydata", "toydata/rows.csv", sha256="0"),
    inputs=("text",),
    label="topic",
    metric="accuracy",
    test=48,
    validation=24,
    calibration=12,
)
TOY = Result(
    task="toy-task",
    model="toy-model",
    backend="pytorch",
    device="cpu",
    status="ok",
    measurement="0123456789ab",
    created="2026-01-01T00:00:00+00:00",
    environment=Environment(
        machine="toy-machine",
        cpu="abacus",
        flags=(),
        cores=2,
        memory_gib=1.0,
        accelerator=None,
        system="Linux",
        python="3.11",
        packages={},
        threads=2,
        wait_policy="passive",
        commit=None,
        dirty=False,
        load_before=0.0,
    ),
    recipe={},
)
NAMES = [f"toy/{model}.{backend}.cpu" for model in ("bag", "other") for backend in ("numpy", "pytorch")]


@pytest.fixture
def measured(once: Once, toy: Toy) -> Toy:
    """A copy of a folder in which two comparisons were measured, with the artifacts of the original."""

    def make(there: Toy) -> Run:
        suite(there)
        return there.run(*OPTIONS)

    there, run = once("resumed", make)
    assert 0 == run.status
    shutil.copytree(there.folder, toy.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("artifacts"))
    return Toy(toy.folder, there.artifacts, toy.pytester)


def suite(toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py", "passing.py")
    (toy.folder / "test_toy.py").write_text(SUITE)


def measurements(toy: Toy) -> dict[str, str]:
    """By name; of results of any schema."""
    folder = toy.folder / "results" / "local"
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text())["measurement"] for name, path in paths.items() if path.exists()}


def files(toy: Toy) -> dict[str, bytes]:
    """Results and answers."""
    folder = toy.folder / "results" / "local" / "toy"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def again(toy: Toy, *options: str) -> tuple[Run, list[str]]:
    """Resume; also the models that were measured."""
    before = measurements(toy)
    run = toy.run(*OPTIONS, "--ship-resume", *options)
    after = measurements(toy)
    changed = sorted(name for name in after if before.get(name) != after[name])
    return run, changed


# ------------------------------------------------------------------------------------------------ whole sessions


def test_where_all_is_done_nothing_is_measured_all_is_judged_and_strays_are_swept(measured: Toy) -> None:
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
    assert "4 passed" in run.text
    for model in ("bag", "other"):
        assert re.search(rf"^toy/{model} on cpu: taken from 20\S+\+00:00, not measured again$", run.text, re.MULTILINE)
    assert re.search(r"^finals of toy on cpu: taken from 20\S+, not measured again$", run.text, re.MULTILINE)
    for name in NAMES:
        assert "  passed  " in run.line(name)
    assert "Ship " in run.text


def test_a_missing_result_has_its_comparison_measured_again_and_no_other(measured: Toy) -> None:
    (measured.folder / "results" / "local" / "toy" / "other.numpy.cpu.json").unlink()
    run, changed = again(measured)
    assert (0, NAMES[2:]) == (run.status, changed)
    assert "toy/other on cpu: measured, as there is no result of toy/other.numpy.cpu" in run.out
    assert "toy/bag on cpu: taken from " in run.text


def test_a_gate_that_is_not_met_fails_a_result_from_disk_too(measured: Toy) -> None:
    # The suite is the same, and what was stored is not.
    for name in NAMES[:2]:
        stored = measured.results[name]
        assert stored.answers is not None
        store.save(measured.folder / "results", replace(stored, answers=replace(stored.answers, score=0.1)))
    run, changed = again(measured)
    assert (pytest.ExitCode.TESTS_FAILED, []) == (run.status, changed)
    assert "is under the floor 0.5" in run.text


# ------------------------------------------------------------------------------------------------- what stands


def load_nothing(artifact, target):
    raise AssertionError("what stands is told without loading anything")


@pytest.fixture
def case(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "bag.py").write_text("A = 1\n")
    model = Model(name="toy-model", source=Native("bag.py:Bag"), recipe=Recipe(loop="native"))
    return Case(task=TASK, model=model, backend=PYTORCH, device="cpu")


def options(tmp_path, **changes):
    known = {"artifacts": tmp_path / "artifacts", "machine": "local", "threads": 1, "spinning": False, "launches": 1}
    return Options(**known | {"budget_s": 1.0, "timeout_s": 1.0, "retrain": False} | changes)


def inputs(cases, tmp_path, **changes):
    resume._suite.cache_clear()
    fingerprints.file_sha256.cache_clear()
    return resume.inputs(cases, tmp_path / "suite", options(tmp_path, **changes))


@pytest.mark.parametrize(
    "change",
    [
        {"launches": 2},
        {"budget_s": 2.0},
        {"tail": 9},
        {"retrain": True},
        {"threads": 2},
        {"spinning": True},
        {"batches": (1,)},
    ],
    ids=str,
)
def test_an_option_that_shapes_the_measurement_is_part_of_the_inputs(case, tmp_path, change):
    assert inputs([case], tmp_path) == inputs([case], tmp_path)
    assert inputs([case], tmp_path) != inputs([case], tmp_path, **change)


@pytest.mark.parametrize("change", [{"artifacts": Path("/elsewhere")}, {"machine": "other"}], ids=str)
def test_where_things_lie_is_no_part_of_the_inputs(case, tmp_path, change):
    assert inputs([case], tmp_path) == inputs([case], tmp_path, **change)


def test_declarations_are_part_of_the_inputs(case, tmp_path):
    known = inputs([case], tmp_path)
    model = replace(case.model, recipe=replace(case.model.recipe, epochs=2))
    backend = Backend(name="other", load=load_nothing)
    changed = [
        [replace(case, model=model)],
        [replace(case, task=replace(case.task, test=case.task.test + 1))],
        [replace(case, gate=Gate(min_score=0.1, max_drop=0.5))],
        [replace(case, backend=backend)],
        [case, replace(case, backend=backend)],
    ]
    assert 6 == len({known, *(inputs(cases, tmp_path) for cases in changed)})


def test_the_environment_that_a_backends_source_is_built_in_is_part_of_the_inputs(case, tmp_path, monkeypatch):
    source = Backend(name="source", load=load_nothing, build=load_nothing, builds_in=Python(interpreter="python"))
    built = replace(case, backend=Backend(name="built", source=source, load=load_nothing))
    found = []
    for version in ("1", "2"):
        monkeypatch.setattr(resume, "described", lambda python, version=version: {"packages": f"numpy {version}"})
        found.append(inputs([built], tmp_path))
    assert "" not in found
    assert found[0] != found[1]


def test_the_order_of_cases_is_not(case, tmp_path):
    other = replace(case, backend=Backend(name="other", load=load_nothing))
    assert inputs([case, other], tmp_path) == inputs([other, case], tmp_path)


def test_python_files_of_a_suite_outside_git_are_part_of_the_inputs_and_nothing_else_there(case, tmp_path):
    known = inputs([case], tmp_path)
    suite = tmp_path / "suite"
    for quiet in (".hidden/x.py", "log.txt", "results/local/x.json", "venv/x.py"):
        (suite / quiet).parent.mkdir(parents=True, exist_ok=True)
        (suite / quiet).write_text("x")
    (suite / "venv" / "pyvenv.cfg").touch()
    assert known == inputs([case], tmp_path)
    (suite / "helper.py").touch()
    assert known != inputs([case], tmp_path)


def test_copies_of_native_models_among_the_artifacts_are_no_part_of_the_inputs(case, tmp_path):
    kept = tmp_path / "suite" / "kept"
    known = inputs([case], tmp_path, artifacts=kept)
    (kept / "toy" / "checkpoint-0123456789ab").mkdir(parents=True)
    (kept / "toy" / "checkpoint-0123456789ab" / "bag.py").touch()
    assert known == inputs([case], tmp_path, artifacts=kept)


def test_in_a_repository_what_git_tracks_counts_committed_or_not(case, tmp_path):
    def git(*words):
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)

    (tmp_path / "rows.csv").write_text("1")
    git("init", "-q")
    git("add", ".")
    known = inputs([case], tmp_path)
    git("commit", "-q", "-m", "a suite")
    (tmp_path / "timings.json").write_text("{}")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.py").touch()
    assert known == inputs([case], tmp_path)
    (tmp_path / "rows.csv").write_text("2")
    changed = inputs([case], tmp_path)
    assert known != changed
    (tmp_path / "new.py").touch()
    assert inputs([case], tmp_path) not in (known, changed)


def test_what_cannot_be_fingerprinted_never_stands(case, tmp_path):
    odd = replace(case, backend=replace(PYTORCH, name="odd", unavailable=object()))
    assert "" == inputs([odd], tmp_path)
    store.save(tmp_path, replace(TOY, fingerprint=""))
    with pytest.raises(resume.Again, match="came of other code"):
        resume.standing([case], tmp_path / "toy-machine", "", TOY.environment)


STORED = replace(TOY, fingerprint="0123")


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (replace(STORED, status="failed", error=Failure(stage="build", message="no")), "failed"),
        (replace(STORED, fingerprint="4567"), "came of other code, declarations or options"),
        (replace(STORED, environment=replace(TOY.environment, python="3.12")), "python 3.12, now 3.11"),
    ],
    ids=["failed", "inputs", "environment"],
)
def test_a_result_that_does_not_stand_is_told_with_the_reason(case, tmp_path, stored, reason):
    store.save(tmp_path, stored)
    with pytest.raises(resume.Again, match=reason):
        resume.standing([case], tmp_path / "toy-machine", "0123", TOY.environment)


@pytest.mark.parametrize("status", ["ok", "unsupported"])
def test_a_result_of_the_same_things_stands(case, tmp_path, status):
    store.save(tmp_path, replace(STORED, status=status))
    elsewhere = replace(TOY.environment, commit="another", dirty=True, load_before=9.0)
    assert [replace(STORED, status=status)] == resume.standing([case], tmp_path / "toy-machine", "0123", elsewhere)


def test_results_of_two_measurements_do_not_stand(case, tmp_path):
    other = replace(case, backend=Backend(name="other", load=load_nothing))
    store.save(tmp_path, STORED)
    store.save(tmp_path, replace(STORED, backend="other", measurement="another"))
    with pytest.raises(resume.Again, match="different measurements"):
        resume.standing([case, other], tmp_path / "toy-machine", "0123", TOY.environment)


# ------------------------------------------------------------------------------------------------------- finals


def test_finals_stand_as_long_as_every_comparison_they_follow_from(tmp_path):
    known = resume.inputs_of_finals([STORED], "toy-task", "cpu")
    entry = Finalist(model="m", backend="b", score=1.0, correct="1", size_bytes=1, process=None, series=())
    found = Finals(
        task="toy-task", device="cpu", measurement="1", fingerprint=known, created="", environment=TOY.environment,
        metric="accuracy", test_sha256="", max_drop=None, entries=(entry,), absent={},
    )  # fmt: skip
    store.save_finals(tmp_path, found)
    folder = tmp_path / "toy-machine"
    assert found == resume.finals(folder, "toy-task", "cpu", known)
    later = resume.inputs_of_finals([replace(STORED, measurement="another")], "toy-task", "cpu")
    assert resume.finals(folder, "toy-task", "cpu", later) is None
    store.save_finals(tmp_path, replace(found, entries=(replace(entry, error="killed"),)))
    assert resume.finals(folder, "toy-task", "cpu", known) is None


# ----------------------------------------------------------------------------------------------------- leftovers


def test_a_half_written_file_is_swept_and_nothing_else(tmp_path):
    kept = ["bag.json", ".gitignore", ".bag.json.backup", ".notes.txt.a1b2c3d4", "bag.parquet"]
    for name in [*kept, ".bag.json.a1b2c3d4", ".comparison.csv.________"]:
        (tmp_path / name).touch()
    swept = sweep_results(tmp_path)
    assert [".bag.json.a1b2c3d4", ".comparison.csv.________"] == sorted(path.name for path in swept)
    assert sorted(kept) == sorted(path.name for path in tmp_path.iterdir())


def test_what_a_live_process_is_writing_is_left_alone(tmp_path):
    with writing(tmp_path):
        (tmp_path / ".bag.json.a1b2c3d4").touch()
        assert [] == sweep_results(tmp_path)
    assert [tmp_path / ".bag.json.a1b2c3d4"] == sweep_results(tmp_path)


def test_two_may_write_into_one_folder_at_once(tmp_path):
    with writing(tmp_path), writing(tmp_path):
        write_atomically(tmp_path / "bag.json", b"{}")
    assert ["bag.json"] == [path.name for path in tmp_path.iterdir()]


def test_a_folder_that_cannot_be_locked_is_written_to_and_not_swept(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError("no locks on this file system")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_atomically(tmp_path / "bag.json", b"{}")
    (tmp_path / ".bag.json.a1b2c3d4").touch()
    assert [] == sweep_results(tmp_path)


def test_a_half_built_folder_and_its_lock_are_swept_and_what_is_built_stays(tmp_path):
    parent = tmp_path / "toy" / "bag"
    scratch = parent / ".checkpoint-0123456789ab.a1b2c3d4"
    for folder in (scratch / "part", parent / "checkpoint-0123456789ab", parent / ".checkpoint-x.a1b2c3d4"):
        folder.mkdir(parents=True)
    inner = parent / "checkpoint-0123456789ab" / "model-0123456789ab.lock"
    for file in (inner, parent / "checkpoint-0123456789ab.lock", parent / "poetry.lock"):
        file.touch()
    assert [scratch] == sweep_store(tmp_path)
    assert [".checkpoint-x.a1b2c3d4", "checkpoint-0123456789ab", "poetry.lock"] == sorted(
        path.name for path in parent.iterdir()
    )
    assert inner.exists()


def test_what_a_live_session_is_building_is_left_alone(tmp_path):
    scratch = tmp_path / ".checkpoint-0123456789ab.a1b2c3d4"
    scratch.mkdir()
    with FileLock(tmp_path / "checkpoint-0123456789ab.lock"):
        assert [] == sweep_store(tmp_path)
        assert (tmp_path / "checkpoint-0123456789ab.lock").exists()
    assert scratch.exists()


# ------------------------------------------------------------------------------------------------------- orphans

PARENT = """
import sys
from pathlib import Path
from harness.workers.process import Worker
from harness.contracts import Backend, Target
sys.path.insert(0, {folder!r})
import loaders
import numpy as np

worker = Worker(Backend(name="toy", load=getattr(loaders, {name!r})), Path({folder!r}), Target("cpu", 1), 60)
worker.put({{"x": np.ones(1)}})
print(worker.pid, worker.loaded["settings"].get("child", 0), flush=True)
worker.run()
"""
LOADERS = """
import subprocess, sys, time
from harness.contracts import Session


def busy(artifact, target):
    def run(arrays):
        time.sleep(60)
    return Session(run, "cpu", {})


def parent_of_another(artifact, target):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    return busy(artifact, target)._replace(settings={"child": str(child.pid)})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends after its call")
@pytest.mark.parametrize("name", ["busy", "parent_of_another"])
def test_a_worker_in_a_long_call_ends_with_its_parent_and_what_it_started_does_too(tmp_path, name):
    (tmp_path / "loaders.py").write_text(textwrap.dedent(LOADERS))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(folder=str(tmp_path), name=name)],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        left = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split() if int(pid)]
        assert left
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while any(map(is_alive, left)) and time.monotonic() < until:
        time.sleep(0.05)
    assert [] == [process for process in left if is_alive(process)]


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
