"""Collecting, resuming and tables import no heavy library: they start at once, and run on a laptop."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import factory
import pytest

import harness
from harness.results.store import save

HERE = Path(harness.__file__).parents[1]
HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "evaluate")
EXCEPT = (
    "harness.metrics.",
    "harness.selftest.toy_suite",
    "harness.selftest.suite",
    "harness.tests",
    "harness.__main__",
)
"""Modules of metrics subclass those of `evaluate`; toy suites run elsewhere; `__main__` runs the command."""


def modules():
    """Return the names of all other modules."""
    paths = (path.relative_to(HERE).with_suffix("") for path in sorted(Path(harness.__file__).parent.rglob("*.py")))
    names = (".".join(path.parts).removesuffix(".__init__") for path in paths)
    return [name for name in names if not name.startswith(EXCEPT)]


def python(*arguments, folder=HERE):
    """Return the output of a fresh interpreter that imports this very package."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def loading(names, libraries):
    """Return module → those of `libraries` that importing it loads, after all modules before it."""
    program = (
        "import importlib, json, sys\n"
        "loading = {}\n"
        f"for name in {names!r}:\n"
        "    before = set(sys.modules)\n"
        "    importlib.import_module(name)\n"
        f"    loading[name] = sorted(set({libraries!r}) & (set(sys.modules) - before))\n"
        "print(json.dumps({name: loaded for name, loaded in loading.items() if loaded}))\n"
    )
    return json.loads(python("-c", program))


def test_no_module_but_metrics_imports_a_heavy_library():
    names = modules()
    assert {"harness.pytest_plugin.plugin", "harness.training.train", "harness.data.splits"} <= set(names)
    assert {} == loading(names, HEAVY)


def test_suite_imports_only_numpy():
    libraries = (*HEAVY, "pandas", "scipy", "sklearn", "pytest", "psutil")
    assert {} == loading(["harness.spec", "harness.backends", "harness.pytest_plugin.bench"], libraries)


def test_public_names_are_imported_when_they_are_used():
    tree = ast.parse(Path(harness.__file__).read_text())
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    public = set(harness.__all__) - {"__version__"}
    assert public == typed - {"import_module", "TYPE_CHECKING", "Any"}
    assert len(public) <= 30
    assert all(getattr(harness, name).__name__ == name for name in public - {"Arrays", "Row"})
    assert {"Gate", "cases", "__version__"} <= set(dir(harness))
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'Gates'"):
        _ = harness.Gates
    assert {} == loading(["harness"], ("numpy", "harness.spec"))


def test_worker_imports_only_numpy():
    libraries = (*HEAVY, "pandas", "scipy", "pytest", "psutil", "msgspec", "tqdm")
    assert {} == loading(["harness.measure.worker"], libraries)


def test_tables_are_rebuilt_without_heavy_libraries(tmp_path):
    save(tmp_path, factory.result())
    program = (
        "import sys\n"
        "from harness.commands.cli import main\n"
        f"assert main(['report', '--ship-results', {str(tmp_path)!r}]) == 0\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    assert "[]" == python("-c", program).splitlines()[-1]


SUITE = """
import pytest
from harness import Backend, Bench, Case, Gate, Model, Native, Package, Recipe, Task, cases
from harness.kinds import text_classification


def load(artifact, target):
    raise AssertionError("collecting loads no backend")


TASK = Task(
    name="toy",
    kind=text_classification,
    dataset=Package("no-such-distribution", "rows.csv", sha256="00"),
    inputs=("text",),
    label="desk",
    metric="accuracy",
    test=10,
    validation=10,
    calibration=10,
)
MODELS = {
    Model(name=f"m{number}", source=Native("toy.py:Toy"), recipe=Recipe(loop="native")): Gate(min_score=0, max_drop=0.1)
    for number in range(200)
}
BACKENDS = [Backend(name=f"backend-{number}", load=load) for number in range(5)]


@pytest.mark.parametrize("case", cases(TASK, MODELS, BACKENDS), ids=str)
def test_toy(case: Case, bench: Bench) -> None:
    bench(case)
"""
CONFTEST = f"""
import sys
from pathlib import Path


def pytest_unconfigure(config):
    loaded = sorted(set({HEAVY!r}) & set(sys.modules))
    Path(__file__).with_name("loaded.txt").write_text(" ".join(loaded) or "nothing")
"""


def test_collecting_2000_cases_imports_no_heavy_library(tmp_path):
    (tmp_path / "test_toy.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    output = python(
        "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", folder=tmp_path
    )
    ids = re.findall(r"^test_toy\.py::test_toy\[(.*)\]$", output, flags=re.MULTILINE)
    assert 2000 == len(ids) == len(set(ids))
    assert ("toy/m0.backend-0.cpu", "toy/m199.backend-4.cuda") == (ids[0], ids[-1])
    assert "2000 tests collected" in output
    assert "nothing" == (tmp_path / "loaded.txt").read_text()


PLUG_IN = [
    "harness",
    "harness.errors",
    "harness.pytest_plugin",
    "harness.pytest_plugin.options",
    "harness.pytest_plugin.plugin",
]
OWN_TESTS = """
import sys


def test_own():
    assert True


def test_modules():
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("harness", "numpy", "pandas"))
    print("loaded", *loaded)
"""


def test_run_without_a_case_is_left_alone(tmp_path):
    (tmp_path / "test_own.py").write_text(OWN_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    quiet = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:benchmark")
    outputs = [python("-m", "pytest", "-s", *quiet, *more, folder=tmp_path) for more in ((), ("-p", "no:shipbench"))]
    (loaded,) = re.findall(r"loaded (.*)", outputs[0])
    assert PLUG_IN == re.sub(r"\.$", "", loaded).split()
    changing = re.compile(r"loaded.*|in [\d.]+s|^plugins: .*$", re.MULTILINE)
    with_plug_in, without = (changing.sub("", text) for text in outputs)
    assert with_plug_in == without
    assert {"test_own.py", "pytest.ini", "__pycache__"} >= {path.name for path in tmp_path.iterdir()}
