"""Graphs and integer products that torch.compile makes. Takes minutes, nearly all of them compiling."""

from pathlib import Path

import numpy as np
import pytest

from harness.backends import PYTORCH, PYTORCH_COMPILE, PYTORCH_INT8
from harness.contracts.backend import Target
from harness.measure.client import Worker

TARGET = Target("cpu", 1)


def needs(backend):
    """Skips where the backend itself says that it cannot run."""
    return pytest.mark.skipif(bool(backend.unavailable("cpu")), reason=str(backend.unavailable("cpu")))


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A BERT of one layer, untrained."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    out = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=60, num_labels=3, **sizes)).save_pretrained(out)
    return out


def batch(rows, length):
    ids = np.random.default_rng(rows * 100 + length).integers(4, 60, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@needs(PYTORCH_COMPILE)
def test_two_graphs_answer_every_shape_as_eager_pytorch(bert):
    from torch._dynamo.utils import counters

    reference, compiled = PYTORCH.load(bert, TARGET), PYTORCH_COMPILE.load(bert, TARGET)
    before = counters["stats"]["unique_graphs"]
    compiled.compile(batch(1, 9))
    for rows, length in ((1, 9), (1, 30), (16, 9), (2, 5), (5, 5), (1, 2), (3, 1)):
        given = batch(rows, length)
        np.testing.assert_allclose(reference.run(given)["logits"], compiled.run(given)["logits"], atol=1e-5)
    assert 2 == counters["stats"]["unique_graphs"] - before


@needs(PYTORCH_INT8)
def test_int8_multiplies_integers_and_answers_nearly_the_same(bert):
    import torch

    own, reference = PYTORCH_INT8.load(bert, TARGET), PYTORCH.load(bert, TARGET)
    own.compile(batch(1, 9))
    for rows, length in ((1, 9), (4, 7)):
        given = batch(rows, length)
        with torch.profiler.profile() as profile:
            found = own.run(given)["logits"]
        expected = reference.run(given)["logits"]
        np.testing.assert_allclose(expected, found, atol=0.05)
        assert 0 < np.abs(expected - found).max()
        # Six layers of the one block, the pooler, the head.
        assert [8] == [event.count for event in profile.key_averages() if event.key == "aten::_int_mm"]
    assert ("cpu", "1") == (own.device, own.settings["threads"])
    assert own.settings["int8"].startswith("8 linear layers, ")


@needs(PYTORCH_COMPILE)
def test_compiling_is_timed_apart_and_leaves_no_cache(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    reference = PYTORCH.load(bert, TARGET)
    with Worker(PYTORCH_COMPILE, bert, TARGET, 300) as worker:
        spent_ns = []
        for rows, length in ((1, 9), (1, 30), (16, 9), (5, 5), (2, 1)):
            given = batch(rows, length)
            worker.put(given)
            spent_ns.append(worker.compile_ns)
            np.testing.assert_allclose(reference.run(given)["logits"], worker.run().outputs["logits"], atol=1e-5)
        assert 1e8 < min(spent_ns) == max(spent_ns)
        assert [] == [path for path in tmp_path.rglob("*") if path.suffix in (".so", ".cpp")]
        assert ("cpu", "1") == (worker.loaded["device"], worker.loaded["settings"]["threads"])
