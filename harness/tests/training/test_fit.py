"""Model, processor and rows that do not fit each other are refused before training, with what to do."""

import csv
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from harness.contracts.sources import Folder, Local
from harness.errors import HarnessError
from harness.spec import Model, Recipe, Task
from harness.training import fit
from harness.training.pretrained import Fit
from harness.training.scan import positions
from harness.util.console import Progress, showing

WORDS = ["the", "parcel", "came", "late", "invoice", "is", "wrong", "box", "broken", "again", "please", "help"]
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
LABELS = ("billing", "delivery")
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
BART = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}  # fmt: skip
NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
TASK = Task(name="tickets", kind="text-classification", dataset=Folder("rows.csv"), inputs=("text",), label="team",
            metric="accuracy")  # fmt: skip
MODEL = Model(name="mine", source=Local("model"), max_length=32)
TRAINED = replace(MODEL, recipe=Recipe(epochs=1))


def tokenizer(**changes):
    """A word tokenizer with RoBERTa's special tokens in their places."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokens = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), SPECIAL, strict=True))
    settings = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"], **tokens, **changes}
    return PreTrainedTokenizerFast(tokenizer_object=core, **settings)


VOCABULARY = len(SPECIAL) + len(WORDS)
BERT = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=40, pad_token_id=1, **SIZES, **NAMES)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite's folder with 60 tickets and a finished BERT."""
    torch.manual_seed(0)
    write_rows(tmp_path, [(f"{WORDS[i % 4]} {WORDS[i % 11]} number{i}", LABELS[i % 2]) for i in range(60)])
    save(tmp_path, BertForSequenceClassification(BERT))
    return tmp_path


def write_rows(folder, rows, columns=("text", "team")):
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def save(folder, model, own=None):
    model.save_pretrained(folder / "model")
    (own or tokenizer()).save_pretrained(folder / "model")


def edit(folder, name="config.json", **changes):
    file = folder / "model" / name
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | changes))


def problem(suite, model=MODEL, task=TASK):
    with pytest.raises(HarnessError) as error:
        fit.check(task, model, suite)
    lines = str(error.value).splitlines()
    assert all(line.startswith("model mine: ") for line in lines)
    return str(error.value)


def notes(suite, model=MODEL, task=TASK):
    return "\n".join(fit.check(task, model, suite))


@pytest.mark.parametrize("model", [MODEL, TRAINED], ids=["as it is", "trained"])
def test_a_model_that_fits_has_no_notes(suite, model):
    assert not notes(suite, model)


