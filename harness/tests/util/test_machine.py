"""The environment of a measurement: machine, versions and commit."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

import harness
from harness.errors import HarnessError
from harness.util import machine
from harness.util.machine import PACKAGES, accelerator, check_onnxruntime, commit_of, describe, no_cuda, usable_cores

HERE = Path(harness.__file__).parents[1]


def distribution(folder, name, version="1.0"):
    """Make `importlib.metadata` find `name` in `folder`."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    """A folder that is the only place where distributions are environment."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A function that puts a toy `nvidia-smi`, a shell script, or none on the PATH."""

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
    """A repository with one commit, which has a suite and results."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "suites").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "suites" / "test_toy.py").write_text("one")
    (tmp_path / "results" / "toy.json").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


# The machine


def test_environment_describes_this_machine(tmp_path):
    environment = describe("toy-machine", 2, tmp_path)
    assert ("toy-machine", 2, "passive") == (environment.machine, environment.threads, environment.wait_policy)
    assert (usable_cores(), accelerator()) == (environment.cores, environment.accelerator)
    assert (sys.version.split()[0], None, False) == (environment.python, environment.commit, environment.dirty)
    assert environment.memory_gib > 0
    assert environment.load_before >= 0
    assert environment.cpu
    assert sorted(environment.flags) == list(environment.flags)
    assert environment.system.startswith(os.uname().sysname)


def test_only_lasting_fields_are_compared(tmp_path):
    environment = describe("toy-machine", 2, tmp_path)
    momentary = {"load_before": 99.0, "commit": "ff", "dirty": True, "memory_gib": 0.5}
    assert environment.comparable() == replace(environment, **momentary).comparable()
    lasting = {f.name for f in fields(environment)} - set(momentary)
    for name in lasting:
        assert environment.comparable() != replace(environment, **{name: "another"}).comparable(), name


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_affinity_limits_usable_cores():
    before = os.sched_getaffinity(0)
    assert 1 <= usable_cores() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert 1 == usable_cores()
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, float("inf")),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a", {"unified/a/cpu.max": "100000 100000"}, 1),
        ("1:cpu:/a/b", {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "50000"}, 2),
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 1),
        ("1:cpu:/docker/elsewhere", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ("1:cpuset:/\n0::/", {"cpuset/cpu.cfs_quota_us": "100000"}, float("inf")),
        ("1:cpu:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "broken"}, float("inf")),
    ],
)
def test_smallest_quota_of_all_groups_counts(groups, files, cores, tmp_path):
    (tmp_path / "own").write_text(f"{groups}\n")
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(f"{text}\n")
    assert cores == machine.cpu_quota(tmp_path / "own", tmp_path / "root")
    assert float("inf") == machine.cpu_quota(tmp_path / "missing", tmp_path / "root")


def test_quota_limits_usable_cores_and_is_noted(monkeypatch):
    monkeypatch.setattr(machine, "_affinity", lambda: 8)
    for quota, cores in ((float("inf"), 8), (16, 8), (2.5, 2), (0.5, 1)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert cores == usable_cores()
        assert (quota < 8) == bool(machine.quota_notes())
    assert ["a cgroup's CPU quota of 0.5 cores limits this process, which may run on 8"] == machine.quota_notes()


# Versions


def test_versions_are_those_installed(nothing_installed):
    assert {} == machine.versions()
    distribution(nothing_installed, "torch", "2.99")
    distribution(nothing_installed, "onnxruntime-gpu", "1.99")
    distribution(nothing_installed, "unrelated", "9")
    assert {"torch": "2.99", "onnxruntime-gpu": "1.99"} == machine.versions()
    assert {"torch", "onnxruntime-gpu"} <= set(PACKAGES)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_distribution_of_onnxruntime_is_accepted(nothing_installed, name):
    distribution(nothing_installed, name)
    check_onnxruntime()


def test_both_distributions_of_onnxruntime_are_refused(nothing_installed):
    distribution(nothing_installed, "onnxruntime")
    distribution(nothing_installed, "onnxruntime-gpu")
    message = (
        "onnxruntime and onnxruntime-gpu are both installed and share one folder, so CUDA disappears silently; "
        r"run: python -m pip uninstall -y onnxruntime onnxruntime-gpu, then install one extra, \[cpu\] or \[gpu\]"
    )
    with pytest.raises(HarnessError, match=message):
        check_onnxruntime()


def test_missing_onnxruntime_is_refused_with_the_command(nothing_installed):
    message = r'onnxruntime is not installed; run: python -m pip install -e "\.\[cpu\]" \(or "\.\[gpu\]"\)'
    with pytest.raises(HarnessError, match=message):
        check_onnxruntime()


# The accelerator


def test_accelerator_is_named_as_by_its_driver(driver):
    driver("echo 'Toy GPU, 570.1'; echo 'Second GPU, 570.1'")
    assert "Toy GPU, 570.1" == accelerator()


@pytest.mark.parametrize(
    "script", [None, "exit 9", "exit 0", "echo"], ids=["no tool", "no driver", "no device", "empty line"]
)
def test_no_accelerator_without_device(driver, script):
    driver(script)
    assert accelerator() is None
    assert "no CUDA device: nvidia-smi finds none" == no_cuda()


def test_driver_alone_is_not_a_device(driver, monkeypatch):
    driver("echo 'Toy GPU, 570.1'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    probe = "from harness.util.machine import no_cuda; print(no_cuda())"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=HERE)
    assert "no CUDA device: torch.cuda.is_available() is False" == done.stdout.strip()


# The commit


def test_clean_tree_has_its_commit(repository):
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
def test_change_outside_the_results_makes_a_tree_dirty(repository, path, dirty, seen_from):
    (repository / path).write_text("two")
    assert dirty == commit_of(repository / seen_from)[1]


def test_staged_change_makes_a_tree_dirty(repository):
    (repository / "suites" / "test_toy.py").write_text("two")
    git(repository, "add", ".")
    assert commit_of(repository)[1]


def test_folder_without_a_commit_has_none(tmp_path):
    assert (None, False) == commit_of(tmp_path)
    git(tmp_path, "init", "--quiet")
    assert (None, False) == commit_of(tmp_path)


def test_no_commit_without_git(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert (None, False) == commit_of(repository)
