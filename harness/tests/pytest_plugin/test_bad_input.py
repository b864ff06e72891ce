"""The preflight reports every mistake of a suite before anything expensive starts."""

import os
import re
from pathlib import Path

import pytest

from conftest import Once, Run, Toy, distribution
from harness.util.identity import tree_sha256

pytest_plugins = "pytester"


@pytest.fixture
def careless(once: Once, installed: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Toy, Run]:
    """A suite with a mistake in every task and every model, where both builds of ONNX Runtime are installed."""

    def make(toy: Toy) -> Run:
        for name in ("onnxruntime", "onnxruntime-gpu"):
            distribution(toy.folder / "wheels", name)
        monkeypatch.setenv("PYTHONPATH", str(toy.folder / "wheels"), prepend=os.pathsep)
        toy.copy("careless.py", "bag.py")
        suite = toy.folder / "test_toy.py"
        suite.write_text(suite.read_text().replace("SHA256", tree_sha256(installed / "toydata")))
        return toy.run("test_toy.py", "-p", "no:randomly")

    return once("careless", make)


PROBLEMS = {
    "missing package": ["toy-data-of-others is not installed", "python -m pip install toy-data-of-others"],
    "changed hash": [
        "toydata/rows.csv has sha256 95dc680d17a3fa1de55365d1e91f21085a1005366212c5bb02508005c6c93043",
        "0" * 64,
    ],
    "missing file": ["toydata", "has no toydata/lines.csv"],
    "missing input column": ["task no-input", "sentence", "text, topic"],
    "missing label column": ["task no-label", "subject", "text, topic"],
    "too few rows": ["task greedy", "4036", "181"],
    "label of a single row": ["task rare", "sarcasm"],
    "recipe without every label": ["frugal", "training never sees"],
    "one label only": ["task unanimous", "every row has the label weather"],
    "test of one row": ["task single", "cannot set apart 1 rows for test"],
    "unprovable max_drop": ["toy/picky", "max_drop=0.02 needs at least 149 test rows", "has 48"],
    "no rows": ["task empty", "no rows"],
    "reader that raises": ["task garbled", "unknown encoding: cp9"],
    "package without a reader": ["task unread", "read="],
    "too few training rows": ["large", "5000", "97"],
    "missing native module": ["nowhere.py"],
    "missing weights": ["model speechless", "toydata", "has no weights"],
    "misspelt training argument": ["model misspelt", "learning_rat", "TrainingArguments"],
    "function inside a function": ["outer.<locals>.load", "module level"],
    "two builds of ONNX Runtime": ["onnxruntime and onnxruntime-gpu are both installed"],
}
"""Parts of the one line about each."""


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problem_is_reported_before_training(problem: str, careless: tuple[Toy, Run]) -> None:
    lines = [line for line in careless[1].text.splitlines() if all(part in line for part in PROBLEMS[problem])]
    assert 1 == len(lines)


def test_problems_end_the_session_before_anything_is_written(careless: tuple[Toy, Run]) -> None:
    toy, run = careless
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert [] == [path for name in ("results", "artifacts") for path in (toy.folder / name).rglob("*")]
    assert not re.search("Traceback|INTERNALERROR", run.text)
