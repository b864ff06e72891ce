"""Laws of where a number came from: this machine, these versions, this commit."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.errors import HarnessError
from harness.util import machine
from harness.util.machine import PACKAGES, accelerator, check_onnxruntime, commit_of, describe, no_cuda, usable_cores

HERE = Path(harness.__file__).parents[1]


def distribution(folder, name, version="1.0"):
    """Make `importlib.metadata` find `name` in `folder`."""
    described = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    """A folder that alone says what is installed."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Puts a toy `nvidia-smi`, a shell script, or none on the PATH."""

    def put(script):
        if script is not None:
            tool = tmp_path / "nvidia-smi"
            tool.write_text(f"#!/bin/sh\n{script}\n")
            tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        accelerator.cache_clear()

    yield put
    accelerator.cache_clear()


def git(folder, *words):
    identity = ("-c", "user.name=toy", "-c", "user.email=toy@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit, a suite folder and results in it."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "suites").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "suites" / "test_toy.py").write_text("one")
    (tmp_path / "results" / "toy.json").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


# The machine


def test_this_machine_is_described(tmp_path):
    found = describe("toy-machine", 2, tmp_path)
    assert ("toy-machine", 2, "passive") == (found.machine, found.threads, found.wait_policy)
    assert (usable_cores(), accelerator()) == (found.cores, found.accelerator)
    assert (sys.version.split()[0], None, False) == (found.python, found.commit, found.dirty)
    assert found.memory_gib > 0
    assert found.load_before >= 0
    assert found.cpu
    assert sorted(found.flags) == list(found.flags)
    assert found.system.startswith(os.uname().sysname)


def test_the_same_machine_is_comparable_with_itself(tmp_path):
    one, other = describe("toy-machine", 2, tmp_path), describe("toy-machine", 2, tmp_path)
    assert one.comparable() == other.comparable()


@pytest.mark.parametrize("field", ["machine", "cpu", "cores", "accelerator", "system", "python", "threads"])
def test_what_decides_a_number_is_compared(tmp_path, field):
    one = describe("toy-machine", 2, tmp_path)
    assert one.comparable() != replace(one, **{field: "another"}).comparable()


def test_the_state_of_the_moment_is_not_compared(tmp_path):
    one = describe("toy-machine", 2, tmp_path)
    assert one.comparable() == replace(one, load_before=99.0, commit="ff", dirty=True, memory_gib=0.5).comparable()


def test_no_more_cores_are_usable_than_there_are():
    assert 1 <= usable_cores() <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_cores_that_this_process_may_not_use_do_not_count():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert 1 == usable_cores()
    finally:
        os.sched_setaffinity(0, before)


# Versions


def test_versions_are_those_that_are_installed(nothing_installed):
    assert {} == machine.versions()
    distribution(nothing_installed, "torch", "2.99")
    distribution(nothing_installed, "onnxruntime-gpu", "1.99")
    distribution(nothing_installed, "unrelated", "9")
    assert {"torch": "2.99", "onnxruntime-gpu": "1.99"} == machine.versions()
    assert {"torch", "onnxruntime-gpu"} <= set(PACKAGES)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_form_of_onnxruntime_is_right(nothing_installed, name):
    distribution(nothing_installed, name)
    check_onnxruntime()


def test_both_forms_of_onnxruntime_are_refused(nothing_installed):
    distribution(nothing_installed, "onnxruntime")
    distribution(nothing_installed, "onnxruntime-gpu")
    said = (
        "onnxruntime and onnxruntime-gpu are both installed and share one folder, so CUDA disappears silently; "
        r"run: python -m pip uninstall -y onnxruntime onnxruntime-gpu, then install one extra, \[cpu\] or \[gpu\]"
    )
    with pytest.raises(HarnessError, match=said):
        check_onnxruntime()


def test_no_onnxruntime_is_refused_with_the_command(nothing_installed):
    said = r'onnxruntime is not installed; run: python -m pip install -e "\.\[cpu\]" \(or "\.\[gpu\]"\)'
    with pytest.raises(HarnessError, match=said):
        check_onnxruntime()


# The accelerator


def test_an_accelerator_has_its_drivers_name(driver):
    driver("echo 'Toy GPU, 570.1'; echo 'Second GPU, 570.1'")
    assert "Toy GPU, 570.1" == accelerator()


@pytest.mark.parametrize(
    "script", [None, "exit 9", "exit 0", "echo"], ids=["no tool", "no driver", "no device", "empty line"]
)
def test_without_a_device_there_is_no_accelerator(driver, script):
    driver(script)
    assert accelerator() is None
    assert "no CUDA device: nvidia-smi finds none" == no_cuda()


def test_a_driver_alone_is_no_device(driver, monkeypatch):
    driver("echo 'Toy GPU, 570.1'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    probe = "from harness.util.machine import no_cuda; print(no_cuda())"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=HERE)
    assert "no CUDA device: torch.cuda.is_available() is False" == done.stdout.strip()


# The commit


def test_a_clean_tree_is_its_commit(repository):
    assert (git(repository, "rev-parse", "HEAD"), False) == commit_of(repository)
    assert commit_of(repository) == commit_of(repository / "suites")


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("suites/test_toy.py", True),
        ("suites/test_new.py", True),
        ("new.txt", True),
        ("results/toy.json", False),
        ("results/new.json", False),
        ("suites/results.txt", True),
    ],
)
@pytest.mark.parametrize("seen_from", ["", "suites", "results"])
def test_a_change_anywhere_but_in_the_results_makes_a_tree_dirty(repository, path, dirty, seen_from):
    (repository / path).write_text("two")
    assert dirty == commit_of(repository / seen_from)[1]


def test_a_staged_change_is_a_change(repository):
    (repository / "suites" / "test_toy.py").write_text("two")
    git(repository, "add", ".")
    assert commit_of(repository)[1]


def test_a_folder_without_a_repository_has_no_commit(tmp_path):
    assert (None, False) == commit_of(tmp_path)


def test_a_repository_without_a_commit_has_none(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert (None, False) == commit_of(tmp_path)


def test_without_git_there_is_no_commit(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert (None, False) == commit_of(repository)
