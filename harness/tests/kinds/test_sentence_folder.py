"""Sentence Transformers folders: pooling, prompts, length and similarity count, or are refused by file and key."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as some
from test_kinds import PIECES, wordpieces
from transformers import BertConfig, BertModel

from harness.contracts.sources import Local
from harness.errors import HarnessError
from harness.kinds import feature_extraction, sentence_folder
from harness.kinds.feature_extraction import settings_of

MODES = tuple(sentence_folder.FLAGS.items())
QUERY, DOCUMENT = "who is tony", "he lives in london it is"
ROWS = [{"q": QUERY, "d": DOCUMENT}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as Sentence Transformers 5.1 writes it, pooling by the first token."""
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=16, max_position_embeddings=32)
    )  # fmt: skip
    model.save_pretrained(tmp_path)
    wordpieces().save_pretrained(tmp_path)
    declare(tmp_path, "modules.json", modules("Transformer", "Pooling", "Normalize"))
    declare(tmp_path, "1_Pooling/config.json", pooling("pooling_mode_cls_token"))
    declare(tmp_path, "sentence_bert_config.json", {"max_seq_length": 30, "do_lower_case": False})
    declare(tmp_path, "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
    (tmp_path / "2_Normalize").mkdir()
    return tmp_path


def declare(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def modules(*names, package="sentence_transformers.models"):
    places = {"Transformer": ""}
    return [
        {"idx": i, "name": str(i), "path": places.get(name, f"{i}_{name}"), "type": f"{package}.{name}"}
        for i, name in enumerate(names)
    ]


def pooling(*flags):
    return {"word_embedding_dimension": 8} | {flag: flag in flags for flag, _ in MODES}


def vectors(folder, rows=ROWS):
    """The query's and the document's vector, from a checkpoint saved and loaded again as the pipeline does."""
    tokenizer = feature_extraction.load_processor(folder)
    tokenizer.save_pretrained(folder / "checkpoint")
    tokenizer = feature_extraction.load_processor(folder / "checkpoint")
    (examples,) = feature_extraction.encode(tokenizer, rows, ("q", "d"), 64)
    batch = feature_extraction.collate(tokenizer, examples)
    model = BertModel.from_pretrained(folder).eval()
    given = {name: torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        states = model(**given).last_hidden_state.numpy()
    return feature_extraction.reduce(batch, {"last_hidden_state": states})["embedding"]


@pytest.mark.parametrize("change", [*(flag for flag, _ in MODES), "dot", "lower", "short", "prompts"])
def test_vectors_are_those_of_sentence_transformers(folder, change):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    if change.startswith("pooling"):
        declare(folder, "1_Pooling/config.json", pooling(change))
    elif change == "dot":
        declare(folder, "modules.json", modules("Transformer", "Pooling", "Dropout"))
        declare(folder, "2_Dropout/config.json", {"dropout": 0.5})
        declare(folder, "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "dot"})
    elif change == "short":
        declare(folder, "sentence_bert_config.json", {"max_seq_length": 4})
    elif change == "lower":
        declare(folder, "sentence_bert_config.json", {"max_seq_length": 30, "do_lower_case": True})
    else:
        prompts = {"query": "where ", "document": "it ", "other": "in "}
        declare(folder, "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": "other"})
    model = library.SentenceTransformer(str(folder), device="cpu")
    expected = [model.encode_query(QUERY), model.encode_document(DOCUMENT)]
    np.testing.assert_allclose(expected, vectors(folder), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_a_document_has_the_first_prompt_of_its_names(folder, name):
    prompts = {"corpus": "in "} | {name: "it "}
    declare(folder, "config_sentence_transformers.json", {"prompts": prompts})
    assert ["", "it "] == sentence_folder.read(folder)["prompts"]


def test_a_folder_without_modules_pools_by_the_mean(folder):
    first = vectors(folder)
    (folder / "modules.json").unlink()
    assert 0.01 < np.abs(first - vectors(folder)).max()
    assert "mean" == settings_of(feature_extraction.load_processor(folder))["pooling"]


REFUSED = {
    "1_Pooling/config.json": (
        pooling("pooling_mode_cls_token", "pooling_mode_max_tokens"),
        "pooling_mode cls and max; feature extraction applies one of",
    ),
    "modules.json": (modules("Transformer", "Pooling", "Dense", "Normalize"), r"its modules are .*Dense, .*Normalize"),
    "sentence_bert_config.json": ({"processing_kwargs": {"text": {}}}, r"processing_kwargs=\{'text': \{\}\} changes"),
    "config_sentence_transformers.json": (
        {"similarity_fn_name": "manhattan"},
        "similarity_fn_name 'manhattan'; feature extraction ranks by cosine or dot",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_cannot_be_honoured_are_refused(folder, name):
    content, message = REFUSED[name]
    declare(folder, name, content)
    with pytest.raises(HarnessError, match=message) as error:
        feature_extraction.load_processor(folder)
    assert str(error.value).startswith(str(folder / name))


def test_vectors_that_are_cut_short_are_refused(folder):
    declare(folder, "config_sentence_transformers.json", {"truncate_dim": 4})
    with pytest.raises(HarnessError, match="truncate_dim cuts vectors short"):
        feature_extraction.load_processor(folder)


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "modules.json"])
@pytest.mark.parametrize("content", [None, "{", ""])
def test_a_damaged_folder_is_refused(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    elif name == "modules.json":
        return
    with pytest.raises(HarnessError, match="no usable JSON"):
        feature_extraction.load_processor(folder)


def test_modules_of_other_packages_are_refused(folder):
    declare(folder, "modules.json", modules("Transformer", "Pooling", package="custom_st"))
    with pytest.raises(HarnessError, match=r"its modules are custom_st\.Transformer, custom_st\.Pooling"):
        feature_extraction.load_processor(folder)


def test_prompts_outside_the_pooling_are_refused(folder):
    declare(folder, "1_Pooling/config.json", pooling("pooling_mode_mean_tokens") | {"include_prompt": False})
    feature_extraction.load_processor(folder)
    declare(folder, "config_sentence_transformers.json", {"prompts": {"query": "who "}})
    with pytest.raises(HarnessError, match="include_prompt=false leaves the prompts of config_sentence_transformers"):
        feature_extraction.load_processor(folder)


def test_a_default_prompt_that_is_not_declared_is_refused(folder):
    declare(folder, "config_sentence_transformers.json", {"prompts": {"query": "who "}, "default_prompt_name": "q"})
    with pytest.raises(HarnessError, match="default_prompt_name 'q'"):
        feature_extraction.load_processor(folder)


def test_a_prompt_that_the_rows_hold_already_is_refused(folder):
    declare(folder, "config_sentence_transformers.json", {"prompts": {"query": "who "}})
    with pytest.raises(HarnessError, match="column q holds 'who is tony', which begins with the prompt 'who '"):
        vectors(folder)


def test_a_transformer_in_a_folder_below_is_read(folder):
    whole = vectors(folder)
    below = folder / "0_Transformer"
    below.mkdir()
    for file in [*folder.glob("*token*"), *folder.glob("*.safetensors"), *folder.glob("s*_config.json")]:
        file.rename(below / file.name)
    (folder / "config.json").rename(below / "config.json")
    declare(folder, "modules.json", [modules("Transformer")[0] | {"path": "0_Transformer"}, *json.loads(
        (folder / "modules.json").read_text())[1:]])  # fmt: skip
    located = Local(folder.name).locate(folder.parent)
    assert below == located
    np.testing.assert_allclose(whole, vectors(located), rtol=1e-6)
    before = Local(folder.name).content(folder.parent)
    declare(folder, "2_Normalize/config.json", {})
    assert before != Local(folder.name).content(folder.parent)


KEYS = some.sampled_from(
    ["type", "path", "pooling_mode", "prompts", "query", "max_seq_length", "similarity_fn_name", "x"]
)
LEAVES = (
    some.none()
    | some.booleans()
    | some.integers(-2, 2)
    | some.sampled_from(["", "mean", "sentence_transformers.Pooling"])
)
ANYTHING = some.recursive(
    LEAVES, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=3)
)


@pytest.mark.parametrize("name", REFUSED)
@given(content=ANYTHING)
@with_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_other_content_is_read_or_refused(folder, name, content):
    declare(folder, name, content)
    try:
        settings = sentence_folder.read(folder)
    except HarnessError:
        return
    assert {*sentence_folder.PLAIN} == {*settings}
    assert settings["pooling"] in sentence_folder.POOLINGS
    assert all(isinstance(prompt, str) for prompt in settings["prompts"])
