"""Ways to export a checkpoint: their order, checkpoints for the older Transformers, and graphs to discard."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.numpy import save_file
from tiny_models import SIZES, build, resolve, save_bert, save_native, token_batch

from harness import checkpoint
from harness.backends import (
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_O2,
    ONNXRUNTIME_O2_INT8,
    ONNXRUNTIME_TRANSFORMERS,
    ONNXRUNTIME_TRANSFORMERS_FUSED,
    ONNXRUNTIME_TRANSFORMERS_INT8,
    PYTORCH,
)
from harness.backends.onnx_optimum import OPTIMUM, check_export
from harness.backends.onnxruntime import exporters
from harness.backends.transformers_4 import earlier
from harness.contracts.backend import Backend, Route, Session, Target
from harness.errors import HarnessError, Unsupported
from harness.kinds import text_classification, translation
from harness.measure.adapters import Preprocessing, columns_from_rows
from harness.measure.client import Worker
from harness.spec import cases

CPU = Target("cpu", 1)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    batch = token_batch(2, 9)
    batch["attention_mask"][1, 5:] = 0
    return save_bert(tmp_path_factory.mktemp("bert"), batch, initializer_range=0.2)


@pytest.fixture(scope="module")
def by_transformers(bert, tmp_path_factory):
    out = tmp_path_factory.mktemp("transformers")
    return out, build(ONNXRUNTIME_TRANSFORMERS, bert, out)


def distance(bert, out, rows=3):
    batch = token_batch(rows, 7)
    own, expected = (backend.load(folder, CPU).run(batch)["logits"] for backend, folder in
                     ((ONNXRUNTIME, out), (PYTORCH, bert)))  # fmt: skip
    return abs(own - expected).max()


def test_native_module_needs_no_other_environment(tmp_path):
    assert [None] == [route.builds_in for route in exporters(save_native(tmp_path))]


def test_transformers_model_goes_to_optimum_first(bert):
    assert [OPTIMUM, None] == [route.builds_in for route in exporters(bert)]


def test_every_form_of_transformers_graph_answers_as_the_model(bert, by_transformers, tmp_path):
    exported, settings = by_transformers
    assert settings["exporter"].startswith("OnnxExporter, transformers 5.")
    assert distance(bert, exported) < 1e-5
    fused = build(ONNXRUNTIME_TRANSFORMERS_FUSED, exported, tmp_path / "fused")
    assert fused["optimizer"].startswith("ort_fusions cpu, transformers 5.")
    assert distance(bert, tmp_path / "fused") < 1e-5
    operators = {node.op_type for node in onnx.load(tmp_path / "fused/model.onnx").graph.node}
    assert {"SkipLayerNormalization", "BiasGelu"} <= operators
    for backend in (ONNXRUNTIME_TRANSFORMERS_INT8, ONNXRUNTIME_INT8):
        settings = build(backend, exported, tmp_path / backend.name)
        assert "MatMulInteger" in settings["operators"]
        assert 0 < distance(bert, tmp_path / backend.name) < 0.3


def test_o2_fuses_a_graph_with_the_library_that_exported_it(bert, by_transformers, tmp_path):
    build(ONNXRUNTIME, bert, tmp_path / "optimum")
    for name, graph, optimizer in (("o2", by_transformers[0], "ort_fusions cpu"), ("o3", tmp_path / "optimum", "ORT")):
        assert build(ONNXRUNTIME_O2, graph, tmp_path / name)["optimizer"].startswith(optimizer)
        rewrites = build(ONNXRUNTIME_O2_INT8, tmp_path / name, tmp_path / f"{name}-int8")["rewrites"]
        assert rewrites.startswith("first token alone after the last attention 1, split SkipLayerNormalization 2")


def test_transformers_graph_names_no_source_file(by_transformers):
    model = onnx.load(by_transformers[0] / "model.onnx")
    del model.graph.initializer[:]  # random weights may spell anything
    assert b".py" not in model.SerializeToString()


def test_graph_that_answers_otherwise_is_discarded(bert, by_transformers, tmp_path):
    other = save_bert(tmp_path / "other", token_batch(2, 9), initializer_range=0.1)
    check_export(bert, by_transformers[0], text_classification)
    with pytest.raises(Unsupported, match="answers otherwise than the checkpoint: logits by "):
        check_export(other, by_transformers[0], text_classification)


def test_architecture_that_only_transformers_5_has_goes_through_transformers(tmp_path):
    from transformers import EuroBertConfig, EuroBertForSequenceClassification

    torch.manual_seed(0)
    config = EuroBertConfig(vocab_size=60, num_labels=3, num_key_value_heads=2, pad_token_id=1, **SIZES)
    EuroBertForSequenceClassification(config).save_pretrained(source := tmp_path / "source")
    batch = {name: array for name, array in token_batch(2, 9).items() if name != "token_type_ids"}
    save_file(batch, source / checkpoint.EXAMPLE)
    settings = build(ONNXRUNTIME, source, tmp_path / "out")
    reason = "Transformers 4.57.6, which Optimum needs, has no EuroBertForSequenceClassification"
    assert reason == settings["not_built_by"]
    assert distance(source, tmp_path / "out") < 1e-5


def echo(artifact: Path, target: Target) -> Session:
    """Answer with the inputs."""
    return Session(lambda arrays: arrays, "cpu", {})


@pytest.mark.parametrize("changes", [{}, {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["two"]}])
def test_worker_in_the_overlay_encodes_as_this_environment(tmp_path, changes):
    folder = save_native(tmp_path)
    declared = checkpoint.read_json(folder / "tokenizer_config.json") | changes
    (folder / "tokenizer_config.json").write_text(json.dumps(declared))
    rows = [{"text": "one two three"}, {"text": "seven"}]
    tokenizer = translation.load_processor(folder)
    encoded = translation.encode(tokenizer, rows, ("text",), 16)
    expected = translation.collate(tokenizer, [example for (example,) in encoded])
    preprocessing = Preprocessing(translation, folder, ("text",), 16)
    elsewhere = Backend(name="b", load=echo, runs_in=resolve(OPTIMUM))
    with Worker(elsewhere, tmp_path, CPU, 120, preprocessing=preprocessing) as worker:
        worker.put(columns_from_rows(rows, ("text",)))
        own = worker.run().outputs
        assert "transformers 4.57.6" in worker.loaded["settings"]["packages"]
    assert {name: array.tolist() for name, array in expected.items()} == {n: a.tolist() for n, a in own.items()}


def refuse(source: Path, out: Path, kind: object) -> dict[str, str]:
    (out / "half").mkdir()
    (out / "half/graph").write_text("unfinished")
    raise Unsupported("not this one")


def accept(source: Path, out: Path, kind: object) -> dict[str, str]:
    return {"left": ", ".join(path.name for path in out.iterdir())}


def reject(source: Path, out: Path, kind: object) -> None:
    raise Unsupported("it answers otherwise")


def two(source: Path) -> tuple[Route, ...]:
    return Route(refuse), Route(accept, check=reject), Route(accept)


def none(source: Path) -> tuple[Route, ...]:
    return Route(refuse), Route(accept, check=reject)


def test_first_route_that_supports_the_model_builds_in_an_empty_folder(tmp_path):
    (source := tmp_path / "source").mkdir()
    settings = build(Backend(name="b", load=cases, routes=two), source, tmp_path / "out")
    assert {"left": "", "not_built_by": "not this one; it answers otherwise"} == settings


def test_model_that_no_route_supports_is_unsupported_with_all_reasons(tmp_path):
    (source := tmp_path / "source").mkdir()
    with pytest.raises(Unsupported, match=r"^not this one; it answers otherwise$"):
        build(Backend(name="b", load=cases, routes=none), source, tmp_path / "out")


def test_two_ways_to_write_an_artifact_are_refused():
    with pytest.raises(HarnessError, match="give one of build=, calibrate= and routes="):
        Backend(name="b", load=cases, build=accept, routes=two)


def test_rotary_settings_get_their_earlier_names():
    assert {"model_type": "llama", "rope_theta": 5e5, "rope_scaling": None} == earlier(
        {"model_type": "llama", "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    )
    scaled = {"rope_theta": 1e4, "rope_type": "linear", "factor": 4.0, "partial_rotary_factor": 0.5}
    assert {
        "model_type": "llama", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    } == earlier({"model_type": "llama", "rope_parameters": scaled})  # fmt: skip
    layers = {"full_attention": {"rope_theta": 7.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 5.0}}
    assert {"model_type": "modernbert", "global_rope_theta": 7.0, "local_rope_theta": 5.0} == earlier(
        {"model_type": "modernbert", "rope_parameters": layers}
    )


@pytest.mark.parametrize(
    ("model_type", "rotary"),
    [
        ("gemma3_text", {"full_attention": {"rope_theta": 1.0}, "sliding_attention": {"rope_theta": 2.0}}),
        ("modernbert", {"full_attention": {"rope_theta": 1.0, "rope_type": "yarn"}, "sliding_attention": {}}),
    ],
)
def test_rotary_settings_without_earlier_names_are_unsupported(model_type, rotary):
    with pytest.raises(Unsupported, match=f"cannot express {model_type}'s rope_parameters"):
        earlier({"model_type": model_type, "rope_parameters": rotary})
