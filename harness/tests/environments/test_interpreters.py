"""Other Python environments: which interpreters are refused, and how requirements are installed."""

import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from users import environment, functions_of

from conftest import distribution
from harness.contracts.backend import Backend, Python, Target
from harness.environments.interpreters import (
    FOLDER,
    describe_interpreter,
    environment_key,
    interpreter_environment,
    resolve_environment,
    resolve_environments,
)
from harness.errors import HarnessError
from harness.measure.client import Worker
from harness.spec import cases
from harness.util.console import Progress
from harness.util.store import Store

NUMPY = Path(np.__file__).parent


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test install in its own store."""
    monkeypatch.delenv(FOLDER, raising=False)


def needing(*requirements: str) -> Backend:
    return Backend(name="b", load=cases, runs_in=Python(requirements=requirements))  # type: ignore[arg-type]


def test_missing_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        HarnessError, match=r"nowhere is not a working Python .*; name the bin/python of an environment"
    ):
        describe_interpreter(Python(interpreter=str(tmp_path / "nowhere")))


def test_other_program_is_refused_with_its_error(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho unknown option -P >&2\nexit 2\n")
    program.chmod(0o755)
    with pytest.raises(HarnessError, match=r"is not a working Python ≥ 3\.11: unknown option -P"):
        describe_interpreter(Python(interpreter=str(program)))


def test_environment_without_numpy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="has no numpy, which every worker needs"):
        describe_interpreter(Python(interpreter=str(environment(tmp_path / "bare"))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either interpreter= or requirements="),
        ({"interpreter": "x", "requirements": ("numpy",)}, "give either interpreter= or requirements="),
        ({"requirements": "numpy"}, "must be a tuple of strings"),
        ({"requirements": ("numpy", " ")}, "must be a tuple of strings"),
        ({"interpreter": "x", "overlay": True}, "overlay=True needs requirements="),
    ],
)
def test_ambiguous_environment_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        Python(**arguments)  # type: ignore[arg-type]


def test_worker_elsewhere_does_not_see_our_site_packages(tmp_path: Path) -> None:
    python = environment(tmp_path / "elsewhere", NUMPY)
    (site_packages,) = (tmp_path / "elsewhere").glob("lib/python*/site-packages")
    distribution(site_packages, "a-mark")
    (tmp_path / "backend.py").write_text(
        "import sys\nfrom harness import Session\n"
        "def load(artifact, target):\n"
        "    return Session(lambda a: a, 'cpu', {'path': ' '.join(sys.path)})\n"
    )
    load = functions_of(tmp_path / "backend.py")["load"]
    backend = Backend(name="b", load=load, runs_in=Python(interpreter=str(python)))
    with Worker(backend, tmp_path, Target("cpu", 1), 60) as worker:
        settings = worker.loaded["settings"]
    assert str(NUMPY.parent) not in settings["path"].split()
    assert "a-mark 1.0" in settings["packages"]


WHEEL = {
    "numpy/__init__.py": "",
    "numpy-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: numpy\nVersion: 9.0\n",
    "numpy-9.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "numpy-9.0.dist-info/entry_points.txt": "[console_scripts]\nsay = numpy:print\n",
    "numpy-9.0.dist-info/RECORD": "",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip see nothing but WHEEL."""
    with zipfile.ZipFile(tmp_path / "numpy-9.0-py3-none-any.whl", "w") as wheel:
        for name, content in WHEEL.items():
            wheel.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("index")
def test_environment_is_installed_once_and_again_if_damaged(tmp_path: Path) -> None:
    notes: list[str] = []
    store = Store(tmp_path / "store", notes.append)
    backend = needing("numpy==9.0")
    resolved = resolve_environments(backend, store, Progress(None))
    assert resolved == resolve_environments(backend, store, Progress(None))
    assert resolved.runs_in is not None
    assert "numpy 9.0" in describe_interpreter(resolved.runs_in)["packages"]
    python = Path(resolved.runs_in.executable)
    # Scripts name the folder that the store moved the environment to. Systems limit the length of a script's first
    # line, so beyond 127 characters pip names the interpreter in the second one.
    assert f"{python.parent}/" in "".join((python.parent / "say").read_text().splitlines()[:2])
    assert [] == notes
    next(python.parents[1].glob("lib/python*/site-packages/numpy/__init__.py")).write_text("broken = True")
    assert resolved == resolve_environments(backend, store, Progress(None))
    assert 1 == len(notes)
    assert "corrupt" in notes[0]


OVERLAY = Python(requirements=("numpy==9.0",), overlay=True)


def test_overlay_lies_in_front_of_this_environment(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NUMPY.parent))  # which would come first
    python = resolve_environment(OVERLAY, Store(index / "store", print), Progress(None))
    assert "numpy 9.0" == describe_interpreter(python)["packages"]  # the requirements alone, of all that is in reach
    lines = "import numpy, pytest; print(numpy.__file__); print(pytest.__file__)"
    environment = interpreter_environment(python, os.environ)
    out = subprocess.check_output([python.executable, "-P", "-c", lines], env=environment, text=True).splitlines()
    assert [f"{python.packages}/numpy/__init__.py", pytest.__file__] == out


def test_overlay_leaves_dependencies_out(index: Path) -> None:
    content = {
        **WHEEL,
        "numpy-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: numpy\nVersion: 9.0\nRequires-Dist: absent",
    }
    with zipfile.ZipFile(index / "numpy-9.0-py3-none-any.whl", "w") as wheel:
        for name, text in content.items():
            wheel.writestr(name, text)
    python = resolve_environment(OVERLAY, Store(index / "store", print), Progress(None))
    assert "numpy 9.0" == describe_interpreter(python)["packages"]


@pytest.mark.usefixtures("index")
def test_overlay_is_shared_by_stores_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "shared"))
    first = resolve_environment(OVERLAY, Store(tmp_path / "one", print), Progress(None))
    monkeypatch.delenv("PIP_FIND_LINKS")  # it could not be installed again
    assert first == resolve_environment(OVERLAY, Store(tmp_path / "two", print), Progress(None))
    assert [first.packages] == [str(path) for path in (tmp_path / "shared").iterdir() if path.is_dir()]


def test_overlay_without_index_names_the_command_that_prepares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        HarnessError,
        match=r"(?s)cannot install numpy==9\.0: where pip reaches an index .*run once: shipbench setup.*\| ERR",
    ):
        resolve_environment(OVERLAY, Store(tmp_path / "store", print), Progress(None))
    assert [] == [path for path in (tmp_path / "store/environments").iterdir() if path.is_dir()]


@pytest.mark.usefixtures("index")
def test_overlay_needs_no_pip_in_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    python = resolve_environment(OVERLAY, Store(tmp_path / "store", print), Progress(None))
    assert "numpy 9.0" == describe_interpreter(python)["packages"]


def test_environment_key_ignores_the_order_of_requirements() -> None:
    keys = [environment_key(Python(requirements=names)) for names in (("a", "b"), ("b", "a"), ("a", "b==1"))]
    assert keys[0] == keys[1] != keys[2]
