"""Functions are named by their file and loaded again in any interpreter."""

import importlib.util
import os
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest

import harness
from harness.backends import onnxruntime
from harness.errors import HarnessError
from harness.stats import intervals
from harness.stats.intervals import rare_event_bound
from harness.util.symbols import is_built_in, load_symbol, python_path, symbol_of


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
