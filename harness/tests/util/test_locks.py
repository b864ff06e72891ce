"""A session that waits for another's lock says so."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.util import locks

HOLDER = (
    "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); input()"
)


@pytest.fixture
def other(tmp_path):
    """Another process that holds a lock until its input closes."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "toy.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert "held\n" == process.stdout.readline()
        yield process


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system lists no locks")
def test_waiting_names_the_holder_at_first_and_again(tmp_path, other, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    monkeypatch.setattr(locks, "REPEAT_S", 0.2)
    sentences = []
    again = threading.Event()

    def say(text):
        sentences.append(text)
        if len(sentences) == 3:
            other.stdin.close()
            again.set()

    with locks.hold(tmp_path / "toy.lock", "measure", say):
        assert again.is_set()
    first, second, *_ = sentences
    assert first.startswith(f"measure: waiting since 0 s for process {other.pid} (")
    assert "filelock" in first
    assert f"which holds {tmp_path / 'toy.lock'}" in first
    assert "since 0 s" in second


def test_free_lock_is_taken_in_silence(tmp_path):
    sentences = []
    for _ in range(2):
        with locks.hold(tmp_path / "toy.lock", "measure", sentences.append):
            pass
    assert [] == sentences


def test_holder_without_a_lock_is_another_session(tmp_path):
    (tmp_path / "toy.lock").touch()
    assert "another session" == locks.holder(tmp_path / "toy.lock")


def test_lock_in_an_impossible_place_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(HarnessError, match=r"measure: .*file/toy.lock cannot be locked: .*; make it writable"),
        locks.hold(tmp_path / "file" / "toy.lock", "measure", print),
    ):
        pass