# Files


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_named(suite, name):
    (suite / "model" / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    assert re.search(rf"{name} is a Git LFS pointer, .* git lfs pull", problem(suite))


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_cut_weights_are_named_with_their_size(suite, kept):
    file = suite / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    size = f"{file.stat().st_size:,}"
    assert re.search(rf"model.safetensors \({size} bytes\) is (empty|cut short)", problem(suite))


def test_cut_pickles_are_named(suite):
    file = pickled(suite)
    file.write_bytes(file.read_bytes()[:-500])
    assert re.search(r"pytorch_model.bin \(.* bytes\) is cut short", problem(suite))


def pickled(suite):
    weights = suite / "model" / "model.safetensors"
    torch.save(load_file(weights), suite / "model" / "pytorch_model.bin")
    weights.unlink()
    return suite / "model" / "pytorch_model.bin"


def test_pickles_are_read_beside_foreign_safetensors(suite):
    pickled(suite)
    save_file({"other": torch.zeros(1)}, suite / "model" / "optimizer.safetensors")
    assert "its weights come as pickles alone" in notes(suite)


def test_weights_that_are_there_twice_are_noted(suite):
    torch.save({}, suite / "model" / "pytorch_model.bin")
    assert "those in safetensors were read, not pytorch_model.bin" in notes(suite)


def test_weights_of_another_name_are_listed(suite):
    (suite / "model" / "model.safetensors").rename(suite / "model" / "weights.safetensors")
    assert re.search(
        "has no weights: Transformers reads model.safetensors .* it has weights.safetensors", problem(suite)
    )


def test_a_missing_shard_is_named(suite):
    model = BertForSequenceClassification(BERT)
    (suite / "model" / "model.safetensors").unlink()
    model.save_pretrained(suite / "model", max_shard_size="2KB")
    shard = sorted((suite / "model").glob("model-*.safetensors"))[1]
    assert not notes(suite)
    fit.check.cache_clear()
    shard.unlink()
    assert f"index.json names {shard.name}, which is not there" in problem(suite)


def test_an_adapter_beside_the_weights_is_refused(suite):
    edit(suite, "adapter_config.json", peft_type="LORA")
    assert re.search(r"adapter_config.json declares a PEFT adapter.*merge_and_unload\(\)", problem(suite))


def test_an_adapter_alone_says_how_to_merge_it(suite):
    edit(suite, "adapter_config.json", peft_type="LORA")
    (suite / "model" / "config.json").unlink()
    with pytest.raises(HarnessError, match=r"has no config.json; it is a PEFT adapter.*merge_and_unload"):
        Local("model").locate(suite)


def test_quantized_weights_are_refused_by_key(suite):
    edit(suite, quantization_config={"quant_method": "bitsandbytes"})
    assert re.search(r"config.json: quantization_config .*bitsandbytes", problem(suite))


# Configuration


def test_an_unknown_model_type_names_the_version_that_wrote_it(suite):
    edit(suite, model_type="bertt", transformers_version="6.1")
    message = r"model_type 'bertt' is unknown to transformers .*did you mean 'bert'.*written by 6\.1"
    assert re.search(message, problem(suite))


ROTARY = LlamaConfig(vocab_size=VOCABULARY, pad_token_id=1, num_key_value_heads=2, **SIZES, **NAMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}, ""),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}, ""),
        ({"rope_parameters": {"rope_type": "helix", "factor": 4.0}}, "rope_parameters has the rope_type 'helix'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "helix"}}}, "rope_parameters has the rope_type 'helix'"),
        ({"rope_scaling": {"rope_type": "spiral", "factor": 4.0}}, "rope_scaling has the rope_type 'spiral'"),
    ],
)
def test_rotary_settings_of_another_version_are_refused(suite, changes, message):
    save(suite, LlamaForSequenceClassification(ROTARY))
    edit(suite, **changes)
    if message:
        assert message in problem(suite)
    else:
        assert not notes(suite)


def test_rotary_settings_of_every_age_are_read(suite):
    save(suite, LlamaForSequenceClassification(ROTARY))
    edit(suite, rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0})
    expected = Fit(TASK, MODEL, suite, suite / "model").config.rope_parameters
    assert {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0} == expected
    edit(suite, rope_parameters=None, rope_theta=500.0, rope_scaling={"type": "linear", "factor": 4.0})
    read = Fit(TASK, MODEL, suite, suite / "model").config.rope_parameters
    assert expected.items() <= read.items()


def test_a_model_of_another_kind_names_the_kinds_that_it_fits(suite):
    ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SIZES, **NAMES)).save_pretrained(suite / "model")
    assert "a vit has no head for text-classification; it fits image-classification" in problem(suite)


def test_a_head_of_another_kind_is_refused_as_it_is(suite):
    save(suite, BertForTokenClassification(BERT))
    assert "BertForTokenClassification, finished for token-classification, not for text-class" in problem(suite)
    assert "are not used" not in notes(suite, TRAINED)


def test_a_body_is_refused_in_one_sentence(suite):
    save(suite, BertModel(BERT))
    edit(suite, id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id={})
    text = problem(suite)
    assert text.endswith("train a head for it with Model(recipe=Recipe(epochs=3))")
    assert 1 == len(text.splitlines())
    assert not notes(suite, TRAINED)


