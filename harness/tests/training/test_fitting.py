"""Before training: arguments that `forward` lacks, batches of one row, and models for a single length."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

from harness import checkpoint
from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Native
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import text_classification
from harness.spec import Model, Recipe
from harness.training.job import Job
from harness.training.loops import _training_arguments
from harness.training.train import _check_saved, _fit_inputs, _fixed_length
from harness.util.console import Progress

TEXTS = [{"text": " ".join(["a"] * 30)}, {"text": " ".join(["a"] * 24)}]


class Net(nn.Module):
    """Classifies by the mean of word vectors, through these layers."""

    def __init__(self, *layers):
        super().__init__()
        self.embedding, self.layers = nn.Embedding(9, 8), nn.Sequential(*layers, nn.Linear(8, 2))

    def forward(self, input_ids):
        return self.layers(self.embedding(input_ids).mean(1))


class FixedLength(Net):
    def forward(self, input_ids):
        if input_ids.shape[1] != 30:
            raise ValueError("rows of 30 tokens only")
        return super().forward(input_ids)


def model(**recipe):
    return Model(name="own", source=Native("own.py:Net"), recipe=Recipe(loop="native", **recipe))


def job(module, rows, tmp_path, **recipe):
    def collate(examples):
        ids = [example["input_ids"] for example in examples]
        return {"input_ids": torch.tensor(ids), "labels": torch.zeros(len(ids), dtype=torch.int64)}

    return Job(
        task=SimpleNamespace(name="task"), model=model(**recipe), module=module, train=[{"input_ids": [1, 2]}] * rows,
        validation=None, collate=collate, progress=Progress(), device="cpu", artifacts=tmp_path, out=tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "batch_size", "drops", "steps"),
    [
        (193, 16, True, 24),
        (192, 16, False, 24),
        (194, 16, False, 26),
        (1, 16, False, 2),
        (5, 1, False, 10),
        (3, 2, True, 2),
    ],
)
def test_last_batch_of_one_row_is_dropped(rows, batch_size, drops, steps, tmp_path):
    training = job(Net(), rows, tmp_path, epochs=2, batch_size=batch_size)
    assert (drops, steps) == (training.drops_last, training.steps)
    assert drops == _training_arguments(training, str(tmp_path))["dataloader_drop_last"]


def test_batch_norm_on_single_rows_is_refused(tmp_path):
    for rows, batch_size in ((9, 1), (1, 4)):
        with pytest.raises(
            HarnessError, match=r"task/own: BatchNorm1d cannot be trained on one row at a time .*set Rec"
        ):
            job(Net(nn.BatchNorm1d(8)), rows, tmp_path, batch_size=batch_size).check_single_rows()
    job(Net(nn.BatchNorm1d(8)), 9, tmp_path, batch_size=2).check_single_rows()
    job(Net(nn.LayerNorm(8)), 9, tmp_path, batch_size=1).check_single_rows()


def test_check_of_single_rows_changes_nothing(tmp_path):
    module = Net(nn.Unflatten(1, (8, 1)), nn.BatchNorm1d(8), nn.Flatten())
    before, state = {n: v.clone() for n, v in module.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(HarnessError, match="one row at a time"):
        job(module, 1, tmp_path).check_single_rows()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def word_tokenizer():
    core = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1}, unk_token="[PAD]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", model_input_names=names)


def test_tokenizer_stops_making_what_the_model_ignores(tmp_path):
    tokenizer, notes = word_tokenizer(), []
    distilbert = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=9, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    )
    names = list(text_classification.encode(tokenizer, TEXTS, ("text",), 40)[0][0])
    assert ["token_type_ids"] == _fit_inputs(model(), distilbert, tokenizer, names, notes)
    tokenizer.save_pretrained(tmp_path)
    again = text_classification.load_processor(tmp_path)
    assert {"input_ids", "attention_mask"} == set(text_classification.encode(again, TEXTS, ("text",), 40)[0][0])
    assert notes == [
        "token_type_ids of TokenizersBackend is left out: DistilBertForSequenceClassification.forward does not take it"
    ]


def test_tokenizer_keeps_the_mask_that_kinds_read():
    tokenizer = word_tokenizer()
    assert ["attention_mask"] == _fit_inputs(model(), Net(), tokenizer, ["input_ids", "attention_mask"], [])
    assert "attention_mask" in tokenizer.model_input_names


class UndefinedOnShortRows(Net):
    def forward(self, input_ids):
        return super().forward(input_ids) / max(0, input_ids.shape[1] - 20)


def test_model_for_one_length_gets_no_cut_probe():
    tokenizer = word_tokenizer()
    encoded = EncodedRows(tokenizer, TEXTS, ("text",), text_classification.encode(tokenizer, TEXTS, ("text",), 40))
    inputs = Inputs(text_classification, encoded)
    assert "ValueError: rows of 30 tokens only" == _fixed_length(inputs, FixedLength())
    assert "" == _fixed_length(inputs, Net())
    assert "it answers NaN or infinity" == _fixed_length(inputs, UndefinedOnShortRows())
    fixed = Inputs(text_classification, encoded, fixed_length=True)
    assert [2, 2] == [len(batch["input_ids"]) for batch in inputs.probes()]
    assert [2] == [len(batch["input_ids"]) for batch in fixed.probes()]
    assert np.array_equal(inputs.probes()[0]["input_ids"], fixed.probes()[0]["input_ids"])


OWN = """
import torch
from torch import nn
class Own(nn.Module):
    def __init__(self, num_labels):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 8), nn.{head}
        {more}
    def forward(self, input_ids):
        return self.head(self.embedding(input_ids).mean(1)){after}
"""


def own(tmp_path, head="Linear(8, num_labels)", more="pass", after=""):
    (tmp_path / "own.py").write_text(OWN.format(head=head, more=more, after=after))
    source = Native("own.py:Own")
    return checkpoint.create_native(tmp_path / "own.py", "Own", {"num_labels": 2}), source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"more": "self.register_buffer('scale', torch.randn(2))", "after": " * self.scale"}, None),
        ({"more": "self.scale = torch.randn(2)", "after": " * self.scale"}, "it answers differently"),
        ({"more": "self.last = [nn.Linear(2, 2)]", "after": " + self.last[0].weight.sum()"}, "as a ModuleList"),
        ({"after": " + torch.randn(2)"}, None),
    ],
    ids=["parameters", "buffer", "tensor", "list", "random"],
)
def test_native_module_is_all_in_its_file(changes, message, tmp_path):
    module, source = own(tmp_path, **changes)
    out, batch = tmp_path / "out", {"input_ids": np.array([[1, 2], [3, 4]])}
    out.mkdir()
    checkpoint.save(module, source, tmp_path, out, SimpleNamespace(save_pretrained=lambda folder: None), batch)
    with pytest.raises(HarnessError, match=f"^m: Own.*{message}") if message else nullcontext():
        _check_saved("m", module, out, batch)


def test_module_that_cannot_be_made_says_how_it_is_called(tmp_path):
    own(tmp_path)
    with pytest.raises(HarnessError, match=r"Own\(\*\*{'labels': 2}\) fails: TypeError.*let it take"):
        checkpoint.create_native(tmp_path / "own.py", "Own", {"labels": 2})
    (tmp_path / "plain.py").write_text("class Own:\n    pass\n")
    with pytest.raises(HarnessError, match=r"Own is no torch.nn.Module"):
        checkpoint.create_native(tmp_path / "plain.py", "Own", {})
