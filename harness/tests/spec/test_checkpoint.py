"""Checkpoints before training: other labels get a new head, untrained models keep theirs, pickles run no code."""

import json
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel, DistilBertConfig, DistilBertForSequenceClassification, DistilBertModel

from harness import checkpoint
from harness.contracts.sources import Local, Native
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.spec import Model
from harness.training import train, untrained

LABELS = ("repairs", "billing", "delivery")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A classifier with three named answers."""
    config = DistilBertConfig(
        vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=16, id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )  # fmt: skip
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


def created(saved: Path, labels: tuple[str, ...]) -> torch.nn.Module:
    return untrained.create(Local("."), text_classification, saved, saved, labels, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_every_format_make_a_reference_in_float32(saved, dtype):
    stored = DistilBertForSequenceClassification.from_pretrained(saved).to(dtype)
    stored.save_pretrained(saved)
    assert str(dtype) == f"torch.{json.loads((saved / 'config.json').read_text())['dtype']}"
    models = (
        checkpoint.load(saved),
        untrained.load_as_is(text_classification, saved),
        untrained.read_model(AutoModel, saved)[0],
        created(saved, LABELS),
        created(saved, ("spam", "ham")),
    )
    assert {torch.float32} == {weight.dtype for model in models for weight in model.state_dict().values()}
    bias = stored.distilbert.embeddings.LayerNorm.weight
    assert torch.equal(bias.float(), models[0].distilbert.embeddings.LayerNorm.weight)


def same(one: torch.nn.Module, other: torch.nn.Module, prefix: str) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine if name.startswith(prefix))


def test_training_on_the_same_labels_keeps_the_head(saved):
    assert same(created(saved, LABELS), untrained.load_as_is(text_classification, saved), "")


def test_other_labels_get_a_new_head_on_the_same_body(saved):
    model, before = created(saved, tuple(sorted(LABELS))), untrained.load_as_is(text_classification, saved)
    assert same(model, before, "distilbert")
    assert not same(model, before, "classifier")
    assert dict(enumerate(sorted(LABELS))) == model.config.id2label


def test_another_number_of_labels_gets_a_new_head(saved):
    assert 5 == created(saved, tuple("abcde")).config.num_labels


@pytest.mark.parametrize("labels", [LABELS, ("a", "b")])
def test_dropout_replaces_every_probability_of_the_config(saved, labels):
    model = untrained.create(Local("."), text_classification, saved, saved, labels, None, 0.0)
    config = model.config
    assert (0, 0, 0) == (config.dropout, config.attention_dropout, config.seq_classif_dropout)
    assert {0.0} == {layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)}
    assert 0.1 == created(saved, labels).config.dropout


def test_dropout_of_a_model_without_any_is_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({"model_type": "convnext", "labels": config["id2label"]}))
    with pytest.raises(HarnessError, match=r"the recipe sets dropout=0.0, and its config.json has no dropout"):
        untrained.create(Local("."), text_classification, saved, saved, LABELS, None, 0.0)


def test_a_body_without_a_head_is_refused_as_is(tmp_path):
    DistilBertModel(DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=16)).save_pretrained(
        tmp_path
    )
    with pytest.raises(HarnessError, match=r"has no weights for classifier.bias.*: it is not a finished model"):
        untrained.load_as_is(text_classification, tmp_path)


class Harmful:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickled_weights_are_read_as_tensors(saved):
    before = untrained.load_as_is(text_classification, saved)
    (saved / "model.safetensors").unlink()
    torch.save(before.state_dict(), saved / "pytorch_model.bin")
    assert same(before, untrained.load_as_is(text_classification, saved), "")


def test_code_in_pickled_weights_is_not_run(saved):
    (saved / "model.safetensors").unlink()
    torch.save({"classifier.bias": Harmful(saved / "trace")}, saved / "pytorch_model.bin")
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        untrained.load_as_is(text_classification, saved)
    assert not (saved / "trace").exists()
    torch.load(saved / "pytorch_model.bin", weights_only=False)  # the control: an unsafe load does run it
    assert (saved / "trace").exists()


def test_code_beside_a_model_is_not_run(tmp_path):
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass OwnConfig: ...\n")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}})
    )
    with pytest.raises(HarnessError, match=r"no usable config\.json"):
        checkpoint.read_labels(tmp_path)
    assert not (tmp_path / "trace").exists()


def model(**changed):
    return Model(name="toy", source=Local("."), **changed)


def test_labels_are_matched_by_name(saved):
    assert [2, 0, 1] == train.label_order(model(), saved, tuple(sorted(LABELS)))


def test_labels_of_no_row_get_distinct_negative_indices(saved):
    order = train.label_order(model(labels=("x", "y", "billing")), saved, ("billing",))
    assert (0, 3) == (order[2], len(set(order)))
    assert 0 > max(order[:2])


def test_a_model_that_lacks_a_label_is_refused(saved):
    with pytest.raises(
        HarnessError, match="its head answers repairs, billing, delivery, but not returns; map its labels"
    ):
        train.label_order(model(), saved, ("billing", "returns"))


def test_labels_can_be_renamed_one_by_one(saved):
    named = model(labels={"billing": "money", "repairs": "tools"})
    assert [2, 1, 0] == train.label_order(named, saved, ("delivery", "money", "tools"))


def test_renaming_an_unknown_label_is_refused(saved):
    with pytest.raises(HarnessError, match="model toy: labels= names returns, which its head lacks"):
        train.label_order(model(labels={"returns": "money"}), saved, ("money",))


def test_the_number_of_names_must_match(saved):
    with pytest.raises(HarnessError, match="labels= has 2 names, its head 3 labels"):
        train.label_order(model(labels=("a", "b")), saved, ("a", "b"))


@pytest.mark.parametrize(
    "setting", [{"torchscript": True}, {"return_dict": False}, {"output_hidden_states": True}], ids=str
)
def test_outputs_have_names_whatever_the_config_says(setting, saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | setting))
    for read in (untrained.load_as_is(text_classification, saved), created(saved, LABELS)):
        assert ["logits"] == list(read.eval()(torch.ones(1, 4, dtype=torch.int64)))


class InShards(DistilBertForSequenceClassification):
    """A model that is large enough for several files."""

    def save_pretrained(self, folder, max_shard_size="1KB", **options):
        super().save_pretrained(folder, max_shard_size=max_shard_size, **options)


def test_weights_of_any_size_are_one_file(saved, tmp_path):
    model = InShards.from_pretrained(saved)
    (tmp_path / "shards").mkdir()
    model.save_pretrained(tmp_path / "shards")
    assert 1 < len([*(tmp_path / "shards").glob("model-*.safetensors")])
    (tmp_path / "own").mkdir()
    checkpoint.save(model, Local("."), saved, tmp_path / "own", SimpleNamespace(save_pretrained=lambda _: None), {})
    assert ["model.safetensors"] == [file.name for file in (tmp_path / "own").glob("model*")]


def test_a_lazy_layer_is_refused_by_name(tmp_path):
    (tmp_path / "lazy.py").write_text(
        "from torch import nn\n\nclass Lazy(nn.Module):\n"
        "    def __init__(self, num_labels):\n        super().__init__()\n"
        "        self.head = nn.LazyLinear(num_labels)\n"
    )
    with pytest.raises(
        HarnessError, match=r"lazy.py: Lazy has head.weight, head.bias without a shape, of a lazy layer"
    ):
        untrained.create(Native("lazy.py:Lazy"), text_classification, tmp_path, None, ("a", "b"), [])


def test_a_model_whose_parameters_are_all_frozen_is_refused(saved):
    model = created(saved, LABELS)
    for name, value in model.named_parameters():
        value.requires_grad = name == "classifier.bias"
    train._check_trainable("model mine", model)
    model.requires_grad_(False)
    with pytest.raises(HarnessError, match=r"mine: DistilBert.* requires_grad=False, the first is distilbert.emb"):
        train._check_trainable("model mine", model)
