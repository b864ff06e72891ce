"""Zero-shot image classification: one picture against the texts about all labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_kinds import wordpieces
from tiny_pictures import COLOURS, LAYER, WORDS, picture, save_clip, write_pictures
from transformers import BertConfig, BertModel, ViTConfig, ViTForImageClassification, pipeline

from harness import checkpoint
from harness.backends.onnx_optimum import _single_rows
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Folder, Local
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import zero_shot_image_classification as kind
from harness.kinds.zero_shot import SETTINGS
from harness.spec import Model, Recipe, Task
from harness.training import fit
from harness.training.folder_checks import heads

LABELS = tuple(COLOURS)
TASK = Task(
    name="fruit", kind="zero-shot-image-classification", dataset=Folder("fruit"), inputs=("image",), label="label",
    metric="accuracy", also=("f1-macro",), test=6, validation=3, calibration=3,
)  # fmt: skip
MODEL = Model(name="mine", source=Local("model"))
RNG = np.random.default_rng(0)
ROWS = [{"image": picture(RNG, name), "label": place} for _ in range(3) for place, name in enumerate(LABELS)]


@pytest.fixture
def suite(tmp_path):
    """A folder with pictures and a model of random weights."""
    write_pictures(tmp_path / "fruit", 18)
    save_clip(tmp_path / "model")
    fit.check.cache_clear()
    return tmp_path


def inputs_of(folder, names=()):
    processor = kind.load_processor(folder)
    kind.prepare(processor, LABELS, names)
    return Inputs(kind, EncodedRows(processor, ROWS, ("image",), kind.encode(processor, ROWS, ("image",), 32)), LABELS)


@pytest.mark.parametrize("siglip", [False, True])
def test_answers_are_those_of_the_pipeline(tmp_path, siglip):
    model = save_clip(tmp_path, siglip=siglip)
    inputs, run = inputs_of(tmp_path), checkpoint.make_run(model, "cpu")
    outputs = [kind.reduce({}, run(inputs.batch([row]))) for row in range(len(ROWS))]
    viewer = inputs.encoded.processor
    ask = pipeline(
        "zero-shot-image-classification", model=model, tokenizer=viewer.tokenizer, image_processor=viewer.media
    )
    for row, label in zip(ROWS, inputs.predictions(outputs), strict=True):
        assert LABELS[label] == ask(Image.fromarray(row["image"]), list(LABELS))[0]["label"]


def test_row_is_one_picture_and_all_texts(tmp_path):
    save_clip(tmp_path)
    inputs = inputs_of(tmp_path)
    batch = inputs.batch([0, 1, 2, 3])
    assert ["pixel_values", "input_ids", "attention_mask"] == [*batch]
    assert [4, 3, 3] == [len(array) for array in batch.values()]
    assert [1] * len(ROWS) == inputs.entries(range(len(ROWS)))
    for row in _single_rows(dict(sorted(batch.items())), kind.shared):  # sorted, as an example is read
        assert {"pixel_values": 1, "input_ids": 3, "attention_mask": 3} == {n: len(array) for n, array in row.items()}


def test_texts_of_siglip_fill_its_positions(tmp_path):
    save_clip(tmp_path, siglip=True)
    texts = inputs_of(tmp_path).encoded.processor.texts
    assert {"input_ids": (3, 64)} == {name: array.shape for name, array in texts.items()}


def test_checkpoint_keeps_the_texts(tmp_path):
    save_clip(tmp_path)
    first = inputs_of(tmp_path, {f"a photo of {name}": name for name in reversed(LABELS)}).encoded.processor
    assert first.tokenizer.init_kwargs[SETTINGS]["hypotheses"] == [f"a photo of {name}" for name in LABELS]
    first.save_pretrained(tmp_path)
    again = kind.load_processor(tmp_path)
    assert first.texts["input_ids"].tolist() == again.texts["input_ids"].tolist()
    assert "the hypotheses are 'a photo of apple'; 'a photo of lemon'; 'a photo of plum'" == kind.remark(
        tmp_path, EncodedRows(again, [], ("image",), []), []
    )


def test_default_text_is_that_of_the_pipeline(tmp_path):
    save_clip(tmp_path)
    texts = inputs_of(tmp_path).encoded.processor.tokenizer.init_kwargs[SETTINGS]["hypotheses"]
    assert [f"This is a photo of {name}." for name in LABELS] == texts


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"a": "apple", "b": "lemon"}, "must map a hypothesis to each label, .*the labels are apple, lemon, plum"),
        ({"a": "apple", "b": "lemon", "c": "plum", "d": "pear"}, "must map a hypothesis to each label"),
        (("a photo of {}.", "a", "b"), "must map a hypothesis to each label"),
        ({"Apple": "apple", "apple": "lemon", "plum": "plum"}, "same tokens of 'Apple' and 'apple', so that no answer"),
        ({"pear": "apple", "kiwi": "lemon", "plum": "plum"}, "same tokens of 'pear' and 'kiwi'"),
        ({"apple": "apple", "lemon": "lemon", " ".join(WORDS * 5): "plum"}, "has 72 tokens, and the model reads 64"),
    ],
)
def test_texts_must_tell_the_labels_apart(tmp_path, names, problem):
    save_clip(tmp_path)
    with pytest.raises(HarnessError, match=problem):
        inputs_of(tmp_path, names)


def test_preflight_takes_a_sound_model(suite):
    fit.check(TASK, MODEL, suite)
    assert ["zero-shot-image-classification"] == heads(suite / "model")[2]


def test_model_without_pictures_is_refused(suite):
    config = BertConfig(vocab_size=17, **LAYER)
    BertModel(config).save_pretrained(suite / "model")
    wordpieces().save_pretrained(suite / "model")
    with pytest.raises(HarnessError, match="a bert has no head for zero-shot-image-classification; it fits "):
        fit.check(TASK, MODEL, suite)


def test_model_without_texts_is_refused(suite):
    ViTForImageClassification(ViTConfig(**LAYER, image_size=16)).save_pretrained(suite / "model")
    with pytest.raises(HarnessError, match="a vit has no head for zero-shot-image-classification; it fits image-class"):
        fit.check(TASK, MODEL, suite)


def test_weights_without_the_half_for_pictures_are_refused(suite):
    file = suite / "model" / checkpoint.WEIGHTS
    save_file({name: one for name, one in load_file(file).items() if "vision" not in name}, file, {"format": "pt"})
    with pytest.raises(HarnessError, match=r"has no weights for vision_model\..*, which config.json declares"):
        fit.check(TASK, MODEL, suite)


def test_broken_picture_is_refused_by_its_name(suite):
    (suite / "fruit" / "plum" / "2.png").write_bytes(b"\x89PNG")
    with pytest.raises(HarnessError, match=r"1 of 18 images of train cannot be used, the first .*plum/2.png"):
        fit.check(TASK, replace(MODEL, name="other"), suite)


def test_recipe_is_refused_by_a_better_kind(suite):
    with pytest.raises(HarnessError, match=r"leave recipe= out, or choose image-classification"):
        fit.check(TASK, replace(MODEL, recipe=Recipe(epochs=1)), suite)


def test_tokens_beyond_the_vocabulary_are_refused(suite):
    file = suite / "model" / checkpoint.WEIGHTS
    weights, name = load_file(file), "text_model.embeddings.token_embedding.weight"
    weights[name] = weights[name][:10].clone()
    save_file(weights, file, {"format": "pt"})
    config = suite / "model" / "config.json"
    config.write_text(config.read_text().replace(f'"vocab_size": {len(WORDS) + 3}', '"vocab_size": 10'))
    with pytest.raises(HarnessError, match=r"fails on two rows of the test part: IndexError: .*the tokenizer that"):
        fit.check(TASK, MODEL, suite)


def test_only_the_logits_of_pictures_are_kept():
    outputs = {"logits_per_text": np.zeros((3, 1)), "logits_per_image": torch.ones(1, 3).numpy()}
    assert {"logits": [[1, 1, 1]]} == {name: array.tolist() for name, array in kind.reduce({}, outputs).items()}
