"""Models are called with what `forward` takes; of what a native one returns the logits are taken, or it is refused."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from harness.checkpoint import make_run
from harness.errors import HarnessError
from harness.util.forward import accepted_names, check_native, ignored_names

LOGITS = torch.zeros(2, 3)
BATCH = {"input_ids": torch.ones(2, 5, dtype=torch.int64)}


class Returning(nn.Module):
    """A module that returns the same every time."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, input_ids):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Named(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor


class Anything(nn.Module):
    def forward(self, input_ids, **others): ...


class Pair(nn.Module):
    def forward(self, input_ids, lengths, *, scale=1.0): ...


def distilbert(**settings):
    return DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=16, **settings)
    ).eval()


def test_arrays_that_forward_lacks_are_ignored():
    names = ("input_ids", "token_type_ids", "attention_mask")
    assert ["token_type_ids"] == ignored_names("m", distilbert(), names)
    assert [] == ignored_names("m", Anything(), names)
    assert accepted_names(lambda **arrays: arrays) is None


def test_run_passes_what_forward_takes():
    arrays = {name: tensor.numpy() for name, tensor in BATCH.items()}
    model = distilbert()
    alone = make_run(model, "cpu")(arrays)["logits"]
    assert alone.tolist() == make_run(model, "cpu")(arrays | {"token_type_ids": arrays["input_ids"]})["logits"].tolist()


def test_missing_argument_is_named():
    with pytest.raises(
        HarnessError, match=r"^m: Pair.forward needs lengths, and a batch holds input_ids; name its arg"
    ):
        ignored_names("m", Pair(), ["input_ids"])


@pytest.mark.parametrize(
    ("value", "access"),
    [
        ((LOGITS,), "[0]"),
        ([LOGITS], "[0]"),
        ((None, LOGITS), "[1]"),
        ({"features": torch.ones(2, 8), "logits": LOGITS}, '["logits"]'),
        (Named(LOGITS, LOGITS + 1), ".logits"),
    ],
    ids=["tuple", "list", "tuple with None", "dict", "named tuple"],
)
def test_logits_are_picked(value, access):
    module = Returning(value)
    check_native("m", module, BATCH, 3)
    assert access == module.shipbench_logits
    assert LOGITS.tolist() == module(**BATCH).tolist()


def test_tensor_needs_no_picking():
    module = Returning(LOGITS.double())
    check_native("m", module, BATCH, 3)
    assert "" == module.shipbench_logits
    assert module.training


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((LOGITS, LOGITS), "returns a tuple of 2 values; let it return the logits alone, as a tensor"),
        ({"scores": LOGITS}, "returns a dict of scores; let it return the logits alone"),
        (None, "returns a NoneType; let it"),
        (torch.tensor(1.0), r"of shape \(\) for 2 rows; let it return a floating logit for each of the 3 labels"),
        (LOGITS[:, 0], r"of shape \(2,\) for 2 rows"),
        (LOGITS[:1], r"of shape \(1, 3\) for 2 rows"),
        (LOGITS.long(), r"returns torch.int64 of shape \(2, 3\)"),
        (ValueError("no such size"), r"fails on input_ids \(2, 5\).*: ValueError: no such size"),
    ],
    ids=str,
)
def test_other_outputs_are_refused(value, message):
    with pytest.raises(HarnessError, match=rf"m: Returning.forward .*{message}"):
        check_native("m", Returning(value), BATCH, 3)


def test_logits_have_the_axes_of_their_kind():
    check_native("m", Returning(LOGITS), BATCH, 3, 2)
    with pytest.raises(HarnessError, match=r"of shape \(2, 1, 3\).*float32 of shape \(2, 3\)$"):
        check_native("m", Returning(LOGITS[:, None]), BATCH, 3, 2)
    with pytest.raises(HarnessError, match=r"returns torch.bfloat16"):
        check_native("m", Returning(LOGITS.bfloat16()), BATCH, 3, 2)
