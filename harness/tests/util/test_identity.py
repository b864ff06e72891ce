"""Digests change with files, code and declarations alone; functions are named by file and loaded again anywhere."""

import hashlib
import importlib.util
import json
import os
import runpy
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.backends import onnxruntime
from harness.errors import HarnessError
from harness.stats import intervals
from harness.stats.intervals import rare_event_bound
from harness.util import identity
from harness.util.identity import (
    canonical,
    code_digest,
    file_sha256,
    fingerprint,
    is_built_in,
    load_symbol,
    module_file,
    python_path,
    symbol_of,
    tree_sha256,
)

LAW = settings(max_examples=60)

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def write(folder, **files):
    """Write these Python modules, or other files where the name has a suffix, and return the folder."""
    for name, text in files.items():
        path = folder / (name if "." in name else f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# Files and folders


def test_file_digest_is_sha256_of_its_bytes(tmp_path):
    path = tmp_path / "abc.txt"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == tree_sha256(path)


def test_folder_digest_is_of_sorted_lines_without_byte_code(tmp_path):
    write(tmp_path, **{"b.txt": "two", "a/c.txt": "one", "__pycache__/a.pyc": "code"})
    lines = f"a/c.txt {hashlib.sha256(b'one').hexdigest()}\nb.txt {hashlib.sha256(b'two').hexdigest()}\n"
    assert hashlib.sha256(lines.encode()).hexdigest() == tree_sha256(tmp_path)


def test_file_names_need_not_be_utf_8(tmp_path):
    (tmp_path / "\udcff.txt").write_text("1")
    before = tree_sha256(tmp_path)
    (tmp_path / "\udcff.txt").rename(tmp_path / "\udcfe.txt")
    assert before != tree_sha256(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"a.txt": "1", "b.txt": "3"},
        {"a.txt": "1", "c.txt": "2"},
        {"a.txt": "1"},
        {"a.txt": "1", "b.txt": "2", "d.txt": ""},
    ],
    ids=["content", "name", "fewer", "more"],
)
def test_any_change_in_a_folder_changes_its_digest(tmp_path, files):
    before = tree_sha256(write(tmp_path / "before", **{"a.txt": "1", "b.txt": "2"}))
    assert before != tree_sha256(write(tmp_path / "after", **files))


# Code

CODE = """from __future__ import annotations
from typing import TYPE_CHECKING
import harness.helper
if TYPE_CHECKING:
    from harness.other import Kind
def scale(value: float, kind: Kind) -> float:
    return harness.helper.double(value)
"""
HELPER = "from harness.deep import TWO\ndef double(value):\n    return TWO * value\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Toy modules in place of the harness; returns a function from changed modules to the digest of `code`."""
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)

    def digest(**changes):
        identity._code.cache_clear()
        write(tmp_path, **{"code": CODE, "helper": HELPER, "deep": "TWO = 2\n", "other": "Kind = str\n"} | changes)
        return code_digest(tmp_path / "code.py")

    yield digest
    identity._code.cache_clear()


@pytest.mark.parametrize(
    "changes",
    [
        {"code": f'"""A module."""\n{CODE}'},
        {"code": CODE.replace("-> float:\n", '-> float:\n    """Return twice the value."""\n')},
        {"code": f"# why\n{CODE}"},
        {"code": CODE.replace("(value: float, kind: Kind)", "(\n    value: float,\n    kind: Kind,\n)")},
        {"code": CODE.replace("harness.other import Kind", "harness.deep import Kind")},
        {"helper": f'"""Helpers."""\n\n\n{HELPER}'},
        {"other": "Kind = int\n"},
        {"unrelated": "x = 1\n"},
    ],
    ids=str,
)
def test_code_digest_ignores_what_does_not_run(package, changes):
    assert package() == package(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": CODE.replace("double(value)", "double(2 * value)")},
        {"code": CODE.replace("scale", "rescale")},
        {"helper": HELPER.replace("TWO *", "TWO +")},
        {"deep": "TWO = 3\n"},
        {"code": f"{CODE}    from harness.other import Kind\n"},
    ],
    ids=str,
)
def test_code_digest_shows_changed_code_at_any_depth(package, changes):
    assert package() != package(**changes)


