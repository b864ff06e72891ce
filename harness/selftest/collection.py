"""Collecting costs nothing: thousands of cases, and no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness.errors import HarnessError
from harness.selftest.figures import COLLECTED_CASES, COLLECTION_LIMIT_S, COLLECTION_TRIALS
from harness.selftest.part import Figure, Given, Part

HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "evaluate")
CASES_A_MODEL = 8
"""Four backends on two devices."""
SUITE = """
import pytest
{extra}
from harness import ONNXRUNTIME, ONNXRUNTIME_O2, PYTORCH, Backend, Gate, Model, Native, Package, Recipe, Task, cases
from harness import text_classification

TASK = Task(name="many", kind=text_classification, dataset=Package("none", "none.csv", sha256="0", read=list),
            inputs=("text",), label="topic", metric="accuracy", test=48, validation=24, calibration=12)
MODELS = {{Model(name=f"model-{{number}}", source=Native("model.py:Model"), recipe=Recipe(loop="native")):
          Gate(floor=0.9, max_loss=0.01) for number in range({models})}}
OTHER = Backend(name="other", load=PYTORCH.load)

@pytest.mark.parametrize("case", cases(TASK, MODELS, [PYTORCH, ONNXRUNTIME, ONNXRUNTIME_O2, OTHER]), ids=str)
def test_many(case, bench):
    bench(case).meets(MODELS[case.model])
"""
PROGRAM = """
import json, sys, pytest
class Count:
    def pytest_collection_finish(self, session):
        self.cases = len(session.items)
count = Count()
status = pytest.main(["--collect-only", "-q", "-p", "harness.plugin", "test_many.py"], plugins=[count])
found = sorted(set(json.loads(sys.argv[1])) & set(sys.modules))
print("\\n" + json.dumps({"status": int(status), "cases": count.cases, "imported": found}))
"""


@dataclass(frozen=True)
class Collected:
    """What one collection said of itself."""

    cases: int
    imported: tuple[str, ...]
    wall_s: float


def run(given: Given) -> Iterator[Figure]:
    """Each collection is pytest in a process of its own, interpreter start included."""
    n = COLLECTION_TRIALS
    found = [_collect(given.scratch / "plain", "") for _ in range(n)]
    whole = sum(one.cases == COLLECTED_CASES for one in found)
    light = sum(not one.imported for one in found)
    quick = sum(one.wall_s <= COLLECTION_LIMIT_S for one in found)
    walls = ", ".join(f"{one.wall_s:.2f}" for one in found)
    yield Figure(label=f"{COLLECTED_CASES} cases collected", k=whole, n=n, at_least=n)
    yield Figure(label=f"without importing {', '.join(HEAVY)}", k=light, n=n, at_least=n, note=str(found[0].imported))
    yield Figure(label=f"in {COLLECTION_LIMIT_S:g} s or less", k=quick, n=n, at_least=n, note=f"{walls} s")
    heavy = _collect(given.scratch / "heavy", "import torch")
    yield Figure(
        label="a suite that imports torch is seen to",
        k=int("torch" in heavy.imported),
        n=1,
        at_least=1,
        control=True,
        note=f"{heavy.wall_s:.2f} s, imports {', '.join(heavy.imported)}",
    )


def _collect(folder: Path, extra: str) -> Collected:
    folder.mkdir(exist_ok=True)
    text = SUITE.format(extra=extra, models=COLLECTED_CASES // CASES_A_MODEL)
    (folder / "test_many.py").write_text(text)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(HEAVY)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(harness.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.monotonic() - began
    said: dict[str, Any] = (
        json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else {"status": 1}
    )
    if said["status"] != 0:
        raise HarnessError(f"pytest --collect-only failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Collected(said["cases"], tuple(said["imported"]), wall_s)


PART = Part(
    name="collection",
    claim=f"{COLLECTED_CASES} cases are collected in {COLLECTION_LIMIT_S:g} s or less without importing torch",
    run=run,
)
