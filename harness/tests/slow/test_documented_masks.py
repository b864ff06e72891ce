"""The suite in the documents about masks, on a tiny model, from pictures to verdicts, and the lines of its card."""

from pathlib import Path

import numpy as np
import pytest
import torch
from documented import documented_suite, published_answers, run_suites
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

COLOURS = np.array([(90, 140, 90), (120, 120, 120), (220, 40, 40)])
ROWS = 200
SIZE = (24, 32)
"""Height and width of the images, which the model sees as 16 x 16."""


def write(folder: Path) -> None:
    """Write images of a road and a sign in noise, their masks, and a model that has learnt nothing."""
    rng = np.random.default_rng(0)
    for side in ("images", "masks"):
        (folder / "roads" / side).mkdir(parents=True)
    for number in range(ROWS):
        mask = np.zeros(SIZE, np.uint8)
        mask[rng.integers(8, 16) :] = 1
        y, x = rng.integers(0, 4), rng.integers(0, 20)
        mask[y : y + 6, x : x + 8] = 2
        pixels = np.clip(COLOURS[mask] + rng.integers(-15, 15, (*SIZE, 3)), 0, 255).astype(np.uint8)
        mask[:, 0] = 255
        Image.fromarray(pixels).save(folder / "roads" / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "roads" / "masks" / f"{number}.png")
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[1, 1], hidden_sizes=[16, 16], patch_sizes=[3, 3],
        strides=[1, 1], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16,
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder / "my-segformer")
    SegformerImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder / "my-segformer")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    # Weights that were never trained need larger steps.
    changes = {"epochs=3": "epochs=15, learning_rate=5e-3", "max_drop=0.05": "max_drop=0.1"}
    return run_suites(once, "masks", write, {"test_toy.py": documented_suite("Roads", changes)})


def test_documented_suite_reaches_verdicts(ran):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values()}
    names = ("pytorch", "onnxruntime", "onnxruntime-o2", "onnxruntime-int8")
    assert {"ok"} == {results[name].status for name in names}
    scores = [results[name].answers.score for name in names[:3]]
    assert 0.7 < min(scores)
    assert max(scores) - min(scores) < 1e-3
    for name in names:
        answers = results[name].answers
        assert answers.drop_bounds.low <= 0 <= answers.drop_bounds.high or name == names[3]
        assert answers.largest_difference < (1e-3 if name != names[3] else 10)
    assert "3.1% of all pixels are 255 (ignore=) and count for nothing" in run.text


def test_published_lines_answer_alike(ran):
    toy, _ = ran
    lines = "import numpy\nfrom PIL import Image\nimage = numpy.asarray(Image.open('roads/images/0.png'))\n"
    (own,), (other,) = published_answers(toy, "roads/mine", f"{lines}print(repr(answer(image)))")
    mask = np.array(own)
    assert SIZE == mask.shape
    assert {"ground", "road", "sign"} == {*mask.ravel().tolist()}
    assert 0.99 < np.mean(mask == np.array(other))
