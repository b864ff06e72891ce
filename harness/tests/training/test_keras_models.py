"""Models of Keras as native modules: trained by either loop, saved, exported and published like modules of PyTorch."""

import importlib.util
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from test_fit import TASK, suite  # noqa: F401  # a fixture

from conftest import REPOSITORY
from harness import Model, Native, Recipe, checkpoint
from harness.backends import onnx_export, onnx_graphs
from harness.data import splits
from harness.errors import HarnessError
from harness.publish.loading import _module
from harness.pytest_plugin.preflight import _check_source
from harness.training.train import Workspace, fine_tune
from harness.util.console import Progress
from harness.util.store import Store

NET = (REPOSITORY / "suites/models/keras_mean.py").read_text()
UNDECLARED = """
class Undeclared(keras.Model):
    def __init__(self, num_labels, vocab_size):
        super().__init__()
        self.head = keras.layers.Dense(num_labels)
    def call(self, input_ids):
        return self.head(input_ids)
"""
pytestmark = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
MODEL = Model(
    name="net", source=Native("net.py:build"), recipe=Recipe(loop="keras", epochs=2, learning_rate=1e-2), max_length=16
)


def train(folder, loop):
    (folder / "net.py").write_text(NET)
    out = folder / loop
    out.mkdir()
    workspace = Workspace(
        folder=folder, store=Store(folder / "store", print), content="x", threads=1, progress=Progress()
    )
    model = replace(MODEL, recipe=replace(MODEL.recipe, loop=loop))
    return fine_tune(TASK, model, splits.load(TASK, folder), workspace, out), out


@pytest.fixture
def trained(suite):  # noqa: F811
    return train(suite, "keras")[1]


def test_both_loops_train_a_keras_model_alike(suite):  # noqa: F811
    weights = [load_file(train(suite, loop)[1] / checkpoint.WEIGHTS) for loop in ("keras", "native")]
    assert weights[0].keys() == weights[1].keys()
    names = [name.partition("_")[2] for name in sorted(weights[0])]
    assert {"embeddings", "gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias"} <= {*names}
    (mean,) = (name for name in weights[0] if "moving_mean" in name)
    for own in weights:  # batch norm and dropout know that they are trained
        assert np.abs(own[mean]).max() > 0


def test_saved_model_answers_as_before_wherever_it_is_loaded(trained):
    assert ["input_ids", "attention_mask"] == json.loads((trained / checkpoint.NATIVE).read_text())["keras"]
    example = checkpoint.example(trained)
    first, again = (checkpoint.make_run(checkpoint.load(trained), "cpu")(example)["logits"] for _ in range(2))
    np.testing.assert_array_equal(first, again)  # Keras has counted its layers on


def test_graph_answers_as_the_model_at_other_shapes(trained, tmp_path):
    import onnxruntime

    onnx_export.export_native(trained, tmp_path, TASK.kind)
    session = onnxruntime.InferenceSession(str(tmp_path / onnx_graphs.FILE), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    batch = {"input_ids": rng.integers(0, 5, (3, 9)), "attention_mask": np.ones((3, 9), np.int64)}
    batch["attention_mask"][0, 4:] = 0
    expected = checkpoint.make_run(checkpoint.load(trained), "cpu")(batch)["logits"]
    np.testing.assert_allclose(onnx_graphs.host_run(session)(batch)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_published_lines_load_the_model(trained, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.delitem(sys.modules, "module", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    lines, example = _module(trained, frozenset()), checkpoint.example(trained)
    names = {"path": str(trained), "inputs": {name: torch.from_numpy(array) for name, array in example.items()}}
    exec("\n".join([*lines.imports, *lines.lines, f"answer = {lines.logits}"]), names)  # noqa: S102
    monkeypatch.delitem(sys.modules, "module")
    expected = checkpoint.make_run(checkpoint.load(trained), "cpu")(example)["logits"]
    np.testing.assert_allclose(names["answer"].detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_model_without_declared_inputs_is_refused(suite):  # noqa: F811
    (suite / "net.py").write_text(NET + UNDECLARED)
    with pytest.raises(HarnessError, match=r"Undeclared returns a Undeclared without declared inputs; .*keras.Input"):
        checkpoint.create_native(suite / "net.py", "Undeclared", {"num_labels": 2, "vocab_size": 5})


def test_preflight_takes_functions_and_refuses_another_backend(suite, monkeypatch):  # noqa: F811
    (suite / "net.py").write_text(NET)
    _check_source(TASK, MODEL, suite)
    with pytest.raises(HarnessError, match="has no class bild; expected one of build"):
        _check_source(TASK, replace(MODEL, source=Native("net.py:bild")), suite)
    running = SimpleNamespace(__spec__=1, config=SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", running)
    with pytest.raises(HarnessError, match=r"net: .*net.py: .* chooses Keras's backend 'jax'"):
        _check_source(TASK, MODEL, suite)
