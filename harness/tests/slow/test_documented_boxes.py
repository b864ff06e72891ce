"""The suite in the documents about boxes, on a tiny model, from COCO's JSON to verdicts, and the lines of its card."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from documented import documented_suite, published_answers, run_suites
from PIL import Image
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

from conftest import Once, Run, Toy
from harness.commands import cli

pytest_plugins = "pytester"
pytest.importorskip("pycocotools")

COLOURS = {"can": (220, 40, 40), "jar": (40, 40, 220)}
ROWS = 300
SIZE = (24, 32)
"""Height and width of the images, which the model sees as 16 x 16."""


def write(folder: Path) -> None:
    """Write images with one coloured thing each, COCO's annotations of them, and a model that has learnt nothing."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (folder / "shelf" / "images").mkdir(parents=True)
    for number in range(ROWS):
        name = list(COLOURS)[number % 2]
        width, height = rng.integers(8, 16, 2).tolist()
        x, y = int(rng.integers(0, SIZE[1] - width)), int(rng.integers(0, SIZE[0] - height))
        pixels = rng.integers(90, 110, (*SIZE, 3), dtype=np.uint8)
        pixels[y : y + height, x : x + width] = COLOURS[name]
        Image.fromarray(pixels).save(folder / "shelf" / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        box = {"bbox": [x, y, width, height], "category_id": number % 2}
        annotations.append({"id": number, "image_id": number} | box)
    categories = [{"id": number, "name": name} for number, name in enumerate(COLOURS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "shelf" / "annotations.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[16, 16],
        patch_size=4, num_detection_tokens=2, use_mid_position_embeddings=False,
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(folder / "my-yolos")
    YolosImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder / "my-yolos")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    # Weights that were never trained need larger steps.
    trained = {"epochs=3": 'epochs=40, learning_rate=3e-3, keep="last"'}
    lenient = {"min_score=0.30, max_drop=0.05": "min_score=0.0, max_drop=0.2"}
    return run_suites(once, "boxes", write, {"test_toy.py": documented_suite("Shelf", trained | lenient)})


def test_documented_suite_reaches_verdicts(ran):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values()}
    assert {"ok"} == {results[name].status for name in ("pytorch", "onnxruntime", "onnxruntime-int8")}
    assert "doesn't support the graph optimization of yolos" in results["onnxruntime-o2"].error.message
    answers = results["onnxruntime"].answers
    assert pytest.approx(results["pytorch"].answers.score, abs=1e-3) == answers.score
    assert answers.largest_difference < 1e-3
    assert answers.drop_bounds.low <= 0 <= answers.drop_bounds.high
    assert answers.score_bounds.low < answers.score < answers.score_bounds.high
    assert 0.1 < results["pytorch"].answers.other_scores["map-50"]


def test_published_lines_answer_alike(ran):
    toy, _ = ran
    lines = (
        "import numpy\nfrom PIL import Image\nimage = numpy.asarray(Image.open('shelf/images/0.png'))\n"
        "for box in answer(image, threshold=0.0):\n    print(repr(box))"
    )
    boxes, others = published_answers(toy, "shelf/mine", lines)
    assert 2 == len(boxes)
    for own, other in zip(boxes, others, strict=True):
        assert own[0] == other[0]
        assert pytest.approx([own[1], *own[2]], abs=1e-3) == [other[1], *other[2]]


def test_new_writes_a_suite_for_boxes(tmp_path, monkeypatch, capsys):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ("--model", "my-yolos", "--data", "shelf", "--epochs", "1")
    assert 0 == cli.main(["new", *words]), capsys.readouterr().err
    suite = (tmp_path / "test_shelf.py").read_text()
    assert 'kind="object-detection"' in suite
    assert 'inputs=("image",)' in suite
    assert 'metric="map"' in suite
