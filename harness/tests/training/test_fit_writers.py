"""Causal language models and prompts that do not fit each other are refused before training, with what to do."""

import json
from dataclasses import replace

import pytest
from tiny_writers import POSITIONS, TEMPLATE, save_writer
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from harness.contracts.sources import Folder, Local
from harness.errors import HarnessError
from harness.spec import Model, Recipe, Task
from harness.training import fit
from harness.training.folder_checks import heads

TASK = Task(name="sums", kind="text-generation", dataset=Folder("rows.jsonl"), inputs=("prompt",), label="sum",
            metric="exact-match")  # fmt: skip
MODEL = Model(name="mine", source=Local("model"), max_length=20, new_tokens=4)
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture
def suite(tmp_path):
    rows = [{"prompt": f"{n}+{n}=", "sum": str(2 * n)} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_writer(tmp_path / "model")
    return tmp_path


def problem(suite, model=MODEL, task=TASK):
    with pytest.raises(HarnessError) as error:
        fit.check(task, model, suite)
    return str(error.value)


@pytest.mark.parametrize("recipe", [Recipe(epochs=0), Recipe(epochs=1)], ids=["as it is", "trained"])
def test_model_that_fits_has_no_notes(suite, recipe):
    assert () == fit.check(TASK, replace(MODEL, recipe=recipe), suite)


@pytest.mark.parametrize("recipe", [Recipe(epochs=0), Recipe(epochs=1)], ids=["as it is", "trained"])
def test_encoder_is_refused(suite, recipe):
    BertForMaskedLM(BertConfig(vocab_size=300, **SIZES)).save_pretrained(suite / "model")
    assert "a bert is an encoder: it reads whole texts and continues none" in problem(
        suite, replace(MODEL, recipe=recipe)
    )


def test_encoder_decoder_is_sent_to_its_kinds(suite):
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=300, **sizes)).save_pretrained(suite / "model")
    assert "translation" in problem(suite)


def test_prompt_and_answer_must_fit_what_the_model_reads(suite):
    text = problem(suite, replace(MODEL, max_length=62))
    assert f"max_length=62 and new_tokens=4 together exceed the {POSITIONS} tokens" in text
    assert "set max_length=60 or less" in text
    assert "set new_tokens below 64" in problem(suite, replace(MODEL, new_tokens=64))
    assert () == fit.check(TASK, replace(MODEL, max_length=60), suite)


def test_longer_prompts_are_refused_with_their_number(suite):
    assert "prompts are longer than max_length=5" in problem(suite, replace(MODEL, max_length=5))


def test_chat_without_template_is_refused(suite):
    chat = replace(TASK, kind="chat-completion")
    assert "no chat template" in problem(suite, task=chat)
    save_writer(suite / "model", chat_template=TEMPLATE)
    assert () == fit.check(chat, replace(MODEL, max_length=40), renamed(suite))


def renamed(suite):
    """Return the same folder under another name: checks of one name are made once."""
    return suite / "model" / ".."


def test_empty_references_are_refused_by_row(suite):
    rows = [{"prompt": f"{n}+{n}=", "sum": str(2 * n) if n != 7 else " "} for n in range(60)]
    (suite / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "row 7 of train: the reference is empty; leave it out" in problem(suite)


def test_tokenizer_without_a_model_is_refused(suite):
    (suite / "model" / "model.safetensors").unlink()
    assert "has no weights" in problem(suite)
    (suite / "model" / "config.json").unlink()
    assert "has no config.json; write it with save_pretrained" in problem(suite, replace(MODEL, max_length=19))


@pytest.mark.parametrize(("template", "kinds"), [("", ["text-generation"]), (TEMPLATE, ["chat-completion"])])
def test_template_decides_what_a_model_is_for(tmp_path, template, kinds):
    save_writer(tmp_path, **({"chat_template": template} if template else {}))
    assert kinds == heads(tmp_path)[2]
