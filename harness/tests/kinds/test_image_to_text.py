"""Image to text: what is trained and refused, and how written tokens become text."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_pictures import COLOURS, WORDS, picture, save_clip, save_writer, tokenizer, write_captions
from transformers import BlipConfig, BlipForConditionalGeneration

from harness import checkpoint
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Folder, Local
from harness.errors import HarnessError
from harness.kinds import image_to_text as kind
from harness.spec import Model, Recipe, Task
from harness.training import fit
from harness.training.folder_checks import heads

TASK = Task(
    name="baskets", kind="image-to-text", dataset=Folder("baskets"), inputs=("image",), label="text",
    metric="rougeL", also=("exact-match",), test=6, validation=3, calibration=3,
)  # fmt: skip
MODEL = Model(name="mine", source=Local("model"))
START, END, ONE, APPLE = 1, 2, WORDS.index("one"), len(WORDS)


@pytest.fixture
def suite(tmp_path):
    """A folder with pictures, what they show, and a model of random weights."""
    write_captions(tmp_path / "baskets", 24)
    save_writer(tmp_path / "model")
    fit.check.cache_clear()
    return tmp_path


def encoded(folder, *texts, longest=16):
    processor, rng = kind.load_processor(folder), np.random.default_rng(0)
    rows = [{"image": picture(rng, "apple"), "label": text} for text in texts]
    return EncodedRows(processor, rows, ("image",), kind.encode(processor, rows, ("image",), longest), longest)


def test_written_tokens_become_text(tmp_path):
    save_writer(tmp_path)
    outputs = {"sequences": np.array([[START, START, ONE, APPLE, END, 0, 0]])}
    assert ["one apple"] == kind.predict(encoded(tmp_path, ""), [outputs])
    assert 4 == kind.tokens(kind.load_processor(tmp_path), outputs)


def test_text_is_trained_with_its_end(tmp_path):
    save_writer(tmp_path)
    assert [[{"labels": [START, ONE, APPLE, END]}]] == kind.targets(encoded(tmp_path, "one apple"))
    assert [[{"labels": [START, ONE, END]}]] == kind.targets(encoded(tmp_path, "one apple", longest=3))


def test_end_is_added_where_the_tokenizer_writes_none(tmp_path):
    save_writer(tmp_path)
    words = tokenizer([*COLOURS])
    words.backend_tokenizer.post_processor = None
    words.save_pretrained(tmp_path)
    assert [[{"labels": [ONE, APPLE, END]}]] == kind.targets(encoded(tmp_path, "one apple"))


def test_pictures_are_answered_alone_and_together_alike(tmp_path):
    run = checkpoint.make_run(save_writer(tmp_path), "cpu")
    rows = encoded(tmp_path, "", "", "")
    examples = [example for (example,) in rows.examples]
    together = run(kind.collate(rows.processor, examples))["sequences"]
    assert [3, 3, 16, 16] == [*kind.collate(rows.processor, examples)["pixel_values"].shape]
    alone = [run(kind.collate(rows.processor, [example]))["sequences"] for example in examples]
    assert together.tolist() == np.concatenate(alone).tolist()


def test_preflight_takes_a_sound_model(suite):
    fit.check(TASK, replace(MODEL, recipe=Recipe(epochs=1)), suite)
    assert ["image-to-text"] == heads(suite / "model")[2]


def test_model_that_reads_prompts_is_refused(suite):
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
    sight = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16}
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=sight)).save_pretrained(suite / "model")
    with pytest.raises(HarnessError, match=r"a blip reads more than pixels, .*give a vision-encoder-decoder") as caught:
        fit.check(TASK, MODEL, suite)
    assert 1 == len(str(caught.value).splitlines())


def test_model_that_writes_nothing_is_refused(suite):
    save_clip(suite / "model")
    with pytest.raises(HarnessError, match="a clip has no head for image-to-text; it fits image-classification"):
        fit.check(TASK, MODEL, suite)


def test_other_padding_than_the_models_is_refused(suite):
    file = suite / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token_id": 5}))
    with pytest.raises(HarnessError, match=r"the tokenizer pads with token 0 and config.json has pad_token_id=5"):
        fit.check(TASK, MODEL, suite)


def test_training_needs_the_token_that_starts_a_text(suite):
    file = suite / "model" / "config.json"
    declared = json.loads(file.read_text())
    assert START == declared.pop("decoder_start_token_id")
    file.write_text(json.dumps(declared))
    with pytest.raises(HarnessError, match=r"config.json: has no decoder_start_token_id, the token before each text"):
        fit.check(TASK, replace(MODEL, recipe=Recipe(epochs=1)), suite)
    fit.check(TASK, MODEL, suite)  # generation_config.json has it, too


def test_tokenizer_of_another_model_is_refused(suite):
    words = tokenizer([*COLOURS, *map(str, range(99))])
    words.add_special_tokens({"pad_token": "<filler>"})
    words.save_pretrained(suite / "model")
    with pytest.raises(HarnessError, match="the tokenizer pads with token 116, and the model has embeddings for 0 to"):
        fit.check(TASK, MODEL, suite)


def test_picture_without_text_is_refused(suite):
    lines = (suite / "baskets" / "metadata.jsonl").read_text().splitlines()
    (suite / "baskets" / "metadata.jsonl").write_text("\n".join([json.dumps({"file_name": "0.png"}), *lines[1:]]))
    with pytest.raises(HarnessError, match=r"row 0 .*has no value in text"):
        fit.check(TASK, replace(MODEL, name="other"), suite)
