"""The cost of the harness in collection: time, and imports."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError
from harness.selftest import figures
from harness.selftest.figures import Figure, Workspace, count, part
from harness.util.identity import python_path

CASES_A_MODEL = 8
"""Four backends on two devices."""
HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "evaluate")
SUITE = """
import pytest
{extra}
from harness import Backend, Gate, Model, Native, Package, Recipe, Task, cases
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_O2, PYTORCH

TASK = Task(name="many", kind="text-classification", dataset=Package("none", "none.csv", sha256="0", read=list),
            inputs=("text",), label="topic", metric="accuracy", test=48, validation=24, calibration=12)
MODELS = {{Model(name=f"model-{{number}}", source=Native("model.py:Model"), recipe=Recipe(loop="native")):
          Gate(min_score=0.9, max_drop=0.01) for number in range({models})}}
OTHER = Backend(name="other", load=PYTORCH.load)

@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, OTHER]), ids=str)
def test_many(case, bench):
    bench(case)
"""
PROGRAM = """
import sys, pytest
status = pytest.main(["--collect-only", "-q", "test_many.py"])
print("imported", *set(sys.argv[1:]) & set(sys.modules))
sys.exit(status)
"""


class Collected(NamedTuple):
    """One collection of the toy suite."""

    cases: int
    imported: list[str]
    wall_s: float


@part("collection", "2,000 cases are collected in 5 s or less without torch")
def collection(workspace: Workspace) -> Iterator[Figure]:
    """Collect in fresh processes; the time includes the interpreter's start."""
    runs = [_collect(workspace.scratch, "") for _ in range(figures.COLLECTION_TRIALS)]
    yield count(f"{figures.COLLECTED_CASES} cases collected", (run.cases == figures.COLLECTED_CASES for run in runs))
    light = (not run.imported for run in runs)
    yield count(f"without importing {', '.join(HEAVY)}", light, note=", ".join(runs[0].imported))
    quick = (run.wall_s <= figures.COLLECTION_LIMIT_S for run in runs)
    note = ", ".join(f"{run.wall_s:.2f}" for run in runs) + " s"
    yield count(f"in {figures.COLLECTION_LIMIT_S:g} s or less", quick, note=note)
    heavy = _collect(workspace.scratch, "import torch")
    note = f"{heavy.wall_s:.2f} s, imports {', '.join(heavy.imported)}"
    yield count("a suite that imports torch is noticed", ["torch" in heavy.imported], control=True, note=note)


def _collect(folder: Path, extra: str) -> Collected:
    (folder / "test_many.py").write_text(SUITE.format(extra=extra, models=figures.COLLECTED_CASES // CASES_A_MODEL))
    command, environment = [sys.executable, "-c", PROGRAM, *HEAVY], os.environ | {"PYTHONPATH": python_path()}
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - began
    if done.returncode != 0:
        raise HarnessError(f"pytest --collect-only failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Collected(done.stdout.count("::"), done.stdout.splitlines()[-1].split()[1:], wall_s)
