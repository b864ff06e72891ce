"""Checkpoints before training: a new head where the labels are others, the old one where nothing is trained."""

import json
from pathlib import Path

import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification, DistilBertModel

from harness import checkpoint
from harness.contracts.sources import Local
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.metrics.classification import MacroF1
from harness.spec import Model
from harness.training import train

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


def made(saved: Path, labels: tuple[str, ...]) -> torch.nn.Module:
    return checkpoint.create(Local("."), text_classification, saved, saved, labels, None)


def same(one: torch.nn.Module, other: torch.nn.Module, prefix: str) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine if name.startswith(prefix))


def test_further_training_on_the_same_labels_goes_on_with_their_head(saved):
    assert same(made(saved, LABELS), checkpoint.as_it_is(text_classification, saved), "")


def test_other_labels_get_a_head_of_their_own_on_the_same_body(saved):
    model, before = made(saved, tuple(sorted(LABELS))), checkpoint.as_it_is(text_classification, saved)
    assert same(model, before, "distilbert")
    assert not same(model, before, "classifier")
    assert dict(enumerate(sorted(LABELS))) == model.config.id2label


def test_another_number_of_labels_does_too(saved):
    assert 5 == made(saved, tuple("abcde")).config.num_labels


def test_a_body_without_a_head_cannot_be_used_as_it_is(tmp_path):
    DistilBertModel(DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=16)).save_pretrained(
        tmp_path
    )
    with pytest.raises(HarnessError, match=r"has no weights for classifier.bias.*: it is no finished model"):
        checkpoint.as_it_is(text_classification, tmp_path)


class Harmful:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickled_weights_are_read_as_tensors(saved):
    before = checkpoint.as_it_is(text_classification, saved)
    (saved / "model.safetensors").unlink()
    torch.save(before.state_dict(), saved / "pytorch_model.bin")
    assert same(before, checkpoint.as_it_is(text_classification, saved), "")


def test_what_else_is_pickled_among_them_is_not_run(saved):
    (saved / "model.safetensors").unlink()
    torch.save({"classifier.bias": Harmful(saved / "trace")}, saved / "pytorch_model.bin")
    with pytest.raises(OSError, match="Unable to load weights"):
        checkpoint.as_it_is(text_classification, saved)
    assert not (saved / "trace").exists()
    torch.load(saved / "pytorch_model.bin", weights_only=False)  # whoever reads it otherwise does run it
    assert (saved / "trace").exists()


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass OwnConfig: ...\n")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}})
    )
    with pytest.raises(HarnessError, match=r"no usable config\.json"):
        checkpoint.own_labels(tmp_path)
    assert not (tmp_path / "trace").exists()


def model(**changed):
    return Model(name="toy", source=Local("."), **changed)


def test_answers_are_known_by_their_names(saved):
    assert [2, 0, 1] == train.label_order(model(), saved, tuple(sorted(LABELS)))


def test_answers_that_no_row_has_are_told_apart(saved):
    order = train.label_order(model(labels=("x", "y", "billing")), saved, ("billing",))
    assert (0, 3) == (order[2], len(set(order)))
    assert 0 > max(order[:2])


def test_a_model_that_cannot_answer_a_label_is_refused(saved):
    with pytest.raises(HarnessError, match="it answers repairs, billing, delivery, and no returns; name its answers"):
        train.label_order(model(), saved, ("billing", "returns"))


def test_answers_may_be_named_one_by_one(saved):
    named = model(labels={"billing": "money", "repairs": "tools"})
    assert [2, 1, 0] == train.label_order(named, saved, ("delivery", "money", "tools"))


def test_an_answer_that_is_named_and_never_given_is_refused(saved):
    with pytest.raises(HarnessError, match="model toy: labels= names returns, which it never answers"):
        train.label_order(model(labels={"returns": "money"}), saved, ("money",))


def test_as_many_names_as_answers(saved):
    with pytest.raises(HarnessError, match="labels= names 2 answers, it has 3"):
        train.label_order(model(labels=("a", "b")), saved, ("a", "b"))


def test_one_foreign_answer_is_one_row_wrong_and_no_label_to_average_over():
    score = MacroF1(keep_in_memory=True).compute(predictions=[0, 0, 1, -1], references=[0, 0, 1, 1])
    assert pytest.approx((1 + 2 / 3) / 2) == score["f1-macro"]
