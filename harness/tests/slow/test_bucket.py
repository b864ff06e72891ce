"""Checkpoints that machines share in a bucket, over HTTP from a server of this machine that speaks S3."""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Toy
from harness.errors import HarnessError
from harness.util.remote import OBJECTS, Remote

pytest.importorskip("s3fs", reason="needs s3fs")
server = pytest.importorskip("moto.server", reason="needs moto[s3] and flask-cors")
pytest_plugins = "pytester"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, and the way to it for this process and those that it starts."""
    import s3fs

    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "toy",
        "AWS_SECRET_ACCESS_KEY": "toy",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"toys-{uuid.uuid4().hex}"  # the server's buckets outlive it, in this process
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}/shared"
    running.stop()


def test_bucket_gives_what_was_written_and_refuses_what_is_not_there(bucket: str, tmp_path: Path) -> None:
    remote = Remote(bucket)
    remote.check()
    large = bytes(range(256)) * 2**16
    (tmp_path / "large").write_bytes(large)
    digest = hashlib.sha256(large).hexdigest()
    assert remote.marker("task/model/checkpoint-abc") is None
    remote.upload("task/model/checkpoint-abc", b"{}", {"large": digest}, tmp_path)
    assert b"{}" == remote.marker("task/model/checkpoint-abc")
    remote.download({"a/large": digest}, tmp_path)
    assert large == (tmp_path / "a/large").read_bytes()
    with pytest.raises(HarnessError, match="s3://none/shared: cannot be written and read: FileNotFoundError"):
        Remote("s3://none/shared").check()


def test_checkpoint_is_trained_once_and_refused_where_it_was_changed(bucket: str, toy: Toy, tmp_path: Path) -> None:
    import s3fs

    toy.copy("passing.py", "own.py", "bag.py")
    options = ("-p", "no:randomly", "-k", "numpy", "--ship-budget=0.4", f"--ship-artifacts={bucket}")

    def run_on(machine: str):
        """Run the suite with a cache of its own, as another machine has it."""
        return toy.run(*options, env={"XDG_CACHE_HOME": str(tmp_path / machine)}, page=True)

    first = run_on("one")
    assert 0 == first.status, first.text
    assert "fine-tune took" in first.text
    second = run_on("other")
    assert 0 == second.status, second.text
    assert "fine-tune" not in second.text
    assert f": taken from {bucket}" in second.text
    assert not (toy.folder / ".artifacts").exists()
    files = s3fs.S3FileSystem()
    (marker,) = [path for path in files.find(bucket) if f"/{OBJECTS}/" not in path]  # and no trial of writing
    assert "/toy/bag/checkpoint-" in marker
    for path in files.find(f"{bucket}/{OBJECTS}"):
        files.pipe_file(path, b"another checkpoint")
    third = run_on("third")
    assert 1 == third.status
    assert "holds something else, whose sha256 is" in third.text
    assert "fine-tune" not in third.text


def test_bucket_that_is_not_there_is_refused_before_anything_starts(bucket: str, toy: Toy) -> None:
    toy.copy("passing.py", "own.py", "bag.py")
    run = toy.run("-p", "no:randomly", "-k", "numpy", "--ship-artifacts=s3://none/x", page=True)
    assert 4 == run.status
    assert "s3://none/x: cannot be written and read: FileNotFoundError" in run.text
    assert not (toy.folder / "results").exists()
