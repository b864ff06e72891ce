"""A session that waits for another's lock says so, whoever's that is."""

import os
import pwd
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.util import locks

NOBODY = 65534
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
    assert first.startswith(f"measure: waiting since 0 s for process {other.pid} of ")
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


@pytest.fixture
def folder(monkeypatch):
    """A folder of machine-wide locks of this test's own, where other users get."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o1777)
        monkeypatch.setenv(locks.FOLDER, place)
        yield Path(place)


def test_machine_lock_is_in_one_place_for_all_users(monkeypatch, tmp_path):
    monkeypatch.delenv(locks.FOLDER, raising=False)
    own, everybodys = tmp_path / "own", tmp_path / "everybody's"
    own.mkdir(mode=0o755)
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    monkeypatch.setattr(locks, "SHARED_FOLDERS", (str(tmp_path / "none"), str(own), str(everybodys)))
    monkeypatch.setenv("TMPDIR", str(own))
    assert everybodys == locks.machine_folder()
    everybodys.chmod(0o755)
    with pytest.raises(HarnessError, match="lets every user create files; set SHIPBENCH_LOCKS to a folder"):
        locks.machine_folder()


def test_machine_lock_of_another_user_is_waited_for_and_named(folder, monkeypatch):
    """The lock's file belongs to somebody else, and nobody but its owner may write it."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    monkeypatch.setattr(locks, "REPEAT_S", 0.2)
    sentences = []
    with locks.hold_on_machine("cpu", "measure", print):
        path = folder / "shipbench-cpu.lock"
        assert 0o666 == stat.S_IMODE(path.stat().st_mode)
        path.chmod(0o444)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            with suppress(BaseException):
                os.setuid(NOBODY) if os.getuid() == 0 else None
                with locks.hold_on_machine("cpu", "measure", lambda text: os.write(writer, f"{text}\n".encode())):
                    os.write(writer, b"held\n")
            os._exit(0)
        os.close(writer)
        lines = os.fdopen(reader)
        sentences += [lines.readline(), lines.readline()]
    assert "held\n" == list(lines)[-1]
    os.waitpid(child, 0)
    user = pwd.getpwuid(os.getuid()).pw_name
    assert sentences[0].startswith(f"measure: waiting since 0 s for process {os.getpid()} of {user} (")
    assert f"which holds {path}" in sentences[1]


def test_shared_locks_are_held_together_and_keep_others_out(folder, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)

    def refuse(text):
        raise InterruptedError(text)

    with (
        locks.hold_on_machine("cpu", "measure", refuse, shared=True),
        locks.hold_on_machine("cpu", "measure", refuse, shared=True),
        pytest.raises(InterruptedError, match="measure: waiting"),
        locks.hold_on_machine("cpu", "measure", refuse),
    ):
        pass
    with locks.hold_on_machine("cpu", "measure", refuse):
        pass


def test_machine_lock_is_no_link_to_another_file(folder):
    (folder / "shipbench-cpu.lock").symlink_to(folder / "precious")
    with (
        pytest.raises(
            HarnessError, match=r"shipbench-cpu\.lock cannot be opened: .*; make it readable, or set SHIPBENCH"
        ),
        locks.hold_on_machine("cpu", "measure", print),
    ):
        pass
    assert not (folder / "precious").exists()


def test_lock_in_an_impossible_place_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(HarnessError, match=r"measure: .*file/toy.lock cannot be locked: .*; make it writable"),
        locks.hold(tmp_path / "file" / "toy.lock", "measure", print),
    ):
        pass
