"""Entries that machines share over a place outside of them; a bucket over HTTP is in the slow tests."""

import hashlib
import json
import sys
import uuid

import fsspec
import pytest

from harness.errors import HarnessError
from harness.util.remote import OBJECTS, Remote
from harness.util.store import MARKER, Store

NAME = "task/model/checkpoint-abc"
WEIGHTS = hashlib.sha256(b"weights").hexdigest()


class Machine:
    """A store of its own, the place that it shares, and what it built and said."""

    def __init__(self, root, url):
        self.store = Store(root, self.say, self.say, Remote(url))
        self.built, self.lines = 0, []

    def say(self, line):
        self.lines.append(line)

    def build(self, out):
        self.built += 1
        (out / "folder").mkdir()
        (out / "folder" / "weights.bin").write_text("weights")
        (out / "config.json").write_text("{}")
        return {"number": self.built}

    def get(self, **options):
        return self.store.get("task/model/checkpoint", "abc", self.build, **{"shared": True} | options)


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/shared"


@pytest.fixture
def machines(tmp_path, url):
    return Machine(tmp_path / "one", url), Machine(tmp_path / "other", url)


@pytest.fixture
def files():
    return fsspec.filesystem("memory")


def test_entry_is_built_on_one_machine_and_fetched_by_the_other(machines, url):
    one, other = machines
    first, second = one.get(), other.get()
    assert (1, 0) == (one.built, other.built)
    assert (first.info, first.seconds) == (second.info, second.seconds)
    assert "weights" == (second.path / "folder" / "weights.bin").read_text()
    assert (first.path / MARKER).read_bytes() == (second.path / MARKER).read_bytes()
    assert [f"checkpoint-abc: taken from {url}"] == other.lines
    other.get()
    assert 0 == other.built


def test_machines_that_build_at_once_go_on_with_the_entry_that_was_shared_first(machines, url):
    one, other = machines

    def build(out):
        one.get()
        (out / "weights.bin").write_text("others")
        return {"number": 7}

    late = other.store.get("task/model/checkpoint", "abc", build, shared=True)
    assert {"number": 1} == late.info
    assert ["config.json", "folder", MARKER] == sorted(path.name for path in late.path.iterdir())
    assert (late.path / MARKER).read_bytes() == (one.get().path / MARKER).read_bytes()
    assert [f"checkpoint-abc: taken from {url}"] == other.lines


def test_entry_that_is_shared_during_an_upload_came_first(machines, monkeypatch):
    one, other = machines
    own, remote = other.store.remote._files.put_file, other.store.remote

    def put(*arguments):
        if not one.built:
            one.get()
        own(*arguments)

    monkeypatch.setattr(remote._files, "put_file", put)
    late = other.store.get("task/model/checkpoint", "abc", lambda out: (out / "x").write_text("x") and {}, shared=True)
    assert {"number": 1} == late.info
    assert 1 == one.built


def test_entry_that_was_here_before_stays(machines):
    one, other = machines
    other.store.get("task/model/checkpoint", "abc", lambda out: {"number": 7})
    one.get()
    assert {"number": 7} == other.get().info


def test_entries_that_are_not_shared_stay_here(machines, url, files):
    machines[0].get(shared=False)
    assert not files.exists(url)


def test_marker_is_written_after_all_files(machines, url, monkeypatch):
    remote, written = machines[0].store.remote, []
    for name in ("put_file", "pipe_file"):
        path = 1 if name == "put_file" else 0
        monkeypatch.setattr(remote._files, name, lambda *args, path=path: written.append(args[path]))
    machines[0].get()
    assert f"{url}/{NAME}.json" == written[-1]
    assert 2 == sum(OBJECTS in path for path in written[:-1]) == len(written) - 1


def test_upload_that_stops_half_way_is_no_entry(machines, url, files):
    one, other = machines
    one.get()
    files.rm_file(f"{url}/{NAME}.json")  # the last that it would have written
    other.get()
    assert (1, 1) == (one.built, other.built)
    assert files.exists(f"{url}/{NAME}.json")


def test_entry_from_before_the_place_was_shared_is_offered(machines, url, files):
    machines[0].get(shared=False)
    machines[0].get()
    assert 1 == machines[0].built
    assert b"weights" == files.cat_file(f"{url}/{OBJECTS}/{WEIGHTS}")


