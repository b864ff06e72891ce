"""Tiny untrained checkpoints for tests of backends."""

import atexit
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from harness import checkpoint
from harness.artifacts.build import Builders, build_artifact
from harness.contracts.backend import Target
from harness.contracts.sources import Native
from harness.environments.interpreters import resolve_environment
from harness.kinds import text_classification
from harness.training import untrained
from harness.util.console import Progress
from harness.util.store import Entry, Store

SUITES = Path(__file__).parents[3] / "suites"
TEXTS = [{"text": "one two three four"}, {"text": "five six seven"}, {"text": "eight"}]
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
BUILDERS = Builders()
"""Builds have a process in each environment, as a session's have: most of the time of one goes into its imports."""
atexit.register(BUILDERS.close)


def build(backend, source, out, kind=text_classification):
    """Build an artifact as the pipeline does; return the settings. Optimum's environment is all tests' own."""
    out.mkdir(exist_ok=True)
    # The source is no entry of a store, and may hold `out`.
    with patch("harness.artifacts.build.lend_copy", lambda entry, out: nullcontext(entry.path)):
        return build_artifact(backend, Entry(source, {}, 0), out, kind, None, Target("cpu", 1), 120, resolve, BUILDERS)


def resolve(python):
    """Return the interpreter of an environment, which the tests share."""
    return resolve_environment(python, Store(Path("unused"), print), Progress(None))


def one_each(encoded):
    """Return the examples of rows that have one each."""
    return [example for (example,) in encoded]


def needs_lstm_export():
    """Skip the test where torch would export an LSTM for the length of its example alone."""
    import torch

    if torch.__version__ < "2.13":
        pytest.skip("torch exports LSTM layers at any length from 2.13 on")


def save_native(out, name="lstm.py:LSTMClassifier"):
    """Save one of the suites' native modules; return its folder."""
    source, kind = Native(f"models/{name}"), text_classification
    tokenizer = kind.processor(source, None, TEXTS, ("text",))
    model = untrained.create(source, kind, SUITES, None, ("a", "b"), tokenizer)
    examples = one_each(kind.encode(tokenizer, TEXTS[:2], ("text",), 16))
    checkpoint.save(model, source, SUITES, out, tokenizer, kind.collate(tokenizer, examples))
    return out


def save_bert(out, example, **sizes):
    """Save a BERT of one layer for 60 tokens and three labels; return its folder."""
    import torch
    from safetensors.numpy import save_file
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(vocab_size=60, num_labels=3, **(SIZES | sizes))
    BertForSequenceClassification(config).eval().save_pretrained(out)
    save_file(example, out / checkpoint.EXAMPLE)
    return out


def save_bart(out, **generation):
    """Save a BART of one layer a side, which generates text; return its folder."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    layer = {"layers": 1, "attention_heads": 2, "ffn_dim": 64}
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in layer.items()}
    model = BartForConditionalGeneration(BartConfig(vocab_size=60, d_model=32, max_position_embeddings=64, **sizes))
    model.generation_config.update(**generation)
    model.save_pretrained(out)
    return out


def token_batch(rows, length):
    """Return a batch of random tokens in which nothing is padded."""
    ids = np.random.default_rng(rows * 100 + length).integers(4, 60, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
