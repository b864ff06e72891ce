"""ONNX Runtime's backends and PyTorch's reference on tiny untrained models."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file
from tiny_models import (
    SIZES,
    TEXTS,
    build,
    needs_lstm_export,
    one_each,
    resolve,
    save_bart,
    save_bert,
    save_native,
    token_batch,
)

from harness import checkpoint
from harness.backends import ONNXRUNTIME, ONNXRUNTIME_INT8, ONNXRUNTIME_O2, PYTORCH, tuned
from harness.backends.onnx_export import export_native
from harness.contracts.backend import Target, format_options
from harness.contracts.sources import Native, Scratch
from harness.errors import Unsupported
from harness.kinds import image_classification, text_classification, translation
from harness.measure.client import Worker
from harness.training import untrained
from harness.util.forward import check_native

CPU = Target("cpu", 1)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    return save_native(tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    source = Scratch(
        config={"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_channels": 1},
        processor={"image_processor_type": "ViTImageProcessor", "do_resize": False, "image_mean": [0.5],
                   "image_std": [0.5]},
    )  # fmt: skip
    kind, out = image_classification, tmp_path_factory.mktemp("vit")
    rows = [{"image": np.full((8, 8), shade, dtype=np.uint8)} for shade in (0, 90)]
    processor = kind.processor(source, None, rows, ("image",))
    model = untrained.create(source, kind, out, None, ("a", "b"), processor)
    example = kind.collate(processor, one_each(kind.encode(processor, rows, ("image",), 0)))
    checkpoint.save(model, source, out, out, processor, example)
    return out


@pytest.fixture(scope="module")
def exported(lstm, tmp_path_factory):
    needs_lstm_export()
    out = tmp_path_factory.mktemp("onnx")
    build(ONNXRUNTIME, lstm, out, text_classification)
    return out


def texts(folder, *rows):
    tokenizer = text_classification.load_processor(folder)
    encoded = text_classification.encode(tokenizer, [TEXTS[row] for row in rows], ("text",), 16)
    return text_classification.collate(tokenizer, one_each(encoded))


def test_export_answers_as_the_module_at_every_batch_and_length(lstm, exported):
    reference, own = PYTORCH.load(lstm, CPU), ONNXRUNTIME.load(exported, CPU)
    for rows in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):
        batch = texts(lstm, *rows)
        np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


def test_export_names_no_source_file(exported, tmp_path):
    bag = save_native(tmp_path, "embedding_bag.py:EmbeddingBagClassifier")  # its graph has a loop
    (tmp_path / "out").mkdir()
    build(ONNXRUNTIME, bag, tmp_path / "out", text_classification)
    for folder in (exported, tmp_path / "out"):
        model = onnx.load(folder / "model.onnx")
        del model.graph.initializer[:]  # random weights may spell anything
        assert b".py" not in model.SerializeToString()


def test_padding_does_not_change_an_answer(lstm):
    session = PYTORCH.load(lstm, CPU)
    alone, padded = session.run(texts(lstm, 1))["logits"], session.run(texts(lstm, 0, 1))["logits"]
    np.testing.assert_allclose(alone[0], padded[1], atol=1e-6)


def test_int8_reaches_the_layers_of_an_lstm(exported, tmp_path):
    settings = ONNXRUNTIME_INT8.build(exported, tmp_path, text_classification)
    assert "DynamicQuantizeLSTM 2" in settings["operators"]


def test_session_reports_device_and_threads(lstm, exported):
    for backend, folder in ((PYTORCH, lstm), (ONNXRUNTIME, exported)):
        session = backend.load(folder, CPU)
        assert ("cpu", "1") == (session.device, session.settings["threads"])


def test_idle_threads_sleep_unless_told_to_spin(exported):
    spinning = [ONNXRUNTIME.load(exported, Target("cpu", 1, spin)).settings["allow_spinning"] for spin in (False, True)]
    assert ["0", "1"] == spinning


@pytest.mark.parametrize("spin", [False, True])
def test_both_thread_pools_spin_or_sleep(exported, monkeypatch, spin):
    from harness.backends import onnxruntime

    created, create = [], onnxruntime._session_options
    monkeypatch.setattr(onnxruntime, "_session_options", lambda target: created.append(create(target)) or created[0])
    session = ONNXRUNTIME.load(exported, Target("cpu", 2, spin, {"execution": "parallel"}))
    assert "parallel" == session.settings["execution"]
    pools = ("intra_op", "inter_op")
    assert {str(int(spin))} == {created[0].get_session_config_entry(f"session.{p}.allow_spinning") for p in pools}


DEFAULTS = {"optimisation": "all", "arena": "True", "memory_pattern": "True", "execution": "sequential"}
CHOSEN = [{name: value} for name, values in ONNXRUNTIME.choices.items() for value in values[1:]]


@pytest.mark.parametrize("options", [{}, *CHOSEN, {"arena": False, "optimisation": "basic"}], ids=format_options)
def test_options_are_read_back_and_keep_the_answers(options, lstm, exported):
    target = Target("cpu", 2)  # with one thread ONNX Runtime falls back to sequential execution
    backend = tuned(ONNXRUNTIME, **options) if options else ONNXRUNTIME
    session = ONNXRUNTIME.load(exported, backend.worker_target(target))
    expected = DEFAULTS | {name: str(value) for name, value in options.items()}
    assert expected == {name: session.settings[name] for name in DEFAULTS}
    batch = texts(lstm, 0, 1)
    default = ONNXRUNTIME.load(exported, target).run(batch)["logits"]
    np.testing.assert_allclose(default, session.run(batch)["logits"], rtol=1e-5, atol=1e-6)


def test_optimising_a_native_module_is_unsupported(exported, tmp_path):
    with pytest.raises(Unsupported, match="a native module has none"):
        build(ONNXRUNTIME_O2, exported, tmp_path, text_classification)


def test_head_that_optimum_does_not_export_goes_through_transformers(vit, tmp_path):
    settings = build(ONNXRUNTIME, vit, tmp_path, text_classification)
    assert "Optimum exports no text-classification head for vit; it exports " in settings["not_built_by"]
    assert settings["exporter"].startswith("OnnxExporter, transformers 5.")


def test_transformers_model_is_exported_by_optimum(vit, tmp_path):
    settings = build(ONNXRUNTIME, vit, tmp_path, image_classification)
    assert settings["exporter"].startswith("optimum-onnx")
    own, reference = ONNXRUNTIME.load(tmp_path, CPU), PYTORCH.load(vit, CPU)
    batch = checkpoint.example(vit)
    np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


WRITTEN = {"input_ids": np.arange(4, 22).reshape(2, 9), "attention_mask": np.array([[1] * 9, [1] * 5 + [0] * 4])}


def test_generating_model_writes_text_in_float_and_in_int8(tmp_path):
    writer = save_bart(tmp_path / "writer", max_length=9, num_beams=2)
    reference = PYTORCH.load(writer, CPU).run(WRITTEN)["sequences"]
    assert (2, 9) == reference.shape
    for backend in (ONNXRUNTIME, ONNXRUNTIME_INT8):
        out = tmp_path / backend.name
        out.mkdir()
        settings = build(backend, tmp_path / backend.source.name if backend.source else writer, out, translation)
        graphs = {"encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"}
        assert graphs <= {path.name for path in out.iterdir()}
        elsewhere = replace(backend, runs_in=resolve(backend.generates_in))
        with Worker(elsewhere, out, CPU, 120) as worker:
            assert "cpu" == worker.loaded["device"]
            worker.put(WRITTEN)
            sequences = worker.run().outputs["sequences"]
        if backend.lossy:
            assert "MatMulInteger" in settings["operators"]
        else:
            np.testing.assert_array_equal(reference, sequences)


def test_classifier_on_a_generating_body_does_not_generate(tmp_path):
    from transformers import BartForSequenceClassification

    assert not checkpoint.generates(BartForSequenceClassification.from_pretrained(save_bart(tmp_path)))


OWN = """
import torch
from torch import nn