def test_corrupt_entry_is_fetched_again(machines):
    one, other = machines
    path = one.get().path
    other.get()
    (path / "config.json").write_text("bits rot")
    one.get()
    assert (1, "{}") == (one.built, (path / "config.json").read_text())


def test_something_else_under_a_digest_is_refused_before_anything_is_built(machines, url, files):
    one, other = machines
    one.get()
    files.pipe_file(f"{url}/{OBJECTS}/{WEIGHTS}", b"wrights")
    with pytest.raises(
        HarnessError, match=f"{OBJECTS}/{WEIGHTS}: holds something else, whose sha256 is [0-9a-f]+; find"
    ):
        other.get()
    assert 0 == other.built
    assert [] == [path.name for path in (other.store.root / "task/model").iterdir() if path.suffix != ".lock"]
    other.get(fresh=True)
    assert b"weights" == files.cat_file(f"{url}/{OBJECTS}/{WEIGHTS}")


def test_missing_object_is_refused(machines, url, files):
    one, other = machines
    one.get()
    files.rm_file(f"{url}/{OBJECTS}/{WEIGHTS}")
    with pytest.raises(HarnessError, match=f"{url}: cannot be read: FileNotFoundError"):
        other.get()
    assert 0 == other.built


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", f"{NAME}.json: not an entry's marker: .*; remove it"),
        (json.dumps({"files": {"../x": "00"}, "info": {}, "seconds": 1}).encode(), "'../x', which lies outside of it"),
        (json.dumps({"files": {"/x": "00"}, "info": {}, "seconds": 1}).encode(), "'/x', which lies outside of it"),
        (json.dumps({"files": {"x": ""}, "info": {}, "seconds": 1}).encode(), "cannot be read: IsADirectoryError"),
        (json.dumps({"files": {"x": WEIGHTS, "x/y": WEIGHTS}, "info": {}, "seconds": 1}).encode(), "cannot be read: "),
    ],
)
def test_marker_of_no_entry_is_refused(machines, url, files, content, message):
    files.pipe_file(f"{url}/{OBJECTS}/{WEIGHTS}", b"weights")
    files.pipe_file(f"{url}/{NAME}.json", content)
    with pytest.raises(HarnessError, match=message):
        machines[0].get()
    assert 0 == machines[0].built


def test_entry_that_cannot_be_shared_is_used_here(machines, monkeypatch):
    def refuse(*args):
        raise PermissionError("read only")

    monkeypatch.setattr(machines[0].store.remote._files, "put_file", refuse)
    assert {"number": 1} == machines[0].get().info
    (line,) = machines[0].lines
    assert "checkpoint-abc: not shared: memory://" in line
    assert "cannot be written: PermissionError: read only" in line


def test_place_is_checked_by_writing_and_leaves_nothing(url, files):
    Remote(url).check()
    assert [] == files.find(url)


def test_place_that_returns_something_else_is_refused(url, files, monkeypatch):
    monkeypatch.setattr(type(files), "cat_file", lambda self, path: b"")
    with pytest.raises(HarnessError, match="returns b'' where b'shipbench' was written"):
        Remote(url).check()


@pytest.mark.parametrize(
    ("name", "denied", "message"),
    [
        ("cat_file", ".json", "cannot be read: PermissionError: no"),
        ("pipe_file", "", "cannot be written and read: PermissionError: no"),
        ("rm_file", "", "cannot be cleared of the file that was written to try it: PermissionError: no"),
    ],
)
def test_place_that_denies_a_right_is_refused(url, files, monkeypatch, name, denied, message):
    own = getattr(type(files), name)

    def deny(self, path, *arguments):
        if path.endswith(denied):
            raise PermissionError("no")
        return own(self, path, *arguments)

    monkeypatch.setattr(type(files), name, deny)
    with pytest.raises(HarnessError, match=f"{url}: {message}"):
        Remote(url).check()


def test_place_of_another_sort_is_refused():
    with pytest.raises(HarnessError, match="nowhere://x: cannot be read: ValueError: Protocol not known"):
        Remote("nowhere://x").check()


def test_place_whose_package_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(HarnessError, match="s3://bucket: Install s3fs to access S3; pip install it on every machine"):
        Remote("s3://bucket").check()
