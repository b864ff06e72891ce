"""The suites in the documents about pictures and texts, on tiny models, to verdicts and the lines of a card."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny_pictures
from tiny_models import resolve
from users import readme_example

from conftest import Once, Run, Toy
from harness.backends.onnx_optimum import OPTIMUM
from harness.environments.interpreters import interpreter_environment

pytest_plugins = "pytester"

PICTURES = {"fruit": ("apple/0", "lemon/1", "plum/2"), "baskets": ("0", "1", "2", "3", "4", "5")}


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        tiny_pictures.write_pictures(toy.folder / "fruit", 420)
        tiny_pictures.save_clip(toy.folder / "my-clip", steps=80)
        tiny_pictures.write_captions(toy.folder / "baskets", 420)
        tiny_pictures.save_writer(toy.folder / "my-trocr")
        for name, begin in {"fruit": '"""Fruit', "baskets": '"""Baskets'}.items():
            # Weights that were never trained need larger steps.
            suite = readme_example(begin, "suites/README.md").replace("epochs=3", "epochs=20, learning_rate=5e-3")
            (toy.folder / f"test_{name}.py").write_text(suite)
        return toy.run("-v", "-m", "not cuda", "--ship-budget=8", undecided=True, timeout_s=1500)

    return once("documented-pictures", make)


@pytest.mark.parametrize(
    ("task", "exact"), [("fruit", ("onnxruntime", "onnxruntime-o2")), ("baskets", ("onnxruntime",))]
)
def test_documented_suite_reaches_verdicts(ran, task, exact):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values() if result.task == task}
    assert {"ok"} == {results[name].status for name in ("pytorch", *exact, "onnxruntime-int8")}
    assert {results["pytorch"].answers.score} == {results[name].answers.score for name in exact}
    assert 0.8 < results["pytorch"].answers.score


def test_texts_about_labels_are_stated(ran):
    _, run = ran
    assert "the hypotheses are 'A photo of one apple on the table.'; " in run.text


def test_written_pictures_have_tokens_and_no_fused_graph(ran):
    toy, run = ran
    result = toy.results["baskets/mine.onnxruntime.cpu"]
    assert 0.5 < result.answers.other_scores["exact-match"]
    assert 5 < np.mean(result.answers.tokens)
    assert "unsupported" == toy.results["baskets/mine.onnxruntime-o2.cpu"].status
    assert "vision-encoder-decoder yet" in run.text


@pytest.mark.parametrize("task", PICTURES)
def test_published_lines_answer_alike(ran, task):
    toy, _ = ran
    answers = {}
    for backend in ("pytorch", "onnxruntime"):
        words = ("publish", f"{task}/mine.{backend}.cpu", "--to", f"{task}-{backend}", "--anyway")
        done = toy.command("harness", *words, "--ship-artifacts", str(toy.artifacts))
        assert 0 == done.status, done.text
        lines = (toy.folder / f"{task}-{backend}" / "README.md").read_text().split("```python\n")[1].split("```")[0]
        asked = f"import numpy\nfrom PIL import Image\nfor name in {PICTURES[task]}:\n"
        asked += f"    print(repr(answer(numpy.asarray(Image.open(f'{task}/{{name}}.png')))))"
        variables = os.environ
        if "from optimum" in lines:
            variables = interpreter_environment(resolve(OPTIMUM), variables)
        script = f"{lines}\n{asked}"
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=toy.folder, env=variables
        )
        assert not run.returncode, run.stderr
        answers[backend] = [ast.literal_eval(line) for line in run.stdout.splitlines()]
    assert answers["pytorch"] == answers["onnxruntime"]
    assert 2 < len({*answers["pytorch"]})
