"""The suite in the documents about pictures and texts, on a tiny model, to verdicts and the lines of its card."""

import ast
import subprocess
import sys

import pytest
import tiny_pictures
from users import readme_example

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

FLOAT = ("pytorch", "onnxruntime", "onnxruntime-o2")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        tiny_pictures.write_pictures(toy.folder / "fruit", 420)
        tiny_pictures.save_clip(toy.folder / "my-clip", steps=80)
        (toy.folder / "test_toy.py").write_text(readme_example('"""Fruit', "suites/README.md"))
        return toy.run("-v", "-m", "not cuda", "--ship-budget=8", undecided=True, timeout_s=900)

    return once("documented-pictures", make)


def test_documented_suite_reaches_verdicts(ran):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values()}
    assert {*FLOAT, "onnxruntime-int8", "onnxruntime-o2-int8"} <= {*results}
    assert {"ok"} == {result.status for result in results.values()}
    assert 1 == len({results[name].answers.score for name in FLOAT})
    assert 0.8 < results["pytorch"].answers.score
    assert "the hypotheses are 'A photo of one apple on the table.'; " in run.text


def test_published_lines_answer_alike(ran):
    toy, _ = ran
    answers = {}
    for backend in ("pytorch", "onnxruntime"):
        words = ("publish", f"fruit/mine.{backend}.cpu", "--to", f"out-{backend}", "--anyway")
        done = toy.command("harness", *words, "--ship-artifacts", str(toy.artifacts))
        assert 0 == done.status, done.text
        lines = (toy.folder / f"out-{backend}" / "README.md").read_text().split("```python\n")[1].split("```")[0]
        asked = "import numpy\nfrom PIL import Image\n"
        asked += "for name in ('apple/0', 'lemon/1', 'plum/2'):\n"
        asked += "    print(repr(answer(numpy.asarray(Image.open(f'fruit/{name}.png')))))"
        run = subprocess.run(
            [sys.executable, "-c", f"{lines}\n{asked}"], capture_output=True, text=True, cwd=toy.folder
        )
        assert not run.returncode, run.stderr
        answers[backend] = [ast.literal_eval(line) for line in run.stdout.splitlines()]
    assert ["apple", "lemon", "plum"] == answers["pytorch"] == answers["onnxruntime"]
