"""A published folder answers as measured: by its own card's lines, in a fresh process, in another place."""

import json
import os
import re
import subprocess
import sys

import datasets  # noqa: F401  # here, since pytester forgets what a test imports, and it cannot load twice
import numpy as np
import pandas as pd
import pytest
from ticket_suite import save_suite

from conftest import Once, Run, Toy
from harness.commands.cli import main
from harness.data import splits
from harness.results.schema import Result
from harness.spec import Task
from harness.util.identity import load_symbol

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
        # Not in alphabetical order, which the task's labels have.
        save_suite(toy.folder, ("repairs", "billing", "delivery"))
        return toy.run(
            "-p", "no:randomly", "-m", "not cuda", "--ship-budget=5",
            "--ship-backends=pytorch,onnxruntime,onnxruntime-int8",
        )  # fmt: skip

    return once("published", make)


def task_of(toy: Toy, result: Result) -> Task:
    file = "test_tickets.py" if result.task == "tickets" else "test_toy.py"
    task = load_symbol(str(toy.folder / file), "DIGITS" if result.task == "digits" else "TASK")
    assert isinstance(task, Task)
    return task


def rows(toy: Toy, result: Result) -> list[list[object]]:
    """The test rows as arguments of the card's `answer`."""
    task = task_of(toy, result)
    values = [[row[name] for name in task.inputs] for row in splits.load(task, toy.folder).test]
    if result.task != "digits":
        return values
    return [[np.asarray(image, dtype=np.uint8)[:, :, None].tolist()] for (image,) in values]


@pytest.mark.parametrize("backend", ["pytorch", "onnxruntime", "onnxruntime-int8"])
@pytest.mark.parametrize("model", ["toy/bag", "digits/vit", "tickets/mine"])
def test_card_answers_every_row_as_recorded(measured, installed, tmp_path, monkeypatch, model, backend):
    toy, run = measured
    assert 0 == run.status, run.text
    monkeypatch.chdir(toy.folder)
    monkeypatch.syspath_prepend(str(installed))
    result = toy.results[f"{model}.{backend}.cpu"]
    out = tmp_path / "here" / "published"
    assert 0 == main(["publish", result.name, "--to", str(out), "--anyway", "--ship-artifacts", str(toy.artifacts)])
    elsewhere = tmp_path / "there"
    (tmp_path / "here").rename(elsewhere)
    (code,) = re.findall(r"```python\n(.*?)```", (elsewhere / "published" / "README.md").read_text(), re.DOTALL)
    (elsewhere / "rows.json").write_text(json.dumps(rows(toy, result)))
    (elsewhere / "try.py").write_text(code + LOOP)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "try.py"], cwd=elsewhere, env=environment, check=False, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    assert "[]" == done.stdout.strip().splitlines()[-1]  # no module of the harness
    answers = json.loads((elsewhere / "answers.json").read_text())
    split = splits.load(task_of(toy, result), toy.folder)
    labels = [split.labels[row["label"]] for row in split.test]
    assert result.answers.correct == "".join(str(int(a == b)) for a, b in zip(answers, labels, strict=True))
    table = pd.read_parquet(toy.folder / "results" / "local" / f"{result.name}.parquet")
    if "prediction" in table and result.task != "tickets":
        assert table["prediction"].tolist() == answers