def test_generic_label_names_must_be_declared(suite):
    edit(suite, id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id={"LABEL_0": 0, "LABEL_1": 1})
    assert "its head answers LABEL_0, LABEL_1, but not billing, delivery; map its labels" in problem(suite)
    assert not notes(suite, replace(MODEL, labels=("delivery", "billing")))


@pytest.mark.parametrize("name", ["multi_label_classification", "regression"])
def test_heads_of_other_problem_types_are_refused_by_key(suite, name):
    edit(suite, problem_type=name)
    assert f"config.json: problem_type '{name}', whose answer is not one label" in problem(suite)
    assert not notes(suite, TRAINED)


def test_a_one_logit_head_says_what_can_be_done(suite):
    save(suite, BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, num_labels=1, **SIZES)))
    message = r"one logit \(num_labels is 1\), which cannot choose between billing, delivery: train a head"
    assert re.search(message, problem(suite))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label2id": {"billing": 1, "delivery": 0}}, "id2label calls 0 'billing', and label2id calls that 1"),
        ({"id2label": {"0": "billing", "2": "delivery"}}, "id2label has the numbers 0, 2"),
        ({"id2label": {"0": "billing", "1": "billing"}, "label2id": {}}, "id2label has billing more than once"),
    ],
)
def test_contradictory_label_names_are_refused(suite, changes, message):
    edit(suite, **changes)
    assert message in problem(suite)


# Weights


def change_weights(suite, change):
    file = suite / "model" / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


LAYER = "bert.encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize("model", [MODEL, TRAINED], ids=["as it is", "trained"])
def test_a_body_with_missing_weights_is_refused(suite, model):
    change_weights(suite, lambda weights: weights.pop(LAYER))
    assert f"has no weights for {LAYER}, which config.json declares" in problem(suite, model)


@pytest.mark.parametrize("model", [MODEL, TRAINED], ids=["as it is", "trained"])
def test_weights_of_further_layers_are_refused(suite, model):
    edit(suite, num_hidden_layers=1)
    assert re.search(
        r"weights of more layers than config.json declares, for example bert.encoder.layer.1", problem(suite, model)
    )


@pytest.mark.parametrize("model", [MODEL, TRAINED], ids=["as it is", "trained"])
def test_weights_of_another_shape_are_refused(suite, model):
    edit(suite, vocab_size=VOCABULARY + 3)
    assert re.search(
        rf"of another shape than .*word_embeddings.weight \(declared: \({VOCABULARY + 3}, 8\)\)", problem(suite, model)
    )


def test_weights_that_are_no_numbers_are_refused(suite):
    change_weights(suite, lambda weights: weights[LAYER].fill_(torch.nan))
    assert re.search(f"{LAYER} holds NaN or infinity", problem(suite))


def test_weights_in_half_precision_are_noted(suite):
    save(suite, BertForSequenceClassification(BERT).to(torch.bfloat16))
    assert "stored as BF16; the reference computes with them in float32" in notes(suite)


# Processor and rows


def test_a_padding_token_without_embedding_is_refused(suite):
    own = tokenizer()
    own.add_special_tokens({"pad_token": "[PAD]"})
    save(suite, BertForSequenceClassification(BERT), own)
    message = f"pads with token {VOCABULARY}, and the model has embeddings for 0 to {VOCABULARY - 1}"
    assert message in problem(suite)


@pytest.mark.parametrize("pad", [None, 0])
def test_a_last_token_head_needs_the_tokenizers_padding(suite, pad):
    save(suite, LlamaForSequenceClassification(ROTARY))
    edit(suite, pad_token_id=pad)
    assert f"pads with token 1 and config.json has pad_token_id={pad}" in problem(suite)


def test_tokens_beyond_the_vocabulary_are_refused_with_the_row(suite):
    own = tokenizer()
    own.add_tokens(["number7"])
    save(suite, BertForSequenceClassification(BERT), own)
    message = rf"gives token {VOCABULARY} \(row \d+ of \w+\), and the model has embeddings for 0 to {VOCABULARY - 1}"
    assert re.search(message, problem(suite, TRAINED))


