"""The built-in backends on a native module and on a Transformers model of their own, both untrained."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from harness import (
    ONNXRUNTIME,
    ONNXRUNTIME_INT8,
    ONNXRUNTIME_O2,
    PYTORCH,
    Native,
    Scratch,
    Target,
    Unsupported,
    checkpoint,
    image_classification,
    text_classification,
)

SUITES = Path(__file__).parents[2] / "suites"
TEXTS = [{"text": "one two three four"}, {"text": "five six seven"}, {"text": ""}]
int8_preset = import_module("harness.backends.onnx_graphs").int8_preset


def one_each(encoded):
    """The examples of rows that have one."""
    return [example for (example,) in encoded]


@pytest.fixture(scope="module")
def lstm(tmp_path_factory) -> Path:
    source, kind, out = Native("models/lstm.py:LSTMClassifier"), text_classification, tmp_path_factory.mktemp("lstm")
    tokenizer = kind.processor(source, None, TEXTS, ("text",))
    model = checkpoint.create(source, kind, SUITES, None, ("a", "b"), tokenizer)
    example = kind.collate(tokenizer, one_each(kind.encode(tokenizer, TEXTS[:2], ("text",), 16)))
    checkpoint.save(model, source, SUITES, out, tokenizer, example)
    return out


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    source = Scratch(
        config={"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_channels": 1},
        processor={"image_processor_type": "ViTImageProcessor", "do_resize": False, "image_mean": [0.5],
                   "image_std": [0.5]},
    )  # fmt: skip
    kind, out = image_classification, tmp_path_factory.mktemp("vit")
    rows = [{"image": np.full((8, 8), shade, dtype=np.uint8)} for shade in (0, 90)]
    processor = kind.processor(source, None, rows, ("image",))
    model = checkpoint.create(source, kind, SUITES, None, ("a", "b"), processor)
    example = kind.collate(processor, one_each(kind.encode(processor, rows, ("image",), 0)))
    checkpoint.save(model, source, SUITES, out, processor, example)
    return out


@pytest.fixture(scope="module")
def exported(lstm, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    ONNXRUNTIME.build(lstm, out, text_classification)
    return out


def texts(folder: Path, *rows: int):
    tokenizer = text_classification.load_processor(folder)
    encoded = text_classification.encode(tokenizer, [TEXTS[row] for row in rows], ("text",), 16)
    return text_classification.collate(tokenizer, one_each(encoded))


def test_an_export_answers_as_the_module_does_at_every_batch_and_length(lstm, exported):
    reference, own = PYTORCH.load(lstm, Target("cpu", 1)), ONNXRUNTIME.load(exported, Target("cpu", 1))
    for rows in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):
        batch = texts(lstm, *rows)
        np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


def test_padding_does_not_change_an_answer(lstm):
    session = PYTORCH.load(lstm, Target("cpu", 1))
    alone, padded = session.run(texts(lstm, 1))["logits"], session.run(texts(lstm, 0, 1))["logits"]
    np.testing.assert_allclose(alone[0], padded[1], atol=1e-6)


def test_int8_reaches_the_layers_of_an_lstm(exported, tmp_path):
    settings = ONNXRUNTIME_INT8.build(exported, tmp_path, text_classification)
    assert "DynamicQuantizeLSTM 2" in settings["operators"]


def test_a_backend_says_where_it_runs(lstm, exported):
    for backend, folder in ((PYTORCH, lstm), (ONNXRUNTIME, exported)):
        session = backend.load(folder, Target("cpu", 1))
        assert ("cpu", "1") == (session.device, session.settings["threads"])


def test_idle_threads_of_onnxruntime_sleep_unless_told_to_spin(exported):
    spinning = [ONNXRUNTIME.load(exported, Target("cpu", 1, spin)).settings["allow_spinning"] for spin in (False, True)]
    assert ["0", "1"] == spinning


def test_optimisation_of_a_native_module_is_unsupported_and_says_so(exported, tmp_path):
    with pytest.raises(Unsupported, match="a native module has none"):
        ONNXRUNTIME_O2.build(exported, tmp_path, text_classification)


def test_a_head_that_optimum_does_not_export_is_unsupported_and_says_so(vit, tmp_path):
    with pytest.raises(Unsupported, match="Optimum exports no text-classification head for vit"):
        ONNXRUNTIME.build(vit, tmp_path, text_classification)


def test_a_transformers_model_goes_through_optimum(vit, tmp_path):
    settings = ONNXRUNTIME.build(vit, tmp_path, image_classification)
    assert settings["exporter"].startswith("optimum-onnx")
    own, reference = ONNXRUNTIME.load(tmp_path, Target("cpu", 1)), PYTORCH.load(vit, Target("cpu", 1))
    batch = checkpoint.example(vit)
    np.testing.assert_allclose(reference.run(batch)["logits"], own.run(batch)["logits"], atol=1e-5)


@pytest.mark.parametrize(
    ("machine", "flags", "preset"),
    [
        ("aarch64", {"asimd"}, "arm64"),
        ("x86_64", {"avx2", "avx512f", "avx512_vnni"}, "avx512_vnni"),
        ("x86_64", {"avx2", "avx512f"}, "avx512"),
        ("x86_64", {"avx2"}, "avx2"),
    ],
)
def test_the_preset_follows_the_cpu(machine, flags, preset):
    assert preset == int8_preset(machine, frozenset(flags))
