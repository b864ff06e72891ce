"""Other Python environments: which interpreters are refused, and how requirements are installed."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from users import environment, functions_of

from conftest import distribution
from harness.contracts.backend import Backend, Python, Target
from harness.environments.interpreters import describe_interpreter, environment_key, resolve_environments
from harness.errors import HarnessError
from harness.measure.client import Worker
from harness.spec import cases
from harness.util.console import Progress
from harness.util.store import Store

NUMPY = Path(np.__file__).parent


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


def test_failed_installation_quotes_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(HarnessError, match=r"(?s)install no-such-thing==1\.0: correct .*\| ERROR: .*no-such-thing==1"):
        resolve_environments(needing("no-such-thing==1.0"), Store(tmp_path / "store", print), Progress(None))
    assert [] == [path for path in (tmp_path / "store" / "environments").iterdir() if path.is_dir()]


WHEEL = {
    "numpy/__init__.py": "",
    "numpy-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: numpy\nVersion: 9.0\n",
    "numpy-9.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "numpy-9.0.dist-info/entry_points.txt": "[console_scripts]\nsay = numpy:print\n",
    "numpy-9.0.dist-info/RECORD": "",
}


def test_environment_is_installed_once_and_again_if_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "numpy-9.0-py3-none-any.whl", "w") as wheel:
        for name, content in WHEEL.items():
            wheel.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
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


def test_environment_key_ignores_the_order_of_requirements() -> None:
    keys = [environment_key(Python(requirements=names)) for names in (("a", "b"), ("b", "a"), ("a", "b==1"))]
    assert keys[0] == keys[1] != keys[2]
