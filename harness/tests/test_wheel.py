"""The built wheel works alone: in an environment of its own, on a suite in an empty folder."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from conftest import BAG, REPOSITORY

SUITE = '''
"""Parity: is the number of words even?"""
import pytest
from harness import Folder, Gate, Model, Native, Recipe, Task, cases
from harness.backends import ONNXRUNTIME, PYTORCH

TASK = Task(name="colours", kind="text-classification", dataset=Folder("rows.csv"), inputs=("text",), label="colour",
            metric="accuracy")
MODELS = {
    Model(name="bag", source=Native("bag.py:Bag", vocabulary=100), recipe=Recipe(loop="native", epochs=3,
          learning_rate=0.1)): Gate(min_score=0.5, max_drop=0.05)
}

@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, ONNXRUNTIME]), ids=str)
def test_colours(case, bench):
    bench(case)
'''


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder)
    run(*pip, REPOSITORY, folder=folder)
    (path,) = folder.glob("shipbench-*.whl")
    return path


def test_wheel_carries_assets_but_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith("harness/tests")]
    assert {"harness/py.typed", "harness/report/assets/page.html"} <= set(names)


def test_wheel_runs_a_suite_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    home, folder = tmp_path / "environment", tmp_path / "suite"
    folder.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", home, folder=tmp_path)
    pip = (sys.executable, "-m", "pip", "--python", home / "bin/python")
    run(*pip, "install", "-q", "--no-deps", wheel, folder=folder)
    # Its dependencies are those of this environment, so that nothing is downloaded.
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "test_colours.py").write_text(SUITE)
    (folder / "bag.py").write_bytes(BAG.read_bytes())
    rows = [f"{colour} thing number {number},{colour}" for number in range(150) for colour in ("red", "blue")]
    (folder / "rows.csv").write_text("\n".join(["text,colour", *rows]) + "\n")
    options = ("-p", "no:randomly", "-m", "not cuda", "--ship-launches=1", "--ship-budget=4")
    text = run(home / "bin/python", "-P", "-m", "pytest", "test_colours.py", *options, folder=folder)
    assert "2 passed" in text
    assert (folder / "results/local/colours/bag.onnxruntime.cpu.json").exists()
    where = run(home / "bin/python", "-P", "-c", "import harness; print(harness.__file__)", folder=folder)
    assert Path(where.strip()).is_relative_to(home)
    assert "publish" in run(home / "bin/shipbench", "--help", folder=folder)
