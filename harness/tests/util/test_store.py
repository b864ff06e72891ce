"""Entries of a store are built once, verified on use, and whole or absent."""

import json
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.util.store import MARKER, Store, size_bytes

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@dataclass
class Builder:
    """Writes one file and counts its calls."""

    text: str = "weights"
    built: int = 0

    def __call__(self, out):
        self.built += 1
        (out / "folder").mkdir()
        (out / "folder" / "weights.bin").write_text(self.text)
        return {"number": self.built}


@dataclass
class Shop:
    """A store and its messages."""

    root: Path
    messages: list = field(default_factory=list)

    @property
    def store(self):
        return Store(self.root, self.messages.append)

    def get(self, build, **options):
        return self.store.get("task/model/checkpoint", "abc", build, **options)

    def names(self):
        """Return the names of everything but locks."""
        return sorted(path.name for path in (self.root / "task/model").iterdir() if path.suffix != ".lock")


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "store")


def test_entry_is_built_once(shop):
    build = Builder()
    first, second = shop.get(build), Shop(shop.root).get(build)
    assert build.built == 1
    assert first == second
    assert second.info == {"number": 1}
    assert (second.path / "folder" / "weights.bin").read_text() == "weights"
    assert shop.messages == []


def test_another_key_is_another_entry(shop):
    build = Builder()
    one = shop.store.get("name", "one", build)
    other = shop.store.get("name", "other", build)
    assert build.built == 2
    assert one.path != other.path


def test_fresh_builds_again(shop):
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
    ("damage", "message"),
    [
        (damage_content, "checkpoint-abc: corrupt (folder/weights.bin); building it again"),
        (damage_missing, "checkpoint-abc: corrupt (folder/weights.bin); building it again"),
        (damage_extra, "checkpoint-abc: corrupt (stray.txt); building it again"),
        (damage_marker, f"checkpoint-abc: corrupt ({MARKER}); building it again"),
        (damage_half, f"checkpoint-abc: corrupt ({MARKER}); building it again"),
    ],
)
def test_damaged_entry_is_built_again_with_a_message(shop, damage, message):
    build = Builder()
    damage(shop.get(build).path)
    found = shop.get(build)
    assert found.info == {"number": 2}
    assert (found.path / "folder" / "weights.bin").read_text() == "weights"
    assert [message] == shop.messages
    assert shop.names() == ["checkpoint-abc"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
def test_any_damage_to_the_marker_builds_again(tmp_path, marker):
    shop, build = Shop(tmp_path / "store"), Builder()
    entry = shop.get(build, fresh=True)
    (entry.path / MARKER).write_bytes(marker)
    found = shop.get(build)
    assert found.info == {"number": 2}
    assert (found.path / "folder" / "weights.bin").read_text() == "weights"


def test_marker_without_information_builds_again(shop):
    build = Builder()
    marker = shop.get(build).path / MARKER
    marker.write_text(json.dumps({"files": json.loads(marker.read_text())["files"]}))
    assert shop.get(build).info == {"number": 2}


def test_byte_code_is_neither_damage_nor_size(shop):
    build = Builder()
    entry = shop.get(build)
    (entry.path / "module.pyc").write_text("code")
    assert len("weights") == size_bytes(entry.path)
    shop.get(build)
    assert build.built == 1


def test_failed_build_leaves_nothing(shop):
    def build(out):
        (out / "half.bin").write_text("half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        shop.get(build)
    assert shop.names() == []
    assert shop.get(Builder()).info == {"number": 1}


def test_failed_rebuild_keeps_the_entry(shop):
    def fail(out):
        raise RuntimeError("out of memory")

    build = Builder()
    shop.get(build)
    with pytest.raises(RuntimeError, match="out of memory"):
        shop.get(fail, fresh=True)
    assert shop.get(build).info == {"number": 1}
    assert build.built == 1
    assert shop.names() == ["checkpoint-abc"]


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


def test_killed_build_is_not_an_entry(shop):
    killed(lambda: shop.get(build_and_die))
    found = shop.get(Builder())
    assert found.info == {"number": 1}
    assert sorted(path.name for path in found.path.iterdir()) == ["folder", MARKER]
    assert shop.names() == ["checkpoint-abc"]


def test_killed_rebuild_keeps_the_entry(shop):
    build = Builder()
    shop.get(build)
    killed(lambda: shop.get(build_and_die, fresh=True))
    assert shop.get(build).info == {"number": 1}
    assert build.built == 1


def test_concurrent_requests_build_once(shop):
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
