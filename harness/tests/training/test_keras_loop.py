"""Keras's loop: it means the same by a recipe as the others, and is refused where Keras would not run on PyTorch."""

import importlib.util
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_train import SPOILT, TASK, VIT, WHOLE, accuracy, train, weights

from harness import Recipe
from harness.errors import HarnessError
from harness.pytest_plugin.preflight import _check_recipe
from harness.training import keras_loop
from harness.training.keras_loop import check_keras
from harness.util.console import Progress

needs_keras = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """Give Keras a home of its own and no choice of a backend; return its settings file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KERAS_BACKEND", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    (tmp_path / ".keras").mkdir()
    return tmp_path / ".keras" / "keras.json"


@needs_keras
def test_recipe_means_the_same_as_in_the_native_loop(tmp_path):
    changes = {"warmup": 0.5, "weight_decay": 1.0}
    one, other = (train(tmp_path / loop, loop=loop, **WHOLE, **changes) for loop in ("native", "keras"))
    assert one["validation"] == other["validation"]
    assert (one["rows"], one["steps"], one["device"]) == (other["rows"], other["steps"], other["device"])
    train(tmp_path / "start", loop="native", **WHOLE | {"epochs": 1}, learning_rate=1e-12)
    start, one, other = (weights(tmp_path / name) for name in ("start", "native", "keras"))
    assert np.abs(one - other).max() < np.abs(one - start).max() / 100
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("native", "keras")]
    assert files[0] == files[1]


@needs_keras
def test_seed_decides_and_the_best_epoch_is_kept(tmp_path):
    few = SPOILT | {"rows": 96, "epochs": 4}
    first, second = (train(tmp_path / name, loop="keras", **few) for name in ("a", "b"))
    assert first["weights_sha256"] == second["weights_sha256"]
    assert 4 == len(first["validation"])
    assert max(first["validation"]) == accuracy(tmp_path / "a")


@needs_keras
def test_bf16_trains_under_autocast(tmp_path):
    for precision in ("fp32", "bf16"):
        train(tmp_path / precision, loop="keras", precision=precision, keep="last", **WHOLE)
    assert np.float32 == weights(tmp_path / "bf16").dtype
    assert not np.array_equal(weights(tmp_path / "fp32"), weights(tmp_path / "bf16"))


@needs_keras
def test_divergence_names_the_step(tmp_path):
    with pytest.raises(HarnessError, match=r"the loss is nan at step [2-9] of 24; lower the learning rate \(1e\+30\)"):
        train(tmp_path, loop="keras", rows=64, batch_size=32, learning_rate=1e30)


@needs_keras
def test_shortened_training_is_refused(tmp_path):
    config = keras_loop.import_keras().config
    config.set_max_epochs(1)
    try:
        with pytest.raises(HarnessError, match="Keras stopped after 1 of 4 steps; unset KERAS_MAX_EPOCHS"):
            train(tmp_path, loop="keras", **WHOLE)
    finally:
        config.set_max_epochs(None)


@needs_keras
def test_terminal_gets_the_bar_of_keras(tmp_path, capsys, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr("test_train.Progress", lambda: Progress(terminal=terminal))
    train(tmp_path, loop="keras", **WHOLE)
    assert "Epoch 4/4" in terminal.getvalue()
    assert "val_accuracy: 0." in terminal.getvalue()
    assert "" == capsys.readouterr().out


def test_import_chooses_torch_and_writes_no_settings(own_home, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "mine")
    monkeypatch.setattr(keras_loop, "import_module", lambda name: dict(os.environ))
    environment = keras_loop.import_keras()
    assert "torch" == environment["KERAS_BACKEND"]
    assert environment["KERAS_HOME"] not in ("mine", str(own_home.parent))
    assert not Path(environment["KERAS_HOME"]).exists()
    assert ("mine", None) == (os.environ["KERAS_HOME"], os.environ.get("KERAS_BACKEND"))


def test_missing_or_old_keras_is_named_before_training(tmp_path, monkeypatch):
    model = replace(VIT, recipe=Recipe(epochs=1, loop="keras"))
    monkeypatch.setattr(keras_loop, "version", lambda name: "3.14.1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(HarnessError, match=r'keras 3.14.1 is older than 3.15; run: .* -U "shipbench\[keras\]"'):
        _check_recipe(TASK, model, tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"tiny-ViT: Recipe\(loop='keras'\): keras is not installed; run: .* \"shipbench\[keras\]\""
    with pytest.raises(HarnessError, match=message):
        _check_recipe(TASK, model, tmp_path)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(keras_loop, "missing_module", lambda *names: None)
    monkeypatch.setattr(keras_loop, "version", lambda name: "3.15.0")


def test_backend_other_than_torch_is_refused_by_who_chose_it(own_home, installed, monkeypatch):
    check_keras("m")  # nobody chose one
    own_home.write_text("{")
    check_keras("m")
    own_home.write_text(json.dumps({"backend": "tensorflow"}))
    with pytest.raises(HarnessError, match=r"m: .*keras.json chooses Keras's backend 'tensorflow', .*BACKEND=torch"):
        check_keras("m")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    check_keras("m")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(HarnessError, match=r"m: KERAS_BACKEND chooses Keras's backend 'jax'"):
        check_keras("m")
    monkeypatch.delenv("KERAS_BACKEND")
    running = SimpleNamespace(config=SimpleNamespace(backend=lambda: "openvino"))
    monkeypatch.setitem(sys.modules, "keras", running)
    with pytest.raises(HarnessError, match="the program that imported Keras chooses Keras's backend 'openvino'"):
        check_keras("m")
