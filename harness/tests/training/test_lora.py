"""Adapters: trained by every loop, merged into the checkpoint, kept beside it, and refused where they fit nothing."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from test_fit import MODEL, TASK, edit, notes, suite  # noqa: F401  # a fixture
from test_keras_loop import needs_keras
from transformers import AutoModelForSequenceClassification

from harness import Hub, Lora, Model, Native, Recipe, Scratch, checkpoint
from harness.contracts.sources import Local
from harness.data import splits
from harness.errors import HarnessError
from harness.pytest_plugin.preflight import _check_recipe
from harness.training import fit, lora, untrained
from harness.training.train import Workspace, fine_tune
from harness.util.console import Progress
from harness.util.store import Store

peft = pytest.importorskip("peft")

ADAPTED = Recipe(epochs=2, learning_rate=5e-2, lora=Lora(r=4, targets=("query", "value")))


def train(suite, **changes):  # noqa: F811
    """Train with these changes to the recipe; return the record and the checkpoint's folder."""
    out = suite / "trained"
    out.mkdir()
    workspace = Workspace(
        folder=suite, store=Store(suite / "store", print), content="x", threads=1, progress=Progress()
    )
    model = replace(MODEL, recipe=replace(ADAPTED, **changes))
    return fine_tune(TASK, model, splits.load(TASK, suite), workspace, out), out


def logits(module, folder):
    return checkpoint.make_run(module.eval(), "cpu")(checkpoint.example(folder))["logits"]


@pytest.mark.parametrize("loop", ["trainer", "native", pytest.param("keras", marks=needs_keras)])
def test_merged_model_answers_as_the_unmerged_one(suite, loop):  # noqa: F811
    info, out = train(suite, loop=loop)
    base = AutoModelForSequenceClassification.from_pretrained(suite / "model")
    untrained = logits(base, out)
    peft.PeftModel.from_pretrained(base, out / lora.FOLDER)  # adds it to `base`
    unmerged = logits(base, out)
    merged = logits(checkpoint.load(out), out)
    np.testing.assert_allclose(merged, unmerged, rtol=1e-5, atol=1e-5)
    assert np.abs(merged - untrained).max() > 0.01
    assert 2 == len(info["validation"])
    # Two layers of (8 + 8) x 4 for query and value each, and a head of 8 x 2 weights and 2 biases.
    assert any(note.startswith("LoRA trained 274 of ") for note in info["notes"])


def test_only_the_adapted_layers_and_the_head_change(suite):  # noqa: F811
    _, out = train(suite)
    before, after = (load_file(folder / checkpoint.WEIGHTS) for folder in (suite / "model", out))
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"classifier.bias", "classifier.weight"} < changed
    assert all(name.endswith((".query.weight", ".value.weight")) for name in changed if "classifier" not in name)
    assert 6 == len(changed)


def test_adapter_names_its_base_without_a_path(suite):  # noqa: F811
    _, out = train(suite)
    declared = json.loads((out / lora.FOLDER / "adapter_config.json").read_text())
    assert ("model", 4, ["classifier"]) == (
        declared["base_model_name_or_path"], declared["r"], declared["modules_to_save"]
    )  # fmt: skip
    assert str(suite) not in json.dumps(declared)
    assert "adapter_config.json" not in {path.name for path in out.iterdir()}


def test_by_default_every_linear_layer_of_the_body_is_adapted(suite):  # noqa: F811
    model = untrained.create(Local("model"), TASK.kind, suite, suite / "model", ("x", "y"), None)
    adapter = lora.attach("m", model, Lora())
    assert {"query", "key", "value", "dense"} == {
        name.split(".lora_A")[0].rpartition(".")[2] for name, value in adapter.named_parameters() if "lora_A" in name
    }
    assert model.classifier.modules_to_save["default"].weight.requires_grad


def test_output_of_a_language_model_is_no_head():
    from test_fit import BART
    from transformers import BartConfig, BartForConditionalGeneration

    model = BartForConditionalGeneration(BartConfig(vocab_size=20, **BART))
    adapter = lora.attach("m", model, Lora(targets=("q_proj",)))
    trained = {name for name, value in adapter.named_parameters() if value.requires_grad}
    assert trained
    assert all(".q_proj.lora_" in name for name in trained)
    adapter.merge_and_unload()
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_target_that_names_no_layer_is_refused(suite):  # noqa: F811
    wrong = replace(MODEL, recipe=Recipe(epochs=1, lora=Lora(targets=("query", "vlaue"))))
    with pytest.raises(HarnessError, match=r"unknown layer 'vlaue'; expected one of dense, key, query, value; did you"):
        fit.check(TASK, wrong, suite)
    fit.check.cache_clear()
    right = replace(MODEL, recipe=Recipe(epochs=1, lora=Lora(targets=("query", "output.dense"))))
    assert not fit.check(TASK, right, suite)
    head = replace(MODEL, recipe=Recipe(epochs=1, lora=Lora(targets=("classifier",))))
    with pytest.raises(HarnessError, match="unknown layer 'classifier'"):
        fit.check(TASK, head, suite)


def test_adapter_of_a_base_is_refused_by_its_name(suite):  # noqa: F811
    edit(suite, "adapter_config.json", peft_type="LORA", base_model_name_or_path="acme/bert")
    with pytest.raises(HarnessError, match=r"declares a PEFT adapter of acme/bert, which is not applied"):
        notes(suite)
    (suite / "model" / "config.json").unlink()
    with pytest.raises(HarnessError, match=r"PEFT adapter of acme/bert, without that model: .*Recipe\(lora=Lora"):
        Local("model").locate(suite)


def test_missing_peft_is_named_before_training(suite, monkeypatch):  # noqa: F811
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else there(name))
    with pytest.raises(HarnessError, match=r'mine: Recipe\(lora=…\): peft is not .* pip install "shipbench\[lora\]"'):
        _check_recipe(TASK, replace(MODEL, recipe=ADAPTED), suite)


@pytest.mark.parametrize(
    "wrong",
    [{"r": 0}, {"r": 2.0}, {"alpha": 0}, {"alpha": 0.5}, {"dropout": 1.0}, {"dropout": -0.1},
     {"targets": ["query"]}, {"targets": "query"}, {"targets": ("",)}],
)  # fmt: skip
def test_lora_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(HarnessError, match="Lora"):
        Lora(**wrong)


def test_adapters_are_for_pretrained_models_that_are_trained():
    with pytest.raises(HarnessError, match="needs epochs=1"):
        Recipe(epochs=0, lora=Lora())
    with pytest.raises(HarnessError, match=r"must be a Lora\(…\)"):
        Recipe(lora=8)
    for source in (Native("a.py:A"), Scratch(config={"model_type": "vit"}, processor={})):
        with pytest.raises(HarnessError, match=r"Recipe\(lora=…\) is for pretrained models"):
            Model(name="m", source=source, recipe=Recipe(loop="native", lora=Lora()))


def test_base_of_a_repository_is_its_name_and_commit():
    assert ("acme/bert", "0" * 40) == lora._base(Hub("acme/bert", revision="0" * 40))
    assert ("bert", None) == lora._base(Local("/home/me/bert"))


def test_adapter_is_seeded(suite):  # noqa: F811
    _, out = train(suite)
    first = load_file(out / checkpoint.WEIGHTS)
    out.rename(suite / "first")
    torch.manual_seed(1)
    _, out = train(suite)
    assert all(np.array_equal(first[name], value) for name, value in load_file(out / checkpoint.WEIGHTS).items())