def test_token_types_beyond_the_models_are_refused(suite):
    write_rows(suite, [(WORDS[i % 11], f"{i}", LABELS[i % 2]) for i in range(60)], ("text", "more", "team"))
    save(suite, BertForSequenceClassification(BertConfig(**BERT.to_dict() | {"type_vocab_size": 1})))
    task = replace(TASK, inputs=("text", "more"))
    assert re.search(r"token_type_ids of 1 \(\d+ rows, first row 0 of test\)", problem(suite, task=task))


def roberta(**changes):
    settings = {"vocab_size": VOCABULARY, "max_position_embeddings": 18, "pad_token_id": 1, "type_vocab_size": 2}
    return RobertaForSequenceClassification(RobertaConfig(**settings, **SIZES, **NAMES, **changes))


def test_positions_leave_out_robertas_padding(suite):
    write_rows(suite, [(f"{'help ' * (14 if i < 59 else 15)}{i}", LABELS[i % 2]) for i in range(60)])
    save(suite, roberta())
    message = r"max_length=32 lets 18 tokens through \([\d,]+ rows, first row 0 of \w+\), .* for 16; set max_length=16"
    assert re.search(message, problem(suite, TRAINED))
    assert re.search(r"a text is cut to max_length=16", notes(suite, replace(TRAINED, max_length=16)))


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        (BertModel(BERT), 40),
        (roberta(), 16),
        (BartForSequenceClassification(BartConfig(vocab_size=20, max_position_embeddings=24, **BART)), 24),
        (BartForConditionalGeneration(BartConfig(vocab_size=20, max_position_embeddings=24, **BART)), 24),
        (MarianMTModel(MarianConfig(vocab_size=20, max_position_embeddings=24, pad_token_id=1,
                                    decoder_start_token_id=1, **BART)), 24),
        (GPT2ForSequenceClassification(GPT2Config(vocab_size=20, n_positions=24, n_embd=8, n_layer=1, n_head=2)), 24),
        (T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_ff=8, d_kv=4, num_layers=1)), None),
        (DebertaV2Model(DebertaV2Config(relative_attention=True, position_biased_input=False, **SIZES)), None),
        (LlamaForSequenceClassification(ROTARY), None),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_positions_are_those_of_the_architecture(model, limit):
    assert limit == positions(model)


def test_rows_without_any_token_of_the_vocabulary_are_refused(suite):
    write_rows(suite, [(f"странно {i}", LABELS[i % 2]) for i in range(60)])
    assert "every row has a text without a single token that the tokenizer knows" in problem(suite)


def test_empty_texts_and_special_tokens_are_counted(suite):
    texts = [f"{WORDS[i % 11]} number{i}" for i in range(58)] + ["</s> help", "zzz"]
    write_rows(suite, [(text, LABELS[i % 2]) for i, text in enumerate(texts)])
    text = notes(suite, TRAINED)
    assert re.search(r"holds one of the tokenizer's special tokens .*</s>.*: row \d+ of \w+ \(of 60\)", text)
    assert re.search(r"the tokenizer knows no token of a text: row \d+ of \w+ \(of 60\)", text)


def test_a_tokenizer_much_smaller_than_the_model_is_noted(suite):
    save(suite, BertForSequenceClassification(BertConfig(**BERT.to_dict() | {"vocab_size": 40})))
    assert f"the tokenizer has {VOCABULARY} tokens and the model embeddings for 40" in notes(suite)


def test_every_problem_of_a_stage_is_reported(suite):
    edit(suite, quantization_config={"quant_method": "gptq"})
    (suite / "model" / "adapter_config.json").write_text("{}")
    (suite / "model" / "model.safetensors").write_bytes(b"")
    assert 3 == len(problem(suite).splitlines())


