"""The contract that every file in suites/ keeps, checked without running any of them."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from harness.contracts.sources import Hub, Native, Package
from harness.spec import Case, Gate, Model
from harness.util.identity import load_symbol

SUITES = sorted((Path(__file__).parents[3] / "suites").glob("test_*.py"))


def cases_of(suite: Path) -> list[Case]:
    tests = [getattr(module_of(suite), name) for name in vars(module_of(suite)) if name.startswith("test_")]
    marks = [mark for test in tests for mark in test.pytestmark if mark.name == "parametrize"]
    return [case for mark in marks for case in mark.args[1]]


def models_of(suite: Path) -> dict[Model, Gate]:
    return module_of(suite).MODELS | getattr(module_of(suite), "FULL", {})


def module_of(suite: Path) -> ModuleType:
    return inspect.getmodule(load_symbol(str(suite), suite.stem))


@pytest.fixture(params=SUITES, ids=lambda path: path.stem)
def suite(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_suites_open_with_a_docstring(suite):
    assert suite.read_text().startswith('"""')


def test_every_source_is_pinned(suite):
    sources = [source for case in cases_of(suite) for source in (case.task.dataset, case.model.source)]
    pins = {source.sha256 for source in sources if isinstance(source, Package)}
    assert [] == [source.repo for source in sources if isinstance(source, Hub) and source.commit is None]
    assert pins or {source for source in sources if isinstance(source, Hub)}
    assert [pin for pin in pins if not re.fullmatch("[0-9a-f]{64}", pin)] == []


def test_every_model_has_a_breakable_gate(suite):
    models = models_of(suite)
    assert {case.model for case in cases_of(suite)} == set(models)
    for gate in models.values():
        assert isinstance(gate, Gate)
        assert 0 < (gate.min_score if gate.max_score is None else gate.max_score) < 1
        assert 0 < gate.max_drop < 0.1


def test_every_case_has_its_reference(suite):
    names = {str(case) for case in cases_of(suite)}
    assert set() == {
        str(case)
        for case in cases_of(suite)
        if f"{case.task.name}/{case.model.name}.pytorch.{case.device}" not in names
    }


def test_native_modules_exist_beside_the_suite(suite):
    for case in cases_of(suite):
        if isinstance(case.model.source, Native):
            path, name = case.model.source.locate(suite.parent)
            assert f"class {name}(" in path.read_text()


def test_test_rows_suffice_to_prove_the_largest_drop(suite):
    # No changed row of n bounds the drop at 1 - 0.05 ** (1 / n): a gate below that could never be proven.
    models = models_of(suite)
    if any(case.task.test is None for case in cases_of(suite)):
        pytest.skip("only the Hub has the number of test rows; preflight checks the gate")
    for case in cases_of(suite):
        assert 1 - 0.05 ** (1 / case.task.test) < models[case.model].max_drop


def test_names_are_unique_over_all_suites():
    names = [str(case) for path in SUITES for case in cases_of(path)]
    assert 0 < len(names) == len(set(names))


def test_readme_examples_declare_valid_suites():
    readme = (SUITES[0].parent / "README.md").read_text()
    names: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE):
        exec(example, names)  # noqa: S102  # our own document
    assert {"TASK", "MODELS", "DATA", "TUNED", "BAG", "SEARCH"} <= names.keys()
