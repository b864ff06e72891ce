"""Laws of what an import costs: tables and collecting need no heavy library, so they run on a laptop and at once."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import factory

import harness
from harness.results.store import save

HERE = Path(harness.__file__).parents[1]
HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "evaluate")
LIGHT = (
    "harness",
    "harness.errors",
    "harness.spec",
    "harness.spec",
    "harness.contracts.kind",
    "harness.kinds",
    "harness.metrics",
    "harness.backends",
    "harness.pytest_plugin.bench",
    "harness.util.symbols",
    "harness.measure.adapters",
    "harness.data.inputs",
    "harness.contracts.kind",
    "harness.measure.adapters",
    "harness.measure.protocol",
    "harness.measure.client",
    "harness.measure.worker",
    "harness.util.machine",
    "harness.measure.system",
    "harness.measure.system",
    "harness.util.store",
    "harness.util.fingerprints",
    "harness.util.console",
    "harness.util.console",
    "harness.measure.samples",
    "harness.measure.rounds",
    "harness.evaluation.score",
    "harness.stats.intervals",
    "harness.results.store",
    "harness.results.store",
    "harness.util.files",
    "harness.verdicts.verdict",
    "harness.verdicts.comparability",
    "harness.verdicts.table",
    "harness.report",
    "harness.verdicts.seeds",
    "harness.verdicts.seeds",
    "harness.commands.collection",
    "harness.data.reading",
    "harness.commands.gates",
    "harness.commands.tune",
    "harness.backends.variants",
    "harness.measure.client",
    "harness.regression.history",
    "harness.regression.history",
    "harness.report.history",
    "harness.pytest_plugin.plugin",
    "harness.pytest_plugin.session",
    "harness.pytest_plugin.session",
    "harness.pytest_plugin.closing",
    "harness.commands.cli",
    "harness.commands.cli",
)


def python(*arguments, folder=HERE):
    """What a fresh interpreter says; it finds this very project."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def loaded_after_each(modules, wanted):
    """Module → which of `wanted` are loaded once it is imported, after all before it."""
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found[name] = sorted(set({wanted!r}) & set(sys.modules))\n"
        "print(json.dumps(found))\n"
    )
    return json.loads(python("-c", program))


def test_nothing_heavy_is_needed_for_suites_tables_and_pytest():
    assert {name: [] for name in LIGHT} == loaded_after_each(LIGHT, HEAVY)


def test_declaring_a_suite_needs_no_library_but_numpy():
    libraries = (*HEAVY, "pandas", "scipy", "sklearn", "pytest", "psutil")
    assert {"harness": []} == loaded_after_each(["harness"], libraries)


def test_a_worker_needs_numpy_only():
    libraries = (*HEAVY, "pandas", "scipy", "pytest", "psutil", "msgspec", "tqdm")
    assert {"harness.measure.worker": []} == loaded_after_each(["harness.measure.worker"], libraries)


def test_the_table_is_rebuilt_without_torch(tmp_path):
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
    raise AssertionError("collecting loads nothing")


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
    Path(__file__).with_name("loaded.txt").write_text(" ".join(loaded) or "none of them")
"""


def test_collecting_two_thousand_cases_imports_nothing_heavy(tmp_path):
    (tmp_path / "test_toy.py").write_text(SUITE)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    said = python(
        "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", folder=tmp_path
    )
    ids = re.findall(r"^test_toy\.py::test_toy\[(.*)\]$", said, flags=re.MULTILINE)
    assert 2000 == len(ids) == len(set(ids))
    assert ("toy/m0.backend-0.cpu", "toy/m199.backend-4.cuda") == (ids[0], ids[-1])
    assert "2000 tests collected" in said
    assert "none of them" == (tmp_path / "loaded.txt").read_text()
