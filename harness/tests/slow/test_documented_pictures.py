"""The suites in the documents about pictures and texts, on tiny models, to verdicts and the lines of a card."""

from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
from documented import documented_suite, published_answers, run_suites

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

PICTURES = {"fruit": ("apple/0", "lemon/1", "plum/2"), "baskets": ("0", "1", "2", "3", "4", "5")}


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def write(folder: Path) -> None:
        tiny_pictures.write_pictures(folder / "fruit", 420)
        tiny_pictures.save_clip(folder / "my-clip", steps=80)
        tiny_pictures.write_captions(folder / "baskets", 420)
        tiny_pictures.save_writer(folder / "my-trocr")

    # Weights that were never trained need larger steps.
    steps = {"epochs=3": "epochs=20, learning_rate=5e-3"}
    suites = {f"test_{title.lower()}.py": documented_suite(title, steps) for title in ("Fruit", "Baskets")}
    return run_suites(once, "pictures", write, suites)


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
    lines = f"import numpy\nfrom PIL import Image\nfor name in {PICTURES[task]}:\n"
    lines += f"    print(repr(answer(numpy.asarray(Image.open(f'{task}/{{name}}.png')))))"
    own, other = published_answers(toy, f"{task}/mine", lines)
    assert own == other
    assert 2 < len({*own})