def test_code_digest_follows_nested_and_circular_imports(package):
    lazy = CODE.replace("import harness.helper\n", "").replace("    return", "    import harness.helper\n    return")
    assert package(code=lazy) != package(code=lazy, deep="TWO = 3\n")
    assert package(deep="TWO = 2\nimport harness.code\n") == package(deep="TWO = 2\nimport harness.code\n")


@pytest.mark.parametrize(
    "statement", ["import bbc", "from bbc import TWO", "from .bbc import TWO", "from . import bbc"]
)
def test_code_digest_of_a_suite_follows_files_beside_it(tmp_path, statement):
    folder = write(tmp_path, suite=f"{statement}\nimport json\n", bbc="import parts.deep\nTWO = 2\n", other="X = 1\n")
    write(folder, **{"parts/deep.py": "THREE = 3\n"})

    def digest(**changes):
        identity._code.cache_clear()
        return code_digest(write(folder, **changes) / "suite.py")

    before = digest()
    assert before == digest(other="X = 2\n")
    changed = digest(bbc="import parts.deep\nTWO = 3\n")
    assert before != changed != digest(**{"parts/deep.py": "THREE = 4\n"})


def closure(name):
    """The modules that run wherever this one does, by their names."""
    pending, seen = [module_file(name)], set()
    while pending:
        path = pending.pop()
        if path not in seen:
            seen.add(path)
            pending += identity._code(path)[1]
    folder = module_file(harness.__name__ + ".spec").parent
    return {path.relative_to(folder).with_suffix("").as_posix() for path in seen}


def test_checkpoints_do_not_depend_on_declarations_or_measuring():
    used = closure("harness.training.train")
    assert {"training/loops", "data/splits", "evaluation/score", "checkpoint"} <= used
    foreign = ("spec", "results/", "measure/", "backends/", "artifacts/", "verdicts/", "evaluation/answers")
    assert [] == [name for name in used if name.startswith(foreign)]


# Declarations


@dataclass(frozen=True)
class Recipe:
    """A toy declaration."""

    epochs: int
    options: dict = field(default_factory=dict, hash=False)
    note: str = field(default="", compare=False)


@dataclass(frozen=True)
class Diet:
    """The same fields under another name."""

    epochs: int
    options: dict = field(default_factory=dict, hash=False)


@LAW
@given(values, values)
def test_fingerprints_are_equal_where_values_are(one, other):
    equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert equal == (fingerprint(one) == fingerprint(other))
    assert 12 == len(fingerprint(one))
    assert int(fingerprint(one), 16) >= 0


@LAW
@given(st.dictionaries(st.text(max_size=3), leaves, max_size=5), st.randoms(use_true_random=False))
def test_fingerprint_ignores_the_order_of_keys(value, rng):
    shuffled = dict(rng.sample(list(value.items()), len(value)))
    assert fingerprint(value) == fingerprint(shuffled)


def test_fingerprint_ignores_the_order_of_a_set():
    # 0 and 8 collide in a small set's table, so each set lists first what it was given first.
    assert fingerprint({0, 8}) == fingerprint({8, 0})


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
def test_different_values_have_different_fingerprints(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_declaration_counts_by_its_compared_fields():
    value = canonical(Recipe(3, {1: (2, "three")}, note="ignored"))
    assert value == {"type": "Recipe", "epochs": 3, "options": {"1": [2, "three"]}}


def test_function_counts_by_its_name_and_code(tmp_path):
    texts = {"one": "def read(): return 1\n", "same": "def read():\n    return 1\n", "other": "def read(): return 2\n"}
    one, same, other = (
        fingerprint(runpy.run_path(str(write(tmp_path / name, suite=text) / "suite.py"))["read"])
        for name, text in texts.items()
    )
    assert one == same != other


class Reader:
    """The text of its method holds an address."""

    def read(self, path):
        return path


@pytest.mark.parametrize("value", [object(), Reader().read, partial(write, files={})], ids=type)
def test_value_whose_text_holds_an_address_is_refused(value):
    with pytest.raises(HarnessError, match="cannot be fingerprinted; use plain values and functions of a module"):
        fingerprint({"read": value})


# Functions


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch, tmp_path):
    """Undo what loading by path adds to the interpreter's path and modules."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name, loaded in list(sys.modules.items()):
        if str(getattr(loaded, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def module(folder, text, name="toy_backend.py"):
    path = folder / name
    path.write_text(text)
    return path


TOY = """
class Toy:
    class Inner:
        answer = 42

    @staticmethod
    def load():
        return "static"

def load():
    return "toy"
