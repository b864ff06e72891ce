"""Laws of folders that are built once: the right key, built once, whole or not at all."""

import hashlib
import json
import os
import runpy
import signal
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.util.fingerprints import canonical, file_sha256, fingerprint, tree_sha256
from harness.util.store import MARKER, Store, size_bytes

LAW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@dataclass(frozen=True)
class Recipe:
    """A toy declaration."""

    epochs: int
    options: dict = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Diet:
    """The same fields under another name."""

    epochs: int
    options: dict = field(default_factory=dict, hash=False)


@dataclass
class Builder:
    """Writes one file and counts how often it was asked to."""

    text: str = "weights"
    built: int = 0

    def __call__(self, out):
        self.built += 1
        (out / "folder").mkdir()
        (out / "folder" / "weights.bin").write_text(self.text)
        return {"number": self.built}


@dataclass
class Shop:
    """A store and what it said."""

    root: Path
    said: list = field(default_factory=list)

    @property
    def store(self):
        return Store(self.root, self.said.append)

    def get(self, build, **options):
        return self.store.get("task/model/checkpoint", "abc", build, **options)

    def left(self):
        """Names of everything that lies about, locks aside."""
        return sorted(path.name for path in (self.root / "task/model").iterdir() if path.suffix != ".lock")


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "store")


# Digests


def test_a_file_has_the_digest_of_its_bytes(tmp_path):
    path = tmp_path / "abc.txt"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(path) == tree_sha256(path)


def tree(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_has_the_digest_of_its_sorted_lines(tmp_path):
    tree(tmp_path, {"b.txt": "two", "a/c.txt": "one"})
    lines = f"a/c.txt {hashlib.sha256(b'one').hexdigest()}\nb.txt {hashlib.sha256(b'two').hexdigest()}\n"
    assert hashlib.sha256(lines.encode()).hexdigest() == tree_sha256(tmp_path)


def test_the_digest_of_a_folder_depends_on_its_files_alone(tmp_path):
    one = tree(tmp_path / "one", {"a.txt": "1", "b/c.txt": "2"})
    other = tree(tmp_path / "other", {"b/c.txt": "2", "a.txt": "1", "__pycache__/a.cpython-311.pyc": "code"})
    assert tree_sha256(one) == tree_sha256(other)


@pytest.mark.parametrize(
    "files",
    [{"a.txt": "1", "b.txt": "3"}, {"a.txt": "1", "c.txt": "2"}, {"a.txt": "1"}, {"a.txt": "1", "b.txt": "2", "d": ""}],
    ids=["content", "name", "fewer", "more"],
)
def test_every_change_in_a_folder_changes_its_digest(tmp_path, files):
    before = tree_sha256(tree(tmp_path / "before", {"a.txt": "1", "b.txt": "2"}))
    assert before != tree_sha256(tree(tmp_path / "after", files))


# Fingerprints


@LAW
@given(values, values)
def test_fingerprints_are_equal_where_the_values_are(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert same == (fingerprint(one) == fingerprint(other))


@LAW
@given(st.dictionaries(st.text(max_size=3), leaves, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter_to_a_fingerprint(value, dice):
    shuffled = dict(dice.sample(list(value.items()), len(value)))
    assert fingerprint(value) == fingerprint(shuffled)


def test_a_fingerprint_is_twelve_hex_digits():
    assert len(fingerprint("anything")) == 12
    assert int(fingerprint("anything"), 16) >= 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Recipe(1), Recipe(2)),
        (Recipe(1), Recipe(1, {"fp16": True})),
        (Recipe(1), Diet(1)),
        (("a", "b"), ("ab",)),
        (("a", ("b",)), (("a", "b"),)),
        (1, "1"),
        (None, "None"),
        ((), None),
        (True, 1),
    ],
)
def test_what_differs_has_another_fingerprint(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_a_declaration_is_known_by_its_fields():
    assert canonical(Recipe(3, {1: (2, "three")})) == {"type": "Recipe", "epochs": 3, "options": {"1": [2, "three"]}}


def function(folder, text):
    tree(folder, {"suite.py": text})
    return runpy.run_path(str(folder / "suite.py"))["read"]


def test_a_function_is_known_by_its_name_and_its_file(tmp_path):
    one = function(tmp_path / "one", "def read(): return 1\n")
    same = function(tmp_path / "same", "def read(): return 1\n")
    other = function(tmp_path / "other", "def read(): return 2\n")
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one) != fingerprint(other)


@dataclass
class Fixed:
    """Reads a file in a certain way; its text holds an address."""

    way: str

    def read(self, path):
        return [self.way, path]


@pytest.mark.parametrize("value", [object(), Fixed("fast").read, partial(tree, files={})], ids=type)
def test_what_has_no_text_of_its_own_is_refused(value):
    with pytest.raises(HarnessError, match="cannot be fingerprinted; use plain values and functions of a module"):
        fingerprint({"read": value})


def test_the_order_of_a_set_does_not_matter_to_a_fingerprint():
    # 0 and 8 collide in a small set's table, so that each set lists first what it was given first.
    assert fingerprint({0, 8}) == fingerprint({8, 0})


# The store


def test_an_entry_is_built_once(shop):
    build = Builder()
    first, second = shop.get(build), shop.get(build)
    assert build.built == 1
    assert first == second
    assert second.info == {"number": 1}
    assert (second.path / "folder" / "weights.bin").read_text() == "weights"
    assert shop.said == []


def test_an_entry_outlives_the_store(shop):
    build = Builder()
    shop.get(build)
    assert Shop(shop.root).get(build).info == {"number": 1}
    assert build.built == 1


def test_another_key_is_another_entry(shop):
    build = Builder()
    one = shop.store.get("name", "one", build)
    other = shop.store.get("name", "other", build)
    assert build.built == 2
    assert one.path != other.path


def test_asked_for_a_fresh_one_it_builds_again(shop):
    build = Builder()
    shop.get(build)
    assert shop.get(build, fresh=True).info == {"number": 2}
    assert shop.get(build).info == {"number": 2}


def damage_content(folder):
    (folder / "folder" / "weights.bin").write_text("bits rot")


def damage_missing(folder):
    (folder / "folder" / "weights.bin").unlink()


def damage_extra(folder):
    (folder / "stray.txt").write_text("")


def damage_marker(folder):
    (folder / MARKER).unlink()


def damage_half(folder):
    text = (folder / MARKER).read_text()
    (folder / MARKER).write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_content, "checkpoint-abc: corrupt (folder/weights.bin); building it again"),
        (damage_missing, "checkpoint-abc: corrupt (folder/weights.bin); building it again"),
        (damage_extra, "checkpoint-abc: corrupt (stray.txt); building it again"),
        (damage_marker, "checkpoint-abc: half-written; building it again"),
        (damage_half, "checkpoint-abc: half-written; building it again"),
    ],
)
def test_a_damaged_entry_is_built_again_and_that_is_said(shop, damage, said):
    build = Builder()
    damage(shop.get(build).path)
    found = shop.get(build)
    assert found.info == {"number": 2}
    assert (found.path / "folder" / "weights.bin").read_text() == "weights"
    assert [said] == shop.said
    assert shop.left() == ["checkpoint-abc"]


