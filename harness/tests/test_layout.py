"""Laws of the tree: every module is told of in the README, few may read a clock, and lists of files name files."""

import ast
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import harness
from harness.artifacts import cache
from harness.backends import ONNXRUNTIME_INT8_GUARDED, PYTORCH_INT8
from harness.contracts.backend import Target
from harness.data import encoding
from harness.util.console import Progress
from harness.util.store import Entry

HERE = Path(harness.__file__).parent
README = HERE.parent / "README.md"
CLOCKS = {
    "workers/worker.py": "times answers, and is the only module that does",
    "cache.py": "tells what building something took: a cost to know, never compared",
    "ready.py": "dates a measurement",
    "contest.py": "dates finals",
}
"""Modules that may read a clock, and what for; those of `selftest/` time the harness itself, and tests themselves."""
READERS = re.compile(r"(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?|(utc)?now|today")


def modules(*without):
    found = {path.relative_to(HERE).as_posix(): path for path in HERE.rglob("*.py")}
    return {name: path for name, path in found.items() if not name.startswith(without)}


def reads_clock(code):
    """Whether a program takes a reading from `time` or `datetime`, or the means to."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            if any(READERS.fullmatch(name.name) for name in node.names):
                return True
        elif isinstance(node, ast.Attribute) and READERS.fullmatch(node.attr):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner in ("time", "datetime", "date"):
                return True
    return False


def test_only_a_few_modules_read_a_clock_each_for_a_reason():
    found = {name for name, path in modules("tests/", "selftest/").items() if reads_clock(path.read_text())}
    assert set(CLOCKS) == found


@pytest.mark.parametrize(
    "code",
    [
        "from time import perf_counter_ns",
        "import time\nbegan = time.monotonic()",
        "import time\nclock = time.time_ns",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.now()",
    ],
)
def test_a_clock_is_found_however_it_is_read(code):
    assert reads_clock(code)


@pytest.mark.parametrize(
    "code", ["import time\ntime.sleep(1)", "from time import sleep", "datetime.fromisoformat(text)", "found.today"]
)
def test_what_only_waits_or_holds_a_date_reads_no_clock(code):
    assert not reads_clock(code)


def test_the_readmes_tree_names_every_module_once():
    tree = re.search(r"^harness/\n(.*?)^\S", README.read_text(), re.DOTALL | re.MULTILINE)[1]
    told, room = [], ""
    for indent, name in re.findall(r"^( +)(\S+)", tree, re.MULTILINE):
        room = "" if len(indent) == 2 else room
        told.append(room + name)
        room = name if name.endswith("/") else room
    listed = {one.split("/")[0] for one in told if one.count("/") == 1 and not one.endswith("/")}
    found = {f"{path.parent.name}/" for path in HERE.glob("*/__init__.py")} | {"tests/"}
    found |= {path.name for path in HERE.glob("*.py")}
    found |= {f"{room}/{path.name}" for room in listed for path in (HERE / room).glob("*.py")}
    assert sorted(name for name in found if not name.endswith("__init__.py")) == sorted(told)


@pytest.mark.parametrize("listed", [cache.CODE, cache.ARTIFACTS, cache.ANSWERS, encoding.CODE])
def test_code_that_keys_what_is_kept_is_there(listed):
    """The digest of a file that is gone says nothing, and never changes again."""
    assert [] == [name for name in listed if not (HERE / name).exists()]


MADE = Entry(Path("checkpoint-0123456789ab"), {}, 0.0)
ROWS = SimpleNamespace(sha256="0", metric="accuracy", max_drop=0.01)


class Asked(Exception):
    """By which key the store was asked."""


@pytest.fixture
def key(monkeypatch):
    """The key that a workshop whose harness is the copy in a folder asks the store by."""

    def get(name, key, build):
        raise Asked(key)

    kind = SimpleNamespace(name="toy")
    shop = cache.Artifacts(
        task=SimpleNamespace(name="task", kind=kind, metrics=("accuracy",)),
        model=SimpleNamespace(name="model"),
        folder=HERE,
        target=Target("cpu", 1),
        store=SimpleNamespace(get=get),
        progress=Progress(),
        timeout_s=1.0,
        retrain=False,
    )

    def found(folder, ask):
        monkeypatch.setattr(cache, "HARNESS", folder)
        with pytest.raises(Asked) as asked:
            ask(shop)
        return asked.value.args[0]

    return found


@pytest.mark.parametrize(
    ("changed", "ask"),
    [
        ("onnx_int8.py", lambda shop: shop.artifact(ONNXRUNTIME_INT8_GUARDED, MADE, lambda: ROWS)),
        ("torch_compile.py", lambda shop: shop.answers(PYTORCH_INT8, MADE, None)),
    ],
)
def test_what_a_backend_takes_from_another_ones_file_is_part_of_its_key(tmp_path, key, changed, ask):
    there = shutil.copytree(HERE, tmp_path / "there", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    other = shutil.copytree(there, tmp_path / "other")
    assert key(there, ask) == key(other, ask)
    later = shutil.copytree(there, tmp_path / "later")
    (later / "backends" / changed).write_text("# nothing as it was")
    assert key(there, ask) != key(later, ask)