class Summed(nn.Module):
    def __init__(self, vocab_size, num_labels):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.classifier = nn.Linear(8, num_labels)

    def features(self, input_ids, attention_mask):
        return (self.embedding(input_ids) * attention_mask[:, :, None]).sum(1)


class Dictionary(Summed):
    def forward(self, input_ids, attention_mask):
        features = self.features(input_ids, attention_mask)
        return {"features": features, "logits": self.classifier(features)}


class Branching(Summed):
    def forward(self, input_ids, attention_mask):
        features = self.features(input_ids, attention_mask)
        if features.sum() > 0:
            features = -features
        return self.classifier(features)
"""


def save_own(folder, name):
    """Save one of OWN's modules, checked as before training; return its folder."""
    (folder / "own.py").write_text(OWN)
    (out := folder / "checkpoint").mkdir()
    source = Native(f"own.py:{name}")
    tokenizer = text_classification.processor(source, None, TEXTS, ("text",))
    model = untrained.create(source, text_classification, folder, None, ("a", "b"), tokenizer)
    encoded = text_classification.encode(tokenizer, TEXTS[:2], ("text",), 16)
    example = text_classification.collate(tokenizer, one_each(encoded))
    check_native("model own", model, {name: torch.from_numpy(array) for name, array in example.items()}, 2)
    checkpoint.save(model, source, folder, out, tokenizer, example)
    return out


