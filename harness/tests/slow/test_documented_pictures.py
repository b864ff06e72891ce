"""The suite in the documents about pictures and texts, on a tiny model, to verdicts and the lines of its card."""

from pathlib import Path

import pytest
import tiny_pictures
from documented import documented_suite, published_answers, run_suites

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

FLOAT = ("pytorch", "onnxruntime", "onnxruntime-o2")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def write(folder: Path) -> None:
        tiny_pictures.write_pictures(folder / "fruit", 420)
        tiny_pictures.save_clip(folder / "my-clip", steps=80)

    return run_suites(once, "pictures", write, {"test_toy.py": documented_suite("Fruit")})


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
    lines = "import numpy\nfrom PIL import Image\nfor name in ('apple/0', 'lemon/1', 'plum/2'):\n"
    lines += "    print(repr(answer(numpy.asarray(Image.open(f'fruit/{name}.png')))))"
    names = ["apple", "lemon", "plum"]
    assert (names, names) == published_answers(toy, "fruit/mine", lines)
