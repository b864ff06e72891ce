"""A published folder answers as it was measured: by its own card's lines, in a fresh process, somewhere else."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from users import save_suite

from conftest import Once, Run, Toy
from harness.commands.cli import main
from harness.data import splits
from harness.util.symbols import load_symbol

pytest_plugins = "pytester"

LOOP = """
import json, sys, numpy
rows = json.load(open("rows.json"))
rows = [[numpy.uint8(value) if isinstance(value, list) else value for value in row] for row in rows]
json.dump([answer(*row) for row in rows], open("answers.json", "w"))
print(sorted(name for name in sys.modules if name.partition(".")[0] == "harness"))
"""


@pytest.fixture
def measured(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        toy.copy("published.py", "bag.py")
        # Not in the order of the alphabet, which is that of the task's labels.
        save_suite(toy.folder, ("repairs", "billing", "delivery"))
        return toy.run(
            "-p", "no:randomly", "-m", "not cuda", "--ship-budget=5",
            "--ship-backends=pytorch,onnxruntime,onnxruntime-int8",
        )  # fmt: skip

    return once("published", make)


def rows(toy: Toy, result) -> list[list[object]]:
    """The test rows, as the card's `answer` is given them."""
    file = "test_tickets.py" if result.task == "tickets" else "test_toy.py"
    task = load_symbol(str(toy.folder / file), "DIGITS" if result.task == "digits" else "TASK")
    found = [[row[name] for name in task.inputs] for row in splits.load(task, toy.folder).test]
    if result.task != "digits":
        return found
    return [[np.asarray(image, dtype=np.uint8)[:, :, None].tolist()] for (image,) in found]


@pytest.mark.parametrize("backend", ["pytorch", "onnxruntime", "onnxruntime-int8"])
@pytest.mark.parametrize("model", ["toy/bag", "digits/vit", "tickets/mine"])
def test_a_folder_answers_every_row_as_recorded(measured, installed, tmp_path, monkeypatch, model, backend):
    toy, run = measured
    assert 0 == run.status, run.text
    monkeypatch.chdir(toy.folder)
    monkeypatch.syspath_prepend(str(installed))
    result = toy.results[f"{model}.{backend}.cpu"]
    out = tmp_path / "here" / "published"
    assert 0 == main(["publish", result.name, "--to", str(out), "--ship-artifacts", str(toy.artifacts)])
    elsewhere = tmp_path / "there"
    (tmp_path / "here").rename(elsewhere)
    (code,) = re.findall(r"```python\n(.*?)```", (elsewhere / "published" / "README.md").read_text(), re.DOTALL)
    (elsewhere / "rows.json").write_text(json.dumps(rows(toy, result)))
    (elsewhere / "try.py").write_text(code + LOOP)
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "try.py"], cwd=elsewhere, env=known, check=False, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    assert "[]" == done.stdout.strip().splitlines()[-1]  # nothing of the harness
    answers = json.loads((elsewhere / "answers.json").read_text())
    file = toy.folder / "results" / "local" / f"{result.name}.parquet"
    table = pd.read_parquet(file)
    right = "".join(str(int(own == label)) for own, label in zip(answers, truths(toy, result), strict=True))
    assert result.answers.correct == right
    if "prediction" in table and result.task != "tickets":
        assert table["prediction"].tolist() == answers


def truths(toy: Toy, result) -> list[str]:
    """The label of each test row."""
    file = "test_tickets.py" if result.task == "tickets" else "test_toy.py"
    task = load_symbol(str(toy.folder / file), "DIGITS" if result.task == "digits" else "TASK")
    split = splits.load(task, toy.folder)
    return [split.labels[row["label"]] for row in split.test]