@LAW
@given(
    st.binary(max_size=30)
    | values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(["files", "info", "seconds"]), values).map(lambda v: json.dumps(v).encode())
)
@example(b"")
@example(b"[]")
@example(b"0")
@example(b'{"files": []}')
@example(b'{"files": {}}')
@example(b"\xff")
def test_whatever_stands_in_a_marker_the_entry_can_be_had(tmp_path, marker):
    shop, build = Shop(tmp_path / "store"), Builder()
    entry = shop.get(build, fresh=True)
    (entry.path / MARKER).write_bytes(marker)
    found = shop.get(build)
    assert found.info == {"number": 2}
    assert (found.path / "folder" / "weights.bin").read_text() == "weights"


def test_a_marker_without_information_is_no_marker(shop):
    build = Builder()
    marker = shop.get(build).path / MARKER
    marker.write_text(json.dumps({"files": json.loads(marker.read_text())["files"]}))
    assert shop.get(build).info == {"number": 2}


def test_byte_code_written_on_use_is_no_damage(shop):
    build = Builder()
    entry = shop.get(build)
    tree(entry.path, {"__pycache__/module.cpython-311.pyc": "code"})
    shop.get(build)
    assert build.built == 1


def test_a_failed_build_leaves_nothing(shop):
    def build(out):
        (out / "half.bin").write_text("half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        shop.get(build)
    assert shop.left() == []
    assert shop.get(Builder()).info == {"number": 1}


def test_a_failed_rebuild_leaves_what_was_there(shop):
    def fail(out):
        raise RuntimeError("out of memory")

    build = Builder()
    shop.get(build)
    with pytest.raises(RuntimeError, match="out of memory"):
        shop.get(fail, fresh=True)
    assert shop.get(build).info == {"number": 1}
    assert build.built == 1
    assert shop.left() == ["checkpoint-abc"]


def killed(action):
    """Run `action` in a fork of this process, which is to end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def build_and_die(out):
    (out / "half.bin").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_build_is_not_taken_for_a_finished_one(shop):
    killed(lambda: shop.get(build_and_die))
    found = shop.get(Builder())
    assert found.info == {"number": 1}
    assert sorted(path.name for path in found.path.iterdir()) == ["folder", MARKER]


def test_a_killed_rebuild_leaves_what_was_there(shop):
    build = Builder()
    shop.get(build)
    killed(lambda: shop.get(build_and_die, fresh=True))
    assert shop.get(build).info == {"number": 1}
    assert build.built == 1


def test_what_a_killed_build_left_is_swept_up_by_the_next(shop):
    killed(lambda: shop.get(build_and_die))
    shop.get(Builder())
    assert shop.left() == ["checkpoint-abc"]


def test_two_who_want_the_same_build_it_once(shop):
    build, started, go_on = Builder(), threading.Event(), threading.Event()

    def slow(out):
        started.set()
        go_on.wait(30)
        return build(out)

    found = []
    threads = [threading.Thread(target=lambda: found.append(shop.get(slow))) for _ in range(2)]
    threads[0].start()
    started.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert build.built == 1
    assert len(found) == 2
    assert found[0] == found[1]


def test_the_size_of_an_entry_leaves_its_marker_out(shop):
    assert len("weights") == size_bytes(shop.get(Builder()).path)


def test_the_size_of_an_entry_does_not_depend_on_whether_it_was_used(shop):
    entry = shop.get(Builder())
    tree(entry.path, {"__pycache__/module.cpython-311.pyc": "code"})
    assert len("weights") == size_bytes(entry.path)
