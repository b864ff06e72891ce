"""Language modeling: perplexity equals PyTorch's own loss, whatever the padding, and its bounds hold."""

import math

import numpy as np
import pytest
import torch
from tiny_writers import byte_tokenizer, save_writer
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from harness import checkpoint
from harness.contracts.kind import EncodedRows
from harness.errors import HarnessError
from harness.evaluation.score import score, score_drop, score_interval
from harness.kinds import language_modeling as kind
from harness.metrics import Metric
from harness.training import untrained

TEXTS = ["a cat", "the dog sat on the mat", "no"]
METRIC = Metric("perplexity")


def encoded(tokenizer, texts, length=64):
    rows = [{"text": text} for text in texts]
    return EncodedRows(tokenizer, rows, ("text",), kind.encode(tokenizer, rows, ("text",), length), length)


def test_perplexity_is_that_of_pytorchs_loss(tmp_path):
    folder = save_writer(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), kind.load_processor(folder)
    untrained.state_length(model, tokenizer, None)
    rows = encoded(tokenizer, TEXTS)
    run = checkpoint.make_run(model, "cpu")
    outputs, losses, lengths = [], [], []
    for (example,) in rows.examples:
        batch = kind.collate(tokenizer, [example])
        logits = run(batch)
        outputs.append(kind.reduce(batch, logits))
        tokens = torch.tensor(example["input_ids"])
        losses.append(cross_entropy(torch.from_numpy(logits["logits"][0, :-1]).double(), tokens[1:], reduction="sum"))
        lengths.append(len(tokens) - 1)
    own = kind.predict(rows, outputs)
    assert lengths == kind.truths(rows)
    np.testing.assert_allclose(own, losses, rtol=1e-12)
    expected = math.exp(sum(losses) / sum(lengths))
    assert math.isclose(expected, score(METRIC, own, lengths), rel_tol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_likelihoods_equal_an_independent_computation(seed):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((4, 25, 30)) * 10.0 ** rng.integers(-2, 3)).astype(np.float32)
    batch = {"input_ids": rng.integers(0, 30, (4, 25)), "attention_mask": np.ones((4, 25), int)}
    own = kind.reduce(batch, {"logits": logits})["log_likelihood"]
    shares = torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()
    expected = [[shares[row, at, batch["input_ids"][row, at + 1]] for at in range(24)] for row in range(4)]
    np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-9)


def test_padding_has_no_likelihood(tmp_path):
    folder = save_writer(tmp_path)
    tokenizer = kind.load_processor(folder)
    rows = encoded(tokenizer, TEXTS)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    run = checkpoint.make_run(model, "cpu")
    batch = kind.collate(tokenizer, [example for (example,) in rows.examples])
    together = kind.reduce(batch, run(batch))["log_likelihood"]
    for row, (example,) in enumerate(rows.examples):
        alone = kind.collate(tokenizer, [example])
        values = kind.reduce(alone, run(alone))["log_likelihood"][0]
        np.testing.assert_allclose(values, together[row, : len(values)], atol=1e-5)
        assert (together[row, len(values) :] == 0).all()


def test_model_that_states_a_length_is_read_all_the_same(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(save_writer(tmp_path))
    model.generation_config.max_new_tokens = 5
    assert checkpoint.generates(model)
    untrained.state_length(model, kind.load_processor(tmp_path), None)
    assert not checkpoint.generates(model)


def test_text_of_one_token_is_refused(tmp_path):
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r"1 of 2 texts have fewer than two tokens.*first 'x'"):
        encoded(kind.load_processor(tmp_path), ["xy", "x"])


def test_texts_are_their_own_targets(tmp_path):
    byte_tokenizer().save_pretrained(tmp_path)
    rows = encoded(kind.load_processor(tmp_path), ["abc"], length=2)
    assert [[{"labels": rows.examples[0][0]["input_ids"]}]] == kind.targets(rows)
    assert 2 == len(rows.examples[0][0]["input_ids"])


def test_long_texts_count_by_their_tokens():
    assert pytest.approx(math.exp((2 + 90) / (1 + 99))) == score(METRIC, [2.0, 90.0], [1, 99])


def test_bounds_hold_the_drop_and_shrink_with_rows():
    rng = np.random.default_rng(0)
    widths = []
    for rows in (50, 2_000):
        tokens = rng.integers(5, 50, rows)
        reference = tokens * rng.normal(3, 0.3, rows)
        drop = score_drop(METRIC, (reference * 1.01).tolist(), reference.tolist(), tokens.tolist())
        assert drop.low < drop.estimate < drop.high
        assert math.isclose(drop.estimate, math.exp(1.01 * (m := reference.sum() / tokens.sum())) - math.exp(m))
        widths.append(drop.high - drop.low)
    assert widths[1] < widths[0] / 5
    assert 1.0 <= score_interval(METRIC, [0.0], [3]).low