# Files of other writers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda model: model, r"holds Python objects, a whole module for instance"),
        (
            lambda model: {"state_dict": model.state_dict(), "epoch": 3},
            "holds no tensors by name but state_dict, epoch",
        ),
    ],
    ids=["module", "training checkpoint"],
)
def test_pickles_of_other_contents_are_refused(suite, content, message):
    pickled(suite)
    torch.save(content(BertForSequenceClassification(BERT)), suite / "model/pytorch_model.bin")
    assert re.search(message, problem(suite))


def test_weights_under_other_names_are_quoted(suite):
    file = suite / "model/model.safetensors"
    save_file({f"module.{name}": value for name, value in load_file(file).items()}, file, {"format": "pt"})
    assert "but for module.bert.embeddings.LayerNorm.bias" in (line := problem(suite))
    assert "recipe" not in line


def test_weights_without_floats_are_refused(suite):
    file = suite / "model/model.safetensors"
    save_file({name: value.to(torch.int8) for name, value in load_file(file).items()}, file, {"format": "pt"})
    assert "holds no floating numbers (I8)" in problem(suite)


@pytest.mark.parametrize("name", ["flax_model.msgpack", "model.onnx"])
def test_weights_of_another_library_are_listed(suite, name):
    (suite / "model/model.safetensors").rename(suite / "model" / name)
    assert name in problem(suite)


def test_a_broken_or_absent_tokenizer_is_named(suite):
    (suite / "model/tokenizer.json").write_text('{"version"')
    assert "save one beside the model: tokenizer.json, tokenizer_config.json: JSONDecodeError" in problem(suite)
    fit.check.cache_clear()
    for file in (suite / "model").glob("*token*"):
        file.unlink()
    assert "it has no file of one" in problem(suite)


def test_label_numbers_that_are_words_are_refused(suite):
    edit(suite, label2id={"billing": "zero", "delivery": 1})
    assert "label2id calls that zero" in problem(suite)


# A first run


def without_special_tokens():
    own = tokenizer()
    own._tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    return own


def test_a_model_that_needs_an_end_token_is_refused(suite):
    settings = BartConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **BART, **NAMES)
    save(suite, BartForSequenceClassification(settings), without_special_tokens())
    assert "BartForSequenceClassification fails on two rows" in problem(suite)


SUMMARIES = Task(name="sum", kind="summarization", dataset=Folder("rows.csv"), inputs=("text",), label="team",
                 metric="chrf")  # fmt: skip


def t5(**changes):
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 1}
    return T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, pad_token_id=1, eos_token_id=2,
                                               **(sizes | changes)))  # fmt: skip


def test_a_generator_without_a_first_token_is_refused(suite):
    save(suite, t5(decoder_start_token_id=None))
    (suite / "model/generation_config.json").unlink()
    assert "`decoder_start_token_id` or `bos_token_id` has to be defined" in problem(suite, task=SUMMARIES)


def test_prefixes_that_rows_lack_are_noted(suite):
    save(suite, t5(task_specific_params={"summarization": {"prefix": "the "}}))
    task = replace(SUMMARIES, test=20, validation=10, calibration=10)
    line = notes(suite, task=task)
    assert re.search(r"prefixes \('the '\).*not applied; 1\d of 20 test rows begin with none", line)


@pytest.mark.parametrize("spoilt", [True, False], ids=["without mask", "with mask"])
def test_answers_that_depend_on_padding_are_noted(suite, spoilt):
    write_rows(suite, [(f"{'box ' * (i % 9)}late number{i}", LABELS[i % 2]) for i in range(60)])
    names = ["input_ids"] if spoilt else ["input_ids", "attention_mask"]
    wide = BertConfig(**(BERT.to_dict() | {"initializer_range": 1.0}))
    save(suite, BertForSequenceClassification(wide), tokenizer(model_input_names=names))
    assert spoilt == ("with the padding beside it" in notes(suite))


def test_reading_every_text_is_shown(suite):
    log = io.StringIO()
    with showing(Progress(log=log, clock=itertools.count(0, 40).__next__)):
        notes(suite, TRAINED)
    assert re.search(r"reading the texts of tickets\W+50%", log.getvalue())
