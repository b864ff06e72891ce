# the expectation stands on the left
"""What can be known to be wrong is said before anything expensive launches, all of it in one go."""

import os
import re
from pathlib import Path

import pytest

from conftest import Once, Run, Toy, distribution
from harness.util.fingerprints import tree_sha256

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


COMPLAINTS = {
    "a missing package, with the command that installs it": [
        "toy-data-of-others is not installed",
        "python -m pip install toy-data-of-others",
    ],
    "a changed hash, with the one found and the one pinned": [
        "toydata/rows.csv has sha256 95dc680d17a3fa1de55365d1e91f21085a1005366212c5bb02508005c6c93043",
        "0" * 64,
    ],
    "a file that the package does not have": ["toydata", "has no toydata/lines.csv"],
    "an input column that no row has, with those there are": ["task no-input", "sentence", "text, topic"],
    "a label column that no row has, with those there are": ["task no-label", "subject", "text, topic"],
    "more rows set apart than there are": ["task greedy", "4036", "181"],
    "a label of a single row, which cannot be in training and in the test": ["task rare", "sarcasm"],
    "a recipe of so few rows that training never sees every label": ["frugal", "training never sees"],
    "a data set of one label": ["task unanimous", "every row has the label weather"],
    "a test of one row": ["task single", "cannot set apart 1 rows for test"],
    "a drop that so few rows cannot exclude, with the rows it takes": ["toy/picky", "the gate allows 0.02", "149 rows"],
    "a data set without rows": ["task empty", "no rows"],
    "a package without a reader": ["task unread", "read="],
    "more training rows asked for than there are": ["large", "5000", "97"],
    "a native model whose file is not there": ["nowhere.py"],
    "a pretrained model without a tokenizer": ["toydata", "no usable tokenizer"],
    "a misspelt training argument": ["model misspelt", "learning_rat", "TrainingArguments"],
    "a backend that no other process could find": ["outer.<locals>.load", "module level"],
    "two builds of ONNX Runtime in one environment": ["onnxruntime and onnxruntime-gpu are both installed"],
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_what_is_wrong_is_said_before_training(complaint: str, careless: tuple[Toy, Run]) -> None:
    _, run = careless
    said = [line for line in run.text.splitlines() if all(part in line for part in COMPLAINTS[complaint])]
    assert 1 == len(said)


def test_nothing_is_started_when_something_is_wrong(careless: tuple[Toy, Run]) -> None:
    toy, run = careless
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert [] == [path for name in ("results", "artifacts") for path in (toy.folder / name).rglob("*")]
    assert "Traceback" not in run.text


def test_a_reader_that_raises_is_named_with_its_task(toy: Toy) -> None:
    toy.copy("careless.py", "bag.py")
    suite = toy.folder / "test_toy.py"
    suite.write_text(suite.read_text().replace("yield from ()", 'yield {"text": file.read_text(encoding="cp9")}'))
    run = toy.run("test_toy.py", "-k", "empty")
    assert pytest.ExitCode.USAGE_ERROR == run.status
    assert re.search(r"task empty.*unknown encoding: cp9", run.text)
    assert "INTERNALERROR" not in run.text