"""


def test_function_is_named_by_file_module_and_qualified_name():
    expected = {"file": intervals.__file__, "module": "harness.stats.intervals", "qualname": "rare_event_bound"}
    assert expected == symbol_of(rare_event_bound)


def inner_function():
    def inner():
        pass

    return inner


@pytest.mark.parametrize(
    ("function", "name"),
    [(inner_function(), "inner"), (lambda: None, "<lambda>"), (partial(module), "functools.partial")],
)
def test_function_outside_module_level_is_refused(function, name):
    with pytest.raises(HarnessError, match=f"{name}.*: define functions of backends and kinds at module level"):
        symbol_of(function)


def test_built_in_functions_stand_in_the_package(tmp_path):
    assert is_built_in(onnxruntime.load)
    assert not is_built_in(load_symbol(str(module(tmp_path, TOY)), "load"))


def test_python_path_leads_to_the_package(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    assert f"{Path(harness.__file__).parents[1]}{os.pathsep}mine" == python_path()


def test_importable_function_is_the_same_object():
    assert rare_event_bound is load_symbol(**symbol_of(rare_event_bound))
    assert onnxruntime.load is load_symbol(**symbol_of(onnxruntime.load))


def test_other_files_are_loaded_by_path(tmp_path):
    path = module(tmp_path, TOY)
    assert "toy" == load_symbol(str(path), "load")()


def test_qualified_name_leads_into_classes(tmp_path):
    path = module(tmp_path, TOY)
    assert 42 == load_symbol(str(path), "Toy.Inner.answer")
    assert "static" == load_symbol(str(path), "Toy.load")()


def test_function_loaded_by_path_is_found_again(tmp_path):
    load = runpy.run_path(str(module(tmp_path, TOY)))["load"]
    assert "toy" == load_symbol(**symbol_of(load))()


def test_module_of_another_file_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "shadow").mkdir()
    (tmp_path / "mine").mkdir()
    module(tmp_path / "shadow", "def load():\n    return 'shadow'\n")
    mine = module(tmp_path / "mine", TOY)
    monkeypatch.syspath_prepend(tmp_path / "shadow")
    assert "toy" == load_symbol(str(mine), "load", "toy_backend")()


@pytest.mark.parametrize("name", ["", "no_such_module", "no_such_package.module", "<run_path>", ".", "__main__"])
def test_unknown_module_falls_back_to_the_path(tmp_path, name):
    assert "toy" == load_symbol(str(module(tmp_path, TOY)), "load", name)()


def test_module_of_a_broken_package_is_loaded_by_path(tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    module(tmp_path / "broken", "import no_such_module_at_all\n", "__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert "toy" == load_symbol(str(module(tmp_path, TOY)), "load", "broken.toy_backend")()


def test_file_may_import_its_neighbour(tmp_path):
    module(tmp_path, "ANSWER = 42\n", "toy_neighbour.py")
    path = module(tmp_path, "from toy_neighbour import ANSWER\ndef load():\n    return ANSWER\n")
    assert 42 == load_symbol(str(path), "load")()


def test_file_may_hold_dataclasses(tmp_path):
    text = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Toy:\n"
        "    answer: int = 42\n"
    )
    assert 42 == load_symbol(str(module(tmp_path, text)), "Toy")().answer


def test_file_named_like_a_library_does_not_replace_it(tmp_path):
    path = module(tmp_path, TOY, "json.py")
    before = sys.modules["json"]
    assert "toy" == load_symbol(str(path), "load")()
    assert before is sys.modules["json"]


@pytest.mark.parametrize("name", ["lod", "Toy.lod", "load.inner", "Toy.Inner.answer.more"])
def test_missing_name_is_named_with_its_file(tmp_path, name):
    path = module(tmp_path, TOY)
    with pytest.raises(HarnessError, match=rf"toy_backend\.py has no {name}"):
        load_symbol(str(path), name)


def test_error_in_the_file_is_passed_on(tmp_path):
    path = module(tmp_path, "raise ValueError('no weights here')\n")
    with pytest.raises(ValueError, match="no weights here"):
        load_symbol(str(path), "load")


def test_file_is_read_again_each_time(tmp_path):
    path = module(tmp_path, TOY)
    assert load_symbol(str(path), "load") is not load_symbol(str(path), "load")
    assert importlib.util.find_spec("toy_backend") is not None  # its folder is on the path, for its neighbours
