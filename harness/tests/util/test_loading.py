"""Laws of naming code by its file: what has a name is found again, in any interpreter, and is the same code."""

import importlib.util
import runpy
import sys
from functools import partial

import pytest

from harness.backends import onnxruntime
from harness.errors import HarnessError
from harness.stats import intervals
from harness.stats.intervals import rare_event_bound
from harness.util.symbols import load_symbol, symbol_of


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch, tmp_path):
    """Loading by path adds to the interpreter's path and modules; not for other tests."""
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


# Naming


def test_a_function_is_named_by_file_module_and_qualified_name():
    expected = {"file": intervals.__file__, "module": "harness.stats.intervals", "qualname": "rare_event_bound"}
    assert expected == symbol_of(rare_event_bound)


def test_a_function_inside_another_is_refused():
    def inner():
        """Nobody outside this test finds it."""

    said = "inner: a backend's functions must stand at module level, so that a worker finds them"
    with pytest.raises(HarnessError, match=said):
        symbol_of(inner)


def test_a_lambda_is_refused():
    with pytest.raises(HarnessError, match="<lambda>: a backend's functions must stand at module level"):
        symbol_of(lambda artifact, target: None)


def test_a_partial_is_refused():
    with pytest.raises(HarnessError, match="a backend's functions must stand at module level"):
        symbol_of(partial(rare_event_bound, confidence=0.9))


# Finding


def test_what_can_be_imported_is_the_very_same_object():
    assert rare_event_bound is load_symbol(**symbol_of(rare_event_bound))
    assert onnxruntime.load is load_symbol(**symbol_of(onnxruntime.load))


def test_what_cannot_be_imported_is_loaded_by_path(tmp_path):
    path = module(tmp_path, TOY)
    assert "toy" == load_symbol(str(path), "load")()


def test_a_qualified_name_leads_into_classes(tmp_path):
    path = module(tmp_path, TOY)
    assert 42 == load_symbol(str(path), "Toy.Inner.answer")
    assert "static" == load_symbol(str(path), "Toy.load")()


def test_a_function_loaded_by_path_is_found_again(tmp_path):
    load = runpy.run_path(str(module(tmp_path, TOY)))["load"]
    assert "toy" == load_symbol(**symbol_of(load))()


def test_a_module_of_that_name_from_another_file_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "shadow").mkdir()
    (tmp_path / "mine").mkdir()
    module(tmp_path / "shadow", "def load():\n    return 'shadow'\n")
    mine = module(tmp_path / "mine", TOY)
    monkeypatch.syspath_prepend(tmp_path / "shadow")
    assert "toy" == load_symbol(str(mine), "load", "toy_backend")()


@pytest.mark.parametrize("name", ["", "no_such_module", "no_such_package.module", "<run_path>", ".", "__main__"])
def test_a_module_name_that_leads_nowhere_is_no_obstacle(tmp_path, name):
    assert "toy" == load_symbol(str(module(tmp_path, TOY)), "load", name)()


def test_a_module_of_a_broken_package_is_loaded_by_path(tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    module(tmp_path / "broken", "import no_such_module_at_all\n", "__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert "toy" == load_symbol(str(module(tmp_path, TOY)), "load", "broken.toy_backend")()


def test_a_file_may_import_its_neighbour(tmp_path):
    module(tmp_path, "ANSWER = 42\n", "toy_neighbour.py")
    path = module(tmp_path, "from toy_neighbour import ANSWER\ndef load():\n    return ANSWER\n")
    assert 42 == load_symbol(str(path), "load")()


def test_a_file_may_hold_dataclasses(tmp_path):
    text = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Toy:\n"
        "    answer: int = 42\n"
    )
    assert 42 == load_symbol(str(module(tmp_path, text)), "Toy")().answer


def test_a_file_named_like_a_library_does_not_replace_it(tmp_path):
    path = module(tmp_path, TOY, "json.py")
    before = sys.modules["json"]
    assert "toy" == load_symbol(str(path), "load")()
    assert before is sys.modules["json"]


@pytest.mark.parametrize("name", ["lod", "Toy.lod", "load.inner", "Toy.Inner.answer.more"])
def test_a_name_that_is_not_there_is_told_with_its_file(tmp_path, name):
    path = module(tmp_path, TOY)
    with pytest.raises(HarnessError, match=rf"toy_backend\.py: there is no {name}"):
        load_symbol(str(path), name)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        load_symbol(str(tmp_path / "none.py"), "load")


def test_an_error_in_the_file_is_the_files_own(tmp_path):
    path = module(tmp_path, "raise ValueError('no weights here')\n")
    with pytest.raises(ValueError, match="no weights here"):
        load_symbol(str(path), "load")


def test_the_file_is_read_again_each_time(tmp_path):
    path = module(tmp_path, TOY)
    assert load_symbol(str(path), "load") is not load_symbol(str(path), "load")
    assert importlib.util.find_spec("toy_backend") is not None  # its folder is on the path, for its neighbours