def test_logits_of_a_dictionary_are_trained_and_exported(tmp_path):
    own = save_own(tmp_path, "Dictionary")
    (out := tmp_path / "onnx").mkdir()
    build(ONNXRUNTIME, own, out, text_classification)
    batch = texts(own, 0, 1, 2)
    reference, exported = (backend.run(batch) for backend in (PYTORCH.load(own, CPU), ONNXRUNTIME.load(out, CPU)))
    assert ["logits"] == list(reference) == list(exported)
    np.testing.assert_allclose(reference["logits"], exported["logits"], atol=1e-5)


def test_branch_on_values_is_unsupported_in_one_sentence(tmp_path):
    own = save_own(tmp_path, "Branching")
    with pytest.raises(
        Unsupported, match=r"torch.onnx cannot express Branching: .*if features.sum\(\) > 0:\); a branch"
    ) as e:
        build(ONNXRUNTIME, own, tmp_path / "out", text_classification)
    assert 500 > len(str(e.value))


def test_refused_lstm_names_the_torch_that_exports_it(lstm, tmp_path, monkeypatch):
    def export(*_args, **_settings):
        cause = ValueError("Found conflicts between user-specified ranges and inferred ranges:\n- sequence is 9")
        raise torch.onnx.OnnxExporterError("failed") from cause

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.12.1+cu130"))
    with pytest.raises(Unsupported, match=r"inferred ranges; torch exports LSTM and GRU .* from 2\.13 on"):
        export_native(lstm, tmp_path, text_classification)


def test_model_type_unknown_to_optimum_goes_through_transformers(tmp_path):
    from transformers import ErnieConfig, ErnieForSequenceClassification

    ErnieForSequenceClassification(ErnieConfig(vocab_size=60, **SIZES)).save_pretrained(tmp_path)
    save_file(token_batch(2, 5), tmp_path / checkpoint.EXAMPLE)
    settings = build(ONNXRUNTIME, tmp_path, tmp_path / "out", text_classification)
    assert "Optimum exports no model of the type ernie" == settings["not_built_by"]


def test_graph_gets_token_types_that_the_tokenizer_leaves_out(tmp_path):
    batch = token_batch(2, 7)
    source = save_bert(tmp_path, batch)
    (out := tmp_path / "onnx").mkdir()
    build(ONNXRUNTIME, source, out, text_classification)
    del batch["token_type_ids"]
    reference, own = (
        backend.run(batch)["logits"] for backend in (PYTORCH.load(source, CPU), ONNXRUNTIME.load(out, CPU))
    )
    np.testing.assert_allclose(reference, own, atol=1e-5)
